(() => {
  let marker = null;  // the link that was followed last, to return to with Escape
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
})();
