// Keys, panels, and what is recorded of a judgment's time; every page works without this file.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const typing = (target) => target.closest("input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]");

  // Time: shown when the comparison stood on the page, active while the page is seen and the rater is not away.
  const AWAY = 60_000; // without any input for this long, the rater is taken to be away
  let shown, firstInput, active, activeSince, lastInput;

  const startClock = () => {
    shown = new Date();
    firstInput = null;
    active = 0;
    lastInput = Date.now();
    activeSince = document.hidden ? null : lastInput;
  };
  const stopStretch = () => {
    if (activeSince !== null) active += Math.max(0, Math.min(Date.now(), lastInput + AWAY) - activeSince);
    activeSince = null;
  };
  const noteInput = () => {
    if (Date.now() - lastInput > AWAY) stopStretch();
    lastInput = Date.now();
    if (activeSince === null && !document.hidden) activeSince = lastInput;
    firstInput ??= new Date();
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stopStretch();
    else if (lastInput) { lastInput = Date.now(); activeSince = lastInput; }
  });
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
    document.addEventListener(kind, () => { if (shown) noteInput(); }, { passive: true, capture: true });
  }
  const writeTimes = (form) => {
    stopStretch();
    activeSince = Date.now();
    form.elements.shown_at.value = shown.toISOString();
    form.elements.first_input_at.value = firstInput?.toISOString() ?? "";
    form.elements.submitted_at.value = new Date().toISOString();
    form.elements.active_ms.value = Math.round(active);
  };

  const arrive = () => {
    const screen = byId("screen");
    if (!screen) return;
    document.body.classList.toggle("no-votes", "noVotes" in screen.dataset);
    if (byId("comparison")) startClock();
    if (panelOpen && byId("guidelines")) showPanel();
  };
  const say = (words, bad) => {
    const place = byId("saved");
    if (!place) return;
    place.textContent = words;
    place.hidden = !words;
    place.classList.toggle("is-bad", bad);
  };

  document.addEventListener("DOMContentLoaded", arrive);
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.elt.id !== "screen") return;
    arrive();
    byId("announcement").textContent = event.detail.elt.dataset.announce;
    byId("main").focus({ preventScroll: true });
  });

  // Capture: the times are in the form before htmx or the browser reads it.
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "comparison") return;
    writeTimes(event.target);
    for (const vote of event.target.querySelectorAll(".vote")) vote.setAttribute("aria-pressed", vote === event.submitter);
  }, true);
  document.addEventListener("htmx:beforeRequest", (event) => { if (event.target.closest("#screen")) say("Saving", false); });
  document.addEventListener("htmx:sendError", () => {
    for (const vote of document.querySelectorAll(".vote")) vote.setAttribute("aria-pressed", "false");
    say("No connection: not saved. Answer again when it is back.", true);
  });
  // A session that ended answers with the sign-in page, which must not land inside this one.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const landed = new URL(event.detail.xhr.responseURL || location.href);
    if (!landed.pathname.startsWith("/sign-in/")) return;
    event.detail.shouldSwap = false;
    location.assign(`/sign-in/?next=${encodeURIComponent(location.pathname)}`);
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.do === "panel") togglePanel();
    else if (button.dataset.do === "keys") byId("keys")?.showModal();
  });
  let panelOpen = false; // stays as the rater left it from one comparison to the next
  const showPanel = () => {
    const panel = byId("guidelines");
    panel.hidden = !panelOpen;
    panel.closest(".sheet").classList.toggle("with-panel", panelOpen);
    document.querySelector('[data-do="panel"][aria-expanded]').setAttribute("aria-expanded", String(panelOpen));
  };
  const togglePanel = () => {
    if (byId("more").matches(":popover-open")) byId("more").hidePopover();
    panelOpen = !panelOpen;
    showPanel();
    byId(panelOpen ? "g-title" : "main").focus();
  };

  // One key, one action: a button says its key in data-key. Silent in text fields, with modifiers and in dialogs.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing(event.target) || document.querySelector("dialog[open]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    for (const button of document.querySelectorAll("[data-key]")) {
      if (!button.dataset.key.split(" ").includes(key) || button.disabled || button.closest("[hidden]")) continue;
      event.preventDefault();
      button.click();
      return;
    }
  });
})();
