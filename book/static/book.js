// Search results cannot quote a page opened from a disk (browsers do not let a page read its neighbours): list titles only.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What is folded on the screen is printed too.
window.addEventListener("beforeprint", () => document.querySelectorAll("article details").forEach(o => { o.open = true; }));

// A box that scrolls must be reachable without a mouse.
window.addEventListener("DOMContentLoaded", () => {
  for (const o of document.querySelectorAll("article pre, article .output, article .pst-scrollable-table-container, article div.math"))
    if (o.scrollWidth > o.clientWidth) o.tabIndex = 0;
  // The theme's arrows beside a page with pages below it have no name of their own.
  for (const o of document.querySelectorAll(".bd-sidebar-primary li > details > summary"))
    o.setAttribute("aria-label", `Pages of ${o.closest("li").querySelector("a").textContent.trim()}`);
});
