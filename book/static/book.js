// Search results cannot quote a page opened from a disk (browsers do not let a page read its neighbours): list titles only.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What is folded on the screen is printed too.
window.addEventListener("beforeprint", () => document.querySelectorAll("article details").forEach(o => { o.open = true; }));

window.addEventListener("DOMContentLoaded", () => {
  // Messages of errors are sentences, and wrap on a phone too; so do examples of calls. Tables and code do not.
  for (const o of document.querySelectorAll("article pre"))
    if (o.closest(".output.stream") ? /^\w+(Error|Exception|Warning): /m.test(o.textContent) : !o.closest(".cell") && o.textContent.includes("→")) o.classList.add("message");
  // A long name in a narrow table is broken where its parts meet.
  for (const o of document.querySelectorAll("article td code .pre"))
    if (o.textContent.length > 12) o.replaceChildren(...o.textContent.split(/(?<=[_(,.])(?=.)/).flatMap((part, i) => i ? [document.createElement("wbr"), part] : [part]));
  // A box that scrolls must be reachable without a mouse.
  for (const o of document.querySelectorAll("article pre, article .output, article .pst-scrollable-table-container, article div.math"))
    if (o.scrollWidth > o.clientWidth) o.tabIndex = 0;
  // The theme's arrows beside a page with pages below it have no name of their own.
  for (const o of document.querySelectorAll(".bd-sidebar-primary li > details > summary"))
    o.setAttribute("aria-label", `Pages of ${o.closest("li").querySelector("a").textContent.trim()}`);
});
