"use strict";
// The page works without this script; it adds keys, clicks and copying.
(() => {
  const keys = { 1: "fixed", 2: "before", 3: "after", f: "flicker", g: "flickerbefore" };
  const viewers = [...document.querySelectorAll("[data-viewer]")].filter((v) => v.querySelector('[data-show="fixed"]'));

  const choose = (viewer, name) => {
    const input = viewer && viewer.querySelector(`[data-show="${name}"]`);
    if (input) input.checked = true;
  };

  // A key acts on the viewer closest to the middle of the window.
  const nearest = () => {
    const middle = window.innerHeight / 2;
    const distance = (v) => {
      const box = v.getBoundingClientRect();
      return Math.abs((box.top + box.bottom) / 2 - middle);
    };
    return viewers.reduce((best, v) => (best && distance(best) <= distance(v) ? best : v), null);
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const name = keys[event.key.toLowerCase()];
    if (name) choose(nearest(), name);
  });

  // On a touch screen, a tap steps between fixed and registered.
  for (const viewer of viewers) {
    viewer.querySelector(".stack").addEventListener("click", () => {
      if (window.matchMedia("(hover: hover)").matches) return;
      choose(viewer, viewer.querySelector('[data-show="fixed"]').checked ? "after" : "fixed");
    });
  }

  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.nextElementSibling.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
})();
