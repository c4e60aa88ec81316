(() => {
  const WAIT = 120;  // milliseconds after the last key, about the time between two keys of a fast typist
  const form = document.getElementById("searching"), field = form.elements.q;
  const found = document.getElementById("found"), told = document.getElementById("told");
  let waiting = 0, running = null, shown = location.search;

  function query() {
    const given = new URLSearchParams(new FormData(form));
    for (const [name, value] of [...given]) if (!value.trim()) given.delete(name);
    return given.toString();
  }

  function say(markup) {
    found.innerHTML = markup;
    const count = found.querySelector(".count");
    told.textContent = count ? count.textContent : "";
  }

  async function search(keepsAddress) {
    clearTimeout(waiting);
    running?.abort();
    const mine = running = new AbortController();
    const address = `/search?${query()}`;
    found.setAttribute("aria-busy", "true");
    try {
      const reply = await fetch(address.replace("?", "/results?"), { signal: mine.signal });
      const isPage = reply.headers.get("content-type")?.startsWith("text/html");
      const markup = isPage ? await reply.text() : "";
      if (mine !== running) return;
      say(isPage ? markup : failure(`The server answered with ${reply.status}.`));
      if (keepsAddress !== true) {
        const own = found.querySelector("[data-address]")?.dataset.address ?? address;
        history.replaceState(null, "", own);
      }
      shown = location.search;
    } catch (error) {
      if (mine === running && error.name !== "AbortError") say(failure("The server cannot be reached."));
    } finally {
      if (mine === running) found.removeAttribute("aria-busy");
    }
  }

  const failure = (message) => `<p class="notice" role="alert">${message}</p>`;

  function restore() {  // Back to an address of this page
    if (location.search === shown) return;
    const given = new URLSearchParams(location.search);
    for (const part of form.elements) if (part.name) part.value = given.get(part.name) ?? "";
    search(true);
  }

  function walk(event) {
    const cards = [...found.querySelectorAll(".card")];
    const at = cards.indexOf(event.target.closest(".card"));
    if (event.key === "/" && !event.target.closest("input, select")) return field;
    if (event.key === "Escape" && !event.target.closest("input, select")) return field;
    if (event.key === "ArrowDown" && (at >= 0 || event.target === field)) return cards[at + 1]?.querySelector("a.open");
    if (event.key === "ArrowUp" && at >= 0) return at ? cards[at - 1].querySelector("a.open") : field;
    return null;
  }

  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, WAIT);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  addEventListener("popstate", restore);
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || !event.target.closest) return;
    const next = walk(event);
    if (!next) return;
    event.preventDefault();
    next.focus();
    if (next === field) field.select();
  });
  document.getElementById("keys").hidden = false;
})();
