(() => {
  const form = document.getElementById("adding"), field = document.getElementById("files");
  const told = document.getElementById("told"), progress = document.getElementById("progress");
  const DOING = { reading: "Reading", embedding: "Embedding", indexing: "Indexing" };

  function show(text, share) {
    told.textContent = text;
    progress.hidden = share === undefined;
    if (share !== undefined) progress.value = share;
  }

  function lock(isBusy) {
    for (const one of document.querySelectorAll("button, input")) one.disabled = isBusy;
  }

  async function watch(state) {  // the server's part, after the last byte was sent
    while (!state.isDone) {
      const { work } = await (await fetch("/v1/uploads")).json();
      if (work?.total && !state.isDone)
        show(`${DOING[work.stage] ?? work.stage}: ${work.done} of ${work.total} …`, work.done / work.total);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }

  function send(method, address, body) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();  // fetch does not tell how much was sent
      const state = { isDone: false };
      request.open(method, address);
      request.responseType = "json";
      request.upload.onprogress = ({ loaded, total }) => show("Sending …", loaded / total);
      request.upload.onload = () => watch(state).catch(() => {});
      if (!body) watch(state).catch(() => {});
      request.onloadend = () => {
        state.isDone = true;
        const said = request.response;
        const lost = request.status ? `The server answered with ${request.status}.` : "The server cannot be reached.";
        resolve(request.status >= 200 && request.status < 300 ? { said } : { failure: said?.error?.message ?? lost });
      };
      request.send(body);
    });
  }

  function outcome({ added = [], replaced = [], unchanged = [], refused = [], problems = [], removed = [] }) {
    const count = (names, what) => names.length ? [`${names.length} ${what}`] : [];
    const counts = [...count(added, "added"), ...count(replaced, "replaced"), ...count(unchanged, "known already"),
      ...count(removed, "removed")].join(", ");
    const faults = [...refused, ...problems].map((one) => `${one.source}: ${one.reason}`);
    return [counts ? `${counts}.` : "", ...faults].filter(Boolean).join(" ");
  }

  async function change(method, address, body) {
    lock(true);
    show("Working …", 0);
    const { said, failure } = await send(method, address, body);
    if (failure) {
      lock(false);
      show(failure[0].toUpperCase() + failure.slice(1));
      return;
    }
    const text = outcome(said ?? {});
    const markup = await (await fetch(location.href)).text();
    const fresh = new DOMParser().parseFromString(markup, "text/html");
    document.querySelector(".held").replaceWith(fresh.querySelector(".held"));
    document.querySelector("main section > p").replaceWith(fresh.querySelector("main section > p"));
    form.reset();
    lock(false);
    show(text);
    field.focus();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const body = new FormData();
    for (const file of field.files) body.append("files", file);
    change("POST", "/v1/uploads", body);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".remove");
    if (button) change("DELETE", `/v1/uploads/${encodeURIComponent(button.dataset.name)}`);
    const mend = event.target.closest(".mend");
    if (mend) change(mend.dataset.method, `/v1/uploads${mend.dataset.path}`);
  });
})();
