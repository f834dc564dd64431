// What all pages share: keys, dialogs, and the way to sign in; every page works without this file.
"use strict";
(() => {
  const TYPED = "input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]";
  const PRESSED = "a[href], button, summary, label, input, select, textarea";

  // One key, one action: a button says its key in data-key. Silent in text fields, with modifiers and in dialogs.
  const turned = { ArrowLeft: "ArrowRight", ArrowRight: "ArrowLeft" };
  const keyOf = (event) => {
    if (event.key.length === 1) return event.key.toLowerCase();
    // Along the line, keys count from the side where reading begins.
    return (getComputedStyle(document.body).direction === "rtl" && turned[event.key]) || event.key;
  };
  const silent = (event) =>
    event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing ||
    event.target.closest(TYPED) !== null || document.querySelector("dialog[open], dialog:popover-open") !== null ||
    (event.target.matches("[type=radio]") && event.key.startsWith("Arrow")) ||
    ((event.key === "Enter" || event.key === " ") && event.target.matches(PRESSED) && !event.target.matches("[type=radio]"));
  const shown = (button) => !button.disabled && !button.closest("[hidden]") && !("once" in button.dataset && button.checked);

  document.addEventListener("keydown", (event) => {
    if (silent(event)) return;
    const key = keyOf(event);
    for (const button of document.querySelectorAll("[data-key]")) {
      if (!button.dataset.key.split(" ").includes(key) || !shown(button)) continue;
      event.preventDefault();
      button.click();
      return;
    }
  });

  const beside = (event) => {
    const box = event.target.getBoundingClientRect();
    return event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
  };
  // A dialog is a popover where there is no script, and modal where there is.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button?.dataset.do === "dialog") {
      event.preventDefault();
      document.getElementById(button.getAttribute("popovertarget"))?.showModal();
    } else if (button?.dataset.do === "close") {
      event.preventDefault();
      button.closest("dialog").close();
    } else if (button?.dataset.do === "dismiss") {
      button.closest(".banner").remove();
    } else if (event.target.matches("dialog[open]") && beside(event)) {
      event.target.close();
    }
  });

  // A session that ended answers with the sign-in page, which must not land inside this one.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const landed = new URL(event.detail.xhr.responseURL || location.href);
    if (!landed.pathname.startsWith("/sign-in/")) return;
    event.detail.shouldSwap = false;
    location.assign(`/sign-in/?next=${encodeURIComponent(location.pathname)}`);
  });

  window.rankloop = { keyOf, silent };
})();
