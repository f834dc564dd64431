// Drafts, keys and leases of the pages on which people write and review; both work without this file.
"use strict";
(() => {
  const PAUSE = 1000; // after the last letter, before the draft is sent
  const AWAY = 60_000; // without any input for this long, the writer is taken to be away
  const RETRY = 5000; // after a draft that did not arrive
  const HOLD = 120_000; // between two renewals of the lease while the page is seen

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.querySelector("#writing, #reviewing");
    if (!form) return;
    holdLease(form);
    if (form.id === "writing") keepDraft(form);
    else keepNote(form.elements.note);
    document.addEventListener("keydown", (event) => {
      const box = event.target.closest("textarea");
      if (!box) return;
      if (event.key === "Escape") box.blur();
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.repeat || box.readOnly) return;
      event.preventDefault();
      document.getElementById("send")?.click();
    });
  });

  const post = (address, form, more = {}) => {
    const body = new FormData(form);
    for (const [name, value] of Object.entries(more)) body.set(name, value);
    return fetch(address, { method: "POST", body, headers: { Accept: "application/json" }, keepalive: document.hidden });
  };

  const holdLease = (form) => {
    setInterval(() => { if (!document.hidden) post(form.dataset.hold, form).catch(() => {}); }, HOLD);
  };

  // A reviewer's note outlives a reload in this tab, until the review is taken.
  const keepNote = (note) => {
    const name = `note ${note.dataset.keep}`;
    note.value ||= sessionStorage.getItem(name) ?? "";
    note.addEventListener("input", () => sessionStorage.setItem(name, note.value));
  };

  const keepDraft = (form) => {
    const { text, seen, active_ms: activeField } = form.elements;
    const changes = document.getElementById("changes");
    let saved = text.value, sending = "", saving = null, timer = 0, over = false;
    let active = 0, lastInput = 0;

    document.getElementById("save").hidden = true;
    const say = (what, kind = "", words = "") => {
      const place = document.getElementById("draft-state");
      place.replaceChildren(document.getElementById(`say-${what}`).content.cloneNode(true));
      place.className = `state ${kind}`;
      place.append(words);
    };
    const showChanges = (steps) => {
      if (!steps || !changes) return;
      const kinds = { "-": "del", "+": "ins" };
      changes.querySelector(".difference").replaceChildren(...steps.map(([sign, words]) => {
        if (!kinds[sign]) return document.createTextNode(words);
        const part = document.createElement(kinds[sign]);
        part.textContent = words;
        return part;
      }));
    };

    const save = () => {
      clearTimeout(timer);
      if (over) return Promise.resolve();
      saving ??= saveOnce().then((pause) => {
        saving = null;
        if (text.value !== (pause ? saved : sending)) later(pause || PAUSE);
      });
      return saving;
    };
    const later = (pause = PAUSE) => { clearTimeout(timer); timer = setTimeout(save, pause); };
    // Returns how long to wait before what is not saved yet is sent; 0 where the same text would be refused again.
    const saveOnce = async (again = true) => {
      const before = sending;
      sending = text.value;
      say("saving");
      let answer;
      try { answer = await post(form.dataset.draft, form, changes?.open ? { changes: "1" } : {}); }
      catch { say("offline", "is-warn"); return RETRY; }
      if (answer.redirected) { say("signed-out", "is-bad"); return RETRY; }
      const told = await answer.json().catch(() => ({}));
      if (answer.ok) {
        [saved, seen.value] = [sending, told.version];
        showChanges(told.changes);
        say("saved", "is-good");
        return PAUSE;
      }
      if (answer.status === 409 && told.version && told.text === before && before && again) {
        seen.value = told.version; // our own last draft arrived, only its answer was lost
        return saveOnce(false);
      }
      over = answer.status === 409;
      say(told.error ? "refused" : "broken", "is-bad", told.error);
      return told.error ? 0 : RETRY;
    };

    text.addEventListener("input", () => {
      if (lastInput) active += Math.min(Date.now() - lastInput, AWAY);
      lastInput = Date.now();
      later();
    });
    changes?.addEventListener("toggle", () => { if (changes.open) save(); });
    document.addEventListener("visibilitychange", () => { if (document.hidden && text.value !== saved) save(); });
    form.addEventListener("submit", (event) => {
      clearTimeout(timer);
      activeField.value = Math.round(active);
      if (!saving) { over = true; return; }
      event.preventDefault(); // the answer names the draft that this text grew from
      saving.finally(() => { over = true; form.requestSubmit(event.submitter); });
    });
    window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  };
})();
