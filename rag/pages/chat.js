(() => {
  // A marker opens its quotation in the panel; Escape leads back.
  let marker = null;
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#source-"]');
    if (!link) return;
    event.preventDefault();
    const fold = document.getElementById(link.getAttribute("href").slice(1));
    if (!fold) return;
    for (let part = fold; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    document.querySelectorAll(".quotation.shown").forEach((other) => other.classList.remove("shown"));
    fold.classList.add("shown");
    marker = link;
    fold.querySelector("summary").focus({ preventScroll: true });
    fold.scrollIntoView({ block: "nearest" });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && marker?.isConnected && event.target.closest?.(".sources")) marker.focus();
  });

  // A suggested question is asked as if it had been typed. Gradio empties the field once more a moment after an answer.
  const SETTLED = 300;  // milliseconds
  document.addEventListener("click", async (event) => {
    const question = event.target.closest?.(".suggested")?.textContent;
    const field = document.querySelector("#question textarea");
    if (!question || !field) return;
    field.focus();
    for (let tries = 0; tries < 20; tries++) {
      Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(field, question);
      field.dispatchEvent(new Event("input", { bubbles: true }));
      await new Promise((resolve) => setTimeout(resolve, SETTLED));
      if (field.value === question && !field.disabled) break;
    }
    field.dispatchEvent(new KeyboardEvent("keypress", { key: "Enter", bubbles: true }));
  });

  // Gradio 6.31 leaves two buttons without a name. The address names the conversation, so that it comes back after a
  // reload and can be bookmarked.
  new MutationObserver(() => {
    for (const [selector, name] of [[".submit-button", "Send"], [".stop-button", "Stop"]])
      document.querySelectorAll(`${selector}:not([aria-label])`).forEach((one) => one.setAttribute("aria-label", name));
    const conversation = document.querySelector("#sources .sources")?.dataset.conversation;
    const address = new URL(location.href);
    if (!conversation || address.searchParams.get("conversation") === conversation) return;
    address.searchParams.set("conversation", conversation);
    history.replaceState(null, "", address);
  }).observe(document, { subtree: true, childList: true });

  // The dialog of conversations. Titles are text, never markup.
  const WAIT = 150;  // milliseconds after the last key
  let waiting = 0, latest = 0;

  function made(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }

  async function asked(address, options) {
    const reply = await fetch(`/v1/conversations${address}`, options);
    if (reply.ok) return reply.status === 204 ? null : reply.json();
    throw new Error((await reply.json().catch(() => null))?.error?.message ?? `the server answered with ${reply.status}`);
  }

  const part = (selector) => document.querySelector(`#history ${selector}`);
  const say = (text) => { part("[role=status]").textContent = text; };

  function entry({ id, title, updated, turns }) {
    const when = new Date(updated).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    const link = made("a", { href: `/?conversation=${id}`, textContent: title });
    if (new URL(location.href).searchParams.get("conversation") === id) link.setAttribute("aria-current", "page");
    const button = (text, work) => {
      const one = made("button", { type: "button", className: "act", textContent: text, onclick: work });
      one.setAttribute("aria-label", `${text} ${title}`);
      return one;
    };
    const file = (text, address) => {
      const one = made("a", { href: `/v1/conversations/${id}${address}`, className: "act", textContent: text, download: "" });
      one.setAttribute("aria-label", `${text}: ${title}`);
      return one;
    };
    const item = made("li", {}, link,
      made("p", { className: "quiet" }, `${turns} question${turns === 1 ? "" : "s"}, ${when}`),
      made("p", { className: "does" },
        button("Rename", () => rename(item, id, title)), file("Markdown", "/markdown"), file("JSON", ""),
        button("Delete", () => remove(id, title))));
    return item;
  }

  function rename(item, id, title) {
    const field = made("input", { value: title, maxLength: 200, required: true });
    field.setAttribute("aria-label", "Title");
    const form = made("form", {}, field, made("button", { textContent: "Save" }));
    form.onsubmit = (event) => {
      event.preventDefault();
      const body = JSON.stringify({ title: field.value });
      asked(`/${id}`, { method: "PATCH", headers: { "content-type": "application/json" }, body })
        .then(() => list("Renamed."), (error) => say(error.message));
    };
    field.onkeydown = (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      list("");
    };
    item.replaceChildren(form);
    field.select();
  }

  async function remove(id, title) {
    if (!confirm(`Delete “${title}”? It cannot be brought back.`)) return;
    try {
      await asked(`/${id}`, { method: "DELETE" });
      if (new URL(location.href).searchParams.get("conversation") === id) location.assign("/");
      else await list("Deleted.");
    } catch (error) {
      say(error.message);
    }
  }

  async function list(told) {
    const mine = ++latest, query = part("input[type=search]").value;
    try {
      const { conversations } = await asked(`?limit=200&query=${encodeURIComponent(query.slice(0, 200))}`);
      if (mine !== latest) return;
      part("ul").replaceChildren(...conversations.map(entry));
      say(told || (conversations.length ? `${conversations.length} found` : query ? "Nothing found." : "There are none yet."));
    } catch (error) {
      say(error.message);
    }
  }

  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#history-open")) return;
    document.getElementById("history").showModal();
    part("input[type=search]").focus();
    list("");
  });
  document.addEventListener("input", (event) => {
    if (event.target.id !== "history-query") return;
    clearTimeout(waiting);
    waiting = setTimeout(() => list(""), WAIT);
  });
})();
