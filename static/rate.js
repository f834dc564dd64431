// The rater's screen: the next comparison is in hand before it is needed, and no answer is lost.
"use strict";
(() => {
  const AWAY = 60_000; // without any input for this long, the rater is taken to be away
  const BEAT = 4 * 60_000; // between two signs of life
  const WATCHED = 20 * 60_000; // without any input for this long, leases are no longer kept
  const IN_HAND = 2; // comparisons kept beside the one on screen; more go back
  const DOUBLE_CLICK = 300; // ms after a comparison came during which a click is the second half of the last one
  const DRAFT_LIFE = 7 * 24 * 3600_000;

  const { keyOf, silent } = window.rankloop;
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const form = () => byId("comparison");
  const person = () => document.body.dataset.person ?? "";
  const phone = matchMedia("(max-width: 48rem)");

  // Storage: a browser may refuse it; then everything is kept in memory, and leaving asks first.

  const memory = new Map();
  const store = {
    prefix: () => `rankloop/${person()}/`,
    set(name, value) {
      const text = JSON.stringify(value);
      try { localStorage.setItem(store.prefix() + name, text); memory.delete(name); } catch { memory.set(name, text); }
    },
    get(name) {
      let text = memory.get(name) ?? null;
      try { text ??= localStorage.getItem(store.prefix() + name); return text === null ? null : JSON.parse(text); } catch { return null; }
    },
    remove(name) {
      memory.delete(name);
      try { localStorage.removeItem(store.prefix() + name); } catch { /* nothing was kept there */ }
    },
    names(start) {
      const found = new Set(memory.keys());
      try {
        for (const key of Object.keys(localStorage)) if (key.startsWith(store.prefix())) found.add(key.slice(store.prefix().length));
      } catch { /* only memory, then */ }
      return [...found].filter((name) => name.startsWith(start));
    },
  };
  const remembered = (name) => { try { return sessionStorage.getItem(name); } catch { return null; } };
  const remember = (name, value) => { try { sessionStorage.setItem(name, value); } catch { /* it is a convenience */ } };

  // Words: all of them stand in the page, in the rater's language.

  const words = (name) => byId(`say-${name}`).content.cloneNode(true);
  const plainWords = (name) => words(name).textContent.trim();
  const fill = (fragment, values) => {
    const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) walker.currentNode.data = walker.currentNode.data.replace(/\{(\w+)\}/g, (_, name) => values[name]);
    return fragment;
  };
  let told = "";
  const tell = (name, tone = "", values = {}) => {
    const place = byId("saved");
    if (!place) return;
    const now = name + JSON.stringify(values);
    if (now === told && place.childNodes.length) return;
    told = now;
    place.replaceChildren(fill(words(name), values));
    place.className = `state ${tone}`;
  };
  let toastTimer = 0;
  const toast = (text, undoable) => {
    const place = byId("toast");
    place.querySelector("span").textContent = text;
    place.querySelector("button").hidden = !undoable;
    place.hidden = true;
    void place.offsetWidth; // its animation begins anew
    place.hidden = false;
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => { place.hidden = true; }, 8500);
  };

  // Time: what is recorded of how a comparison was looked at, one record for each.

  const records = new WeakMap();
  const begin = () => ({
    shown: new Date(), firstInput: null, active: 0, since: document.hidden ? null : Date.now(), hidden: 0,
    hiddenSince: document.hidden ? Date.now() : null, changes: 0, pastes: 0, scrolled: [], opened: new Set(),
  });
  let record = null;
  let lastInput = Date.now();
  let means = "mouse"; // of the last input: keys, mouse or touch
  let clockAhead; // ms by which this browser's clock is ahead of the server's, as far as a header tells

  const stopStretch = () => {
    if (record.since !== null) record.active += Math.max(0, Math.min(Date.now(), lastInput + AWAY) - record.since);
    record.since = null;
  };
  const noteInput = (event) => {
    means = event.type === "keydown" ? "keys" : event.pointerType === "mouse" || event.type === "wheel" ? "mouse" : "touch";
    if (record) {
      if (Date.now() - lastInput > AWAY) stopStretch();
      lastInput = Date.now();
      if (record.since === null && !document.hidden) record.since = lastInput;
      record.firstInput ??= new Date();
    }
    lastInput = Date.now();
  };
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel"]) {
    document.addEventListener(kind, noteInput, { passive: true, capture: true });
  }
  document.addEventListener("visibilitychange", () => {
    if (!record) return;
    if (document.hidden) {
      stopStretch();
      record.hiddenSince = Date.now();
    } else {
      if (record.hiddenSince !== null) record.hidden += Date.now() - record.hiddenSince;
      record.hiddenSince = null;
      lastInput = Date.now();
      record.since = lastInput;
      beat();
    }
  });
  const noteScroll = () => {
    if (!record || !form()) return;
    const bar = document.querySelector(".votebar")?.offsetHeight ?? 0;
    all(".side", form()).forEach((side, index) => {
      const box = side.getBoundingClientRect();
      if (!box.height) return;
      const share = Math.min(1, Math.max(0, (innerHeight - bar - box.top) / box.height));
      record.scrolled[index] = Math.max(record.scrolled[index] ?? 0, Math.round(share * 100) / 100);
    });
  };
  addEventListener("scroll", noteScroll, { passive: true });
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) open(Number(entry.target.dataset.position));
  });
  const open = (position) => {
    record?.opened.add(position);
    const radio = form()?.querySelector(`.look label:nth-of-type(${position}) .unopened`);
    if (radio) radio.hidden = true;
  };
  const device = () => (phone.matches ? "phone" : matchMedia("(pointer: coarse)").matches ? "tablet" : "desk");
  const theme = () => document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const writeRecord = (sheet) => {
    stopStretch();
    record.since = Date.now();
    noteScroll();
    const fields = sheet.elements;
    fields.shown_at.value = record.shown.toISOString();
    fields.first_input_at.value = record.firstInput?.toISOString() ?? "";
    fields.submitted_at.value = new Date().toISOString();
    fields.active_ms.value = Math.round(record.active);
    const client = {
      device: device(), input: means, width: innerWidth, height: innerHeight, theme: theme(), locale: navigator.language,
      zoom: outerWidth ? Math.round((outerWidth / innerWidth) * 100) / 100 : 1,
      hidden_ms: Math.round(record.hidden), changes: record.changes, pastes: record.pastes,
      scrolled: all(".side", sheet).map((_, index) => record.scrolled[index] ?? 0),
    };
    if (clockAhead !== undefined) client.offset_ms = clockAhead;
    fields.client.value = JSON.stringify(client);
  };

  // Requests

  const ask = async (url, options = {}) => {
    const sent = Date.now();
    const answer = await fetch(url, {
      ...options, credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(20_000),
      headers: { "X-Requested-With": "fetch" },
    });
    const date = Date.parse(answer.headers.get("Date") ?? "");
    if (!Number.isNaN(date)) clockAhead = Math.round((sent + Date.now()) / 2 - date - 500); // the header has whole seconds
    if (answer.redirected && new URL(answer.url).pathname === document.body.dataset.signIn) {
      location.assign(`${document.body.dataset.signIn}?next=${encodeURIComponent(location.pathname)}`);
      throw new Error("signed out");
    }
    return answer;
  };
  const token = () => document.querySelector("[name=csrfmiddlewaretoken]")?.value ?? "";
  const read = (html) => new DOMParser().parseFromString(html, "text/html").body; // pages of ours only
  const parse = (html) => {
    const screen = document.adoptNode(read(html).firstElementChild);
    screen.querySelector(".toast")?.remove(); // the page tells what was judged last by itself
    return screen;
  };
  const sheetOf = (screen) => screen.querySelector("#comparison");
  const keyOn = (screen) => sheetOf(screen)?.dataset.assignment;

  // In hand: parsed comparisons, each with its own lease.

  let hand = [];
  let stuck = false; // the comparison on screen is answered, and there is no other yet
  const judged = []; // what undo takes back, the last one at the end
  const answered = new Map(); // by the key of the posting, until the server has it

  const inHand = () => [...(stuck || !form() ? [] : [keyOn(byId("screen"))]), ...hand.map(keyOn)];
  const giveBack = (screen) => {
    const data = new FormData();
    data.set("csrfmiddlewaretoken", token());
    navigator.sendBeacon(sheetOf(screen).dataset.release, data);
  };
  const receive = (screen) => {
    if (inHand().includes(keyOn(screen))) return;
    if (stuck) show(screen);
    else if (hand.length < IN_HAND) hand.push(screen);
    else giveBack(screen);
  };
  const fetchNext = async () => {
    const held = [...inHand(), ...outbox.items().map((one) => one.assignment)];
    const query = new URLSearchParams(held.map((key) => ["held", key]));
    try {
      const answer = await ask(`${form().dataset.next}?${query}`);
      if (answer.status === 200) receive(parse(await answer.text()));
      else if (answer.status === 204 && stuck && !outbox.items().length) location.reload();
    } catch { /* the next answer brings it, or the connection when it is back */ }
  };
  const stick = () => {
    stuck = true;
    byId("screen").classList.add("is-sent");
    for (const button of all(".votebar button, .votebar input", form())) if (button.getAttribute("form") !== "undo") button.disabled = true;
  };

  const exchange = (one, other) => {
    if (!one || !other || one === other) return;
    const mark = document.createComment("");
    one.replaceWith(mark);
    other.replaceWith(one);
    mark.replaceWith(other);
  };
  const show = (screen) => {
    stuck = false;
    exchange(byId("saved"), screen.querySelector("#saved")); // what it says stays, and the old screen may come back
    byId("screen").replaceWith(screen);
    arrive();
    byId("announcement").textContent = screen.dataset.announce;
    scrollTo(0, 0); // from here on nothing is written, so that the layout is made once
    byId("main").focus({ preventScroll: true });
  };

  const arrive = () => {
    const sheet = form();
    record = null;
    seen.disconnect();
    if (!sheet) return;
    const screen = byId("screen");
    if (!records.has(screen)) records.set(screen, begin());
    record = records.get(screen);
    record.arrived = performance.now();
    sheet.noValidate = true; // what is missing is said in the page
    for (const side of all(".side", sheet)) seen.observe(side);
    all(".unopened", sheet).forEach((mark, index) => { mark.hidden = index === 0 || record.opened.has(index + 1); });
    restoreDraft(sheet);
    if (sheet.dataset.scheme === "ranking") ranking.read(sheet);
    if (sheet.dataset.scheme === "scores") scores.mark(sheet, 0);
    byId("show-raw").checked = showRaw;
    if (byId("show-texts") && remembered("texts-shown")) byId("show-texts").checked = true;
    if (byId("break") && Date.now() - Number(remembered("break-taken") ?? 0) < byId("break").dataset.minutes * 60_000) byId("break").remove();
    setPanel(panelOpen);
    setUndo();
    tellTimeLeft();
  };

  const setUndo = () => {
    const undo = byId("undo");
    const last = judged.at(-1);
    if (last) undo.action = last.undo;
    for (const button of all('.votebar [form="undo"]')) button.disabled = !last;
  };
  let median = 0;
  const tellTimeLeft = () => {
    const left = byId("time-left");
    if (!left) return;
    median ||= Number(left.dataset.median || 0);
    if (!median) return;
    const bar = document.querySelector(".session");
    const minutes = Math.max(1, Math.round(((bar.max - bar.value + 1) * median) / 60_000));
    left.textContent = left.dataset.say.replace("{n}", minutes);
  };

  // Outbox: an answer is kept in this browser until the server says that it has it.

  const outbox = {
    items: () => store.names("outbox/").map((name) => store.get(name)).filter(Boolean).sort((a, b) => a.at - b.at),
    put: (item) => store.set(`outbox/${item.id}`, item),
    has: (id) => store.get(`outbox/${id}`) !== null,
    remove: (id) => store.remove(`outbox/${id}`),
  };
  let draining = null;
  let wait = 0;
  let retry = 0;

  const drain = () => {
    clearTimeout(retry);
    draining ??= (async () => {
      try {
        if (navigator.locks) await navigator.locks.request(`outbox/${person()}`, sendAll); // one tab at a time
        else await sendAll();
      } finally { draining = null; }
    })();
    return draining;
  };
  const sendAll = async () => {
    for (let items = outbox.items(); items.length; items = outbox.items()) {
      if (!wait) tell("saving");
      try {
        if (!(await send(items[0]))) return;
        wait = 0;
      } catch (error) {
        if (error.message === "signed out") return;
        for (const item of outbox.items()) outbox.put({ ...item, waited: true });
        tellWaiting(error.message === "not now" ? "waiting" : "offline");
        wait = Math.min(30_000, (wait || 500) * 2);
        retry = setTimeout(drain, wait * (0.75 + Math.random() / 2));
        return;
      }
    }
    if (told) tell("saved", "");
    document.querySelector(".banner.waits")?.remove();
    if (stuck) await fetchNext();
  };
  const tellWaiting = (why = "offline") => {
    const n = outbox.items().length;
    tell(why, "is-warn", { n });
    if (!stuck || why === "waiting") return;
    document.querySelector(".banner.waits")?.remove();
    const banner = fill(words("waits"), { n }).firstElementChild;
    banner.classList.add("waits");
    byId("main").prepend(banner);
    scrollTo(0, 0);
  };
  const send = async (item) => {
    const body = new URLSearchParams(item.body);
    body.set("csrfmiddlewaretoken", token());
    const held = [...inHand(), ...outbox.items().map((one) => one.assignment)]; // what waits is not asked again either
    for (const key of new Set(held)) if (key !== item.assignment) body.append("held", key);
    if (item.waited && body.get("client")) body.set("client", JSON.stringify({ ...JSON.parse(body.get("client")), offline: true }));
    const answer = await ask(item.url, { method: "POST", body, keepalive: body.toString().length < 60_000 });
    if (answer.status === 403 && remembered("reloaded") !== item.id) {
      remember("reloaded", item.id); // a session that was begun anew has another token; the page brings it
      location.reload();
      return false;
    }
    if (answer.status >= 500 || [403, 408, 429].includes(answer.status)) throw new Error("not now");
    outbox.remove(item.id);
    const before = answered.get(item.id);
    answered.delete(item.id);
    if (answer.ok) {
      store.remove(`draft/${item.assignment}`);
      if (answer.status === 200) {
        const screen = parse(await answer.text());
        if (form() && item.project === form().dataset.project && !("plain" in form().dataset)) receive(screen);
        else giveBack(screen);
      } else if (item.kind === "flag") toast(plainWords("flagged"), false);
    } else refused(answer.status === 409 || answer.status === 404 ? null : before, await answer.text(), answer.status);
    return true;
  };
  const refused = (before, reason, status) => {
    if (before) putBack(before);
    const at = judged.findIndex((one) => one.screen === before);
    if (before && at >= 0) judged.splice(at, 1);
    setUndo();
    const banner = words("refused").firstElementChild;
    banner.querySelector(".reason").textContent = (status === 400 || status === 409) && reason.length < 500 ? reason : String(status);
    byId("main")?.prepend(banner);
    scrollTo(0, 0);
  };
  addEventListener("online", () => { wait = 0; drain(); });
  addEventListener("offline", () => { if (outbox.items().length) tellWaiting(); });
  addEventListener("beforeunload", (event) => { if ([...memory.keys()].some((name) => name.startsWith("outbox/"))) event.preventDefault(); });
  addEventListener("pagehide", () => { for (const screen of hand) giveBack(screen); });

  // Answering

  let pending = null; // a vote that is pressed and waits for what else is needed

  const press = (vote) => {
    for (const other of all(".vote", form())) other.setAttribute("aria-pressed", String(other === vote));
    pending = vote;
  };
  const need = (name, place) => {
    all(".error.needed", form()).forEach((old) => old.remove());
    const line = document.createElement("p");
    line.className = "error needed";
    line.role = "alert";
    line.textContent = plainWords(name);
    (place.closest(".stack, .side, #ranking > div") ?? place.parentElement).append(line);
    const target = place.matches("textarea, input") ? place : place.querySelector("input, button") ?? place;
    target.focus();
    target.scrollIntoView({ block: "center" });
    return true;
  };
  const lacking = (sheet, vote) => {
    const bad = vote.name === "all_bad";
    const veil = byId("show-texts");
    if (veil && !veil.checked) { veil.focus(); return true; }
    if (!bad && sheet.dataset.scheme === "scores") {
      const row = all(".scores", sheet).find((one) => !one.querySelector(":checked"));
      if (row) return need("needs-scores", row);
    }
    if (!bad && sheet.dataset.scheme === "ranking" && !ranking.complete()) return need("needs-order", byId("ranking"));
    const row = all("[data-needed][role=radiogroup]", sheet).find((one) => !one.querySelector(":checked"));
    if (row) return need("needs-criteria", row);
    const text = sheet.elements.rationale;
    if (text && !text.value.trim() && (text.dataset.needed === "always" || (text.dataset.needed === "strong" && "strong" in vote.dataset))) {
      return need("needs-rationale", text);
    }
    return false;
  };
  const voteOf = (event) => (pending && event.submitter?.dataset.do === "save" ? pending : event.submitter ?? pending);
  const judge = (event, sheet) => {
    const vote = voteOf(event);
    if (!vote || (means !== "keys" && performance.now() - record.arrived < DOUBLE_CLICK)) return;
    if (vote.matches(".vote")) {
      if (pending && pending !== vote) record.changes += 1;
      press(vote);
    }
    if (lacking(sheet, vote)) return;
    writeRecord(sheet);
    const data = new FormData(sheet);
    if (vote.name) data.set(vote.name, vote.value);
    if (sheet.dataset.scheme === "ranking") ranking.write(data);
    data.delete("look");
    data.delete("csrfmiddlewaretoken");
    if (phone.matches) data.set("opened", [...record.opened].sort().join(","));
    const said = sheet.dataset.scheme === "ranking" && vote.name !== "all_bad" ? ranking.words() : vote.querySelector(".all")?.textContent ?? plainWords("saved");
    go({ kind: "judge", id: data.get("client_key"), url: sheet.getAttribute("action"), data, sheet });
    judged.push({ undo: sheet.dataset.undo, id: data.get("client_key"), screen: answered.get(data.get("client_key")) });
    judged.splice(0, judged.length - 10);
    setUndo();
    setTimeout(toast, 0, said, true);
  };
  const skip = (event, skipping) => {
    skipping.closest("dialog").close();
    const data = new FormData(skipping);
    if (event.submitter?.name) data.set(event.submitter.name, event.submitter.value);
    data.delete("csrfmiddlewaretoken");
    go({ kind: "skip", id: `skip-${form().dataset.assignment}`, url: skipping.getAttribute("action"), data, sheet: form() });
    setTimeout(toast, 0, plainWords("skipped"), false);
  };
  const go = ({ kind, id, url, data, sheet }) => {
    const { assignment, project } = sheet.dataset;
    answered.set(id, byId("screen"));
    outbox.put({ kind, id, url, body: new URLSearchParams(data).toString(), assignment, project, at: Date.now(), waited: wait > 0 });
    pending = null;
    const next = hand.shift();
    if (next) show(next);
    else stick();
    setTimeout(drain); // after the next comparison is painted
  };
  const flag = (flagging) => {
    flagging.closest("dialog").close();
    const data = new FormData(flagging);
    data.delete("csrfmiddlewaretoken");
    const { assignment, project } = form().dataset;
    const id = data.get("client_key");
    outbox.put({ kind: "flag", id, url: flagging.getAttribute("action"), body: new URLSearchParams(data).toString(), assignment, project, at: Date.now() });
    flagging.reset();
    flagging.elements.client_key.value = newKey();
    drain();
  };
  const newKey = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing where there is no TLS
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
  };

  const putBack = (screen) => {
    if (!stuck && byId("screen") !== screen) hand.unshift(byId("screen"));
    screen.classList.remove("is-sent");
    for (const button of all(".votebar button, .votebar input", screen)) button.disabled = false;
    show(screen);
    pending = form().querySelector(".vote[aria-pressed=true]");
  };
  let undoing = false;
  const undo = async () => {
    const last = judged.at(-1);
    if (!last || undoing) return;
    undoing = true;
    byId("toast").hidden = true;
    try {
      if (outbox.has(last.id) && !draining) { // it never left this browser
        outbox.remove(last.id);
        judged.pop();
        putBack(last.screen);
        return;
      }
      await draining;
      const answer = await ask(last.undo, { method: "POST", body: new URLSearchParams({ csrfmiddlewaretoken: token() }) });
      if (answer.status === 200) {
        judged.pop();
        putBack(parse(await answer.text()));
      } else refused(null, await answer.text(), answer.status);
    } catch (error) {
      if (error.message !== "signed out") toast(plainWords("no-undo"), false);
    } finally { undoing = false; }
  };

  const QUICK = {
    comparison: judge,
    skipping: skip,
    flagging: (event, flagging) => flag(flagging),
    undo: () => undo(),
    seen: (event, sent) => {
      event.submitter.closest(".banner").remove();
      ask(event.submitter.getAttribute("formaction"), { method: "POST", body: new URLSearchParams(new FormData(sent)) }).catch(() => {});
    },
  };
  document.addEventListener("submit", (event) => {
    const sent = event.target;
    const sheet = form();
    if (!sheet || !(sent.id in QUICK)) return;
    const plain = "plain" in sheet.dataset;
    if (plain && sent.id === "comparison") {
      const vote = voteOf(event);
      if (vote?.matches(".vote")) press(vote);
      if (!vote || "sent" in sent.dataset || lacking(sheet, vote)) return event.preventDefault();
      writeRecord(sheet);
      if (sheet.dataset.scheme === "ranking") ranking.fill(sheet);
      if (phone.matches) addField(sheet, "opened", [...record.opened].sort().join(","));
      sent.dataset.sent = "";
      store.remove(`draft/${sheet.dataset.assignment}`);
      return undefined;
    }
    if (plain && sent.id !== "flagging" && sent.id !== "seen") return undefined;
    event.preventDefault();
    if (stuck && sent.id !== "undo") return undefined;
    return QUICK[sent.id](event, sent);
  });
  const addField = (sheet, name, value) => {
    const field = document.createElement("input");
    field.type = "hidden";
    field.name = name;
    field.value = value;
    sheet.append(field);
  };
  const save = () => {
    const sheet = form();
    const vote = pending ?? sheet.querySelector("[data-do=save][type=submit], [data-do=save]:not([type])");
    if (vote) sheet.requestSubmit(vote);
    else sheet.querySelector(".vote")?.focus();
  };

  // Drafts: what was entered but not sent survives a reload.

  const KEPT = "textarea, select, input[type=radio], input[type=checkbox]";
  const keepDraft = () => {
    const sheet = form();
    if (!sheet || stuck || !sheet.dataset.assignment) return;
    const data = [...new FormData(sheet)].filter(([name]) => /^(rationale|confidence|(rank|score|criterion|label)_\d)$/.test(name));
    store.set(`draft/${sheet.dataset.assignment}`, { at: Date.now(), data });
  };
  const restoreDraft = (sheet) => {
    const draft = store.get(`draft/${sheet.dataset.assignment}`);
    if (!draft) return;
    for (const field of all(KEPT, sheet)) {
      if (!field.name) continue;
      const values = draft.data.filter(([name]) => name === field.name).map(([, value]) => value);
      if (field.matches("textarea, select")) field.value = values[0] ?? field.value;
      else if (values.length) field.checked = values.includes(field.value);
    }
  };
  let draftTimer = 0;
  document.addEventListener("input", (event) => {
    if (!event.target.closest("#comparison") || !event.target.name || event.target.name === "look") return;
    clearTimeout(draftTimer);
    draftTimer = setTimeout(keepDraft, 250);
    event.target.closest(".stack, .side")?.querySelector(".error.needed")?.remove();
  });
  document.addEventListener("paste", (event) => { if (record && event.target.closest("#comparison")) record.pastes += 1; });

  // Ranking: an order of groups; those in one group tie. The selects in the form hold the same, for a page without script.

  const ranking = {
    groups: [],
    chosen: null,
    size: () => all(".side", form()).length,
    rest: () => all(".side", form()).map((side) => Number(side.dataset.position)).filter((one) => !ranking.groups.flat().includes(one)),
    top: () => Number(form().dataset.top),
    complete: () => ranking.groups.flat().length >= (ranking.top() || ranking.size()),
    row: (position) => form().querySelector(`#ranking [data-position="${position}"]`),
    letter: (position) => ranking.row(position).dataset.letter,
    words: () => ranking.groups.map((group) => group.map(ranking.letter).join(" = ")).join(" › "),
    read(sheet) {
      const places = all("select[name^=rank_]", sheet).map((select, index) => [Number(select.value), index + 1]).filter(([place]) => place);
      ranking.groups = [];
      for (const place of [...new Set(places.map(([one]) => one))].sort((a, b) => a - b)) {
        ranking.groups.push(places.filter(([one]) => one === place).map(([, position]) => position));
      }
      ranking.chosen = null;
      ranking.draw({ selects: false }); // numbers may have gaps while they are being chosen
    },
    write(data) {
      for (let position = 1; position <= ranking.size(); position += 1) data.delete(`rank_${position}`);
      if (!data.has("all_bad")) data.set("order", ranking.order());
    },
    fill: (sheet) => {
      addField(sheet, "order", ranking.order());
      for (const select of all("select[name^=rank_]", sheet)) select.disabled = true;
    },
    order: () => [...ranking.groups, ranking.rest()].filter((group) => group.length).map((group) => group.join("=")).join(">"),
    draw({ selects = true } = {}) {
      const list = form().querySelector("ol.order");
      const rest = form().querySelector(".order.rest");
      list.replaceChildren(...ranking.groups.map((group, place) => {
        const item = document.createElement("li");
        const number = document.createElement("span");
        number.className = "rank";
        number.textContent = place + 1;
        const inner = document.createElement("ul");
        inner.append(...group.map(ranking.row));
        item.append(number, inner);
        return item;
      }));
      const left = ranking.rest();
      rest.append(...left.map(ranking.row));
      rest.hidden = byId("r-rest").hidden = !left.length;
      for (const row of all("#ranking [data-position]", form())) {
        row.classList.toggle("chosen", Number(row.dataset.position) === ranking.chosen);
        const placed = !row.closest(".rest");
        const tie = row.querySelector("[data-do=tie]");
        if (tie) tie.disabled = !placed || ranking.place(Number(row.dataset.position)) === 0;
        row.querySelector("[data-do=down]").disabled = !placed;
      }
      if (selects) all("select[name^=rank_]", form()).forEach((select, index) => {
        const place = ranking.place(index + 1);
        select.value = place < 0 ? "" : String(place + 1);
      });
      for (const line of all(".typed", form())) line.textContent = ranking.words();
    },
    place: (position) => ranking.groups.findIndex((group) => group.includes(position)),
    change(work) {
      const focus = document.activeElement;
      record.changes += 1;
      press(null);
      work();
      ranking.groups = ranking.groups.filter((group) => group.length);
      ranking.draw();
      if (focus?.isConnected && focus !== document.activeElement) focus.focus({ preventScroll: true });
      keepDraft();
    },
    take(position) {
      const place = ranking.place(position);
      if (place >= 0) ranking.groups[place] = ranking.groups[place].filter((one) => one !== position);
      return place;
    },
    pick(position) {
      if (ranking.place(position) >= 0) {
        ranking.chosen = ranking.chosen === position ? null : position;
        ranking.draw();
        return;
      }
      ranking.change(() => { ranking.groups.push([position]); ranking.chosen = position; });
      const left = ranking.rest();
      if (left.length === 1 && !ranking.top()) ranking.change(() => ranking.groups.push(left));
    },
    up: (position) => ranking.change(() => {
      ranking.chosen = position;
      const alone = ranking.groups[ranking.place(position)]?.length === 1;
      const place = ranking.take(position);
      if (place < 0) ranking.groups.push([position]);
      else ranking.groups.splice(alone ? Math.max(0, place - 1) : place, 0, [position]);
    }),
    down: (position) => ranking.change(() => {
      ranking.chosen = position;
      const alone = ranking.groups[ranking.place(position)]?.length === 1;
      const place = ranking.take(position);
      if (place < 0) return;
      if (alone && place === ranking.groups.length - 1) { if (ranking.top()) ranking.chosen = null; else ranking.groups.push([position]); return; }
      ranking.groups.splice(alone ? place + 2 : place + 1, 0, [position]);
    }),
    tie: (position) => ranking.change(() => {
      ranking.chosen = position;
      const place = ranking.place(position);
      if (place < 1) return;
      ranking.take(position);
      ranking.groups[place - 1].push(position);
    }),
    out: (position) => ranking.change(() => { ranking.take(position); ranking.chosen = ranking.groups.flat().at(-1) ?? null; }),
    drop: (position, target) => ranking.change(() => {
      ranking.chosen = position;
      if (target.kind === "rest") { ranking.take(position); return; }
      const anchor = ranking.groups[target.place];
      if (target.kind === "into") {
        if (anchor.includes(position)) return;
        ranking.take(position);
        anchor.push(position);
        return;
      }
      ranking.take(position);
      const at = anchor ? ranking.groups.indexOf(anchor) + (target.kind === "after" ? 1 : 0) : ranking.groups.length;
      ranking.groups.splice(Math.min(at, ranking.groups.length), 0, [position]);
    }),
    keydown(key) {
      const last = ranking.chosen ?? ranking.groups.flat().at(-1);
      if (last === undefined) return false;
      if (key === "=" && form().dataset.ties === "yes") ranking.tie(last);
      else if (key === "ArrowUp") ranking.up(last);
      else if (key === "ArrowDown") ranking.down(last);
      else if (key === "Backspace") ranking.out(last);
      else return false;
      return true;
    },
  };

  // Dragging: by the grip only, so that a finger on the text scrolls. Nothing moves but the row until it is dropped.

  const landing = (y, position) => {
    const groups = all("#ranking ol.order > li", form());
    for (const [place, item] of groups.entries()) {
      const box = item.getBoundingClientRect();
      if (y > box.bottom && place < groups.length - 1) continue;
      const edge = Math.min(14, box.height / 3);
      if (y < box.top + edge) return { kind: "before", place, item };
      if (y > box.bottom - edge) {
        if (y > box.bottom + 24 && ranking.top() && !byId("r-rest").hidden) break;
        return { kind: "after", place, item };
      }
      if (ranking.groups[place].length === 1 && ranking.groups[place][0] === position) return null;
      return form().dataset.ties === "yes" ? { kind: "into", place, item } : { kind: y < (box.top + box.bottom) / 2 ? "before" : "after", place, item };
    }
    return groups.length ? { kind: "rest" } : { kind: "after", place: -1 };
  };
  document.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest("#ranking .grip");
    if (!grip || event.button) return;
    event.preventDefault();
    const row = grip.closest("[data-position]");
    const position = Number(row.dataset.position);
    const from = event.clientY;
    let target = null;
    row.classList.add("lifted");
    const unmark = () => { for (const item of all("#ranking .order li", form())) item.classList.remove("drop-before", "drop-into", "drop-after"); };
    const move = (moved) => {
      row.style.transform = `translateY(${moved.clientY - from}px)`;
      unmark();
      target = landing(moved.clientY, position);
      target?.item?.classList.add(`drop-${target.kind}`);
    };
    const end = (ended) => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
      row.style.transform = "";
      row.classList.remove("lifted");
      unmark();
      if (ended.type === "pointerup" && target) ranking.drop(position, target);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
  });

  // Scores: a digit scores the marked response and marks the next one that has none.

  const scores = {
    current: 0,
    rows: (sheet = form()) => all(".scores", sheet),
    mark(sheet, index) {
      const rows = scores.rows(sheet);
      const open = rows.findIndex((row) => !row.querySelector(":checked"));
      scores.current = index ?? (open < 0 ? scores.current : open);
      rows.forEach((row, place) => row.closest(".side").classList.toggle("marked", place === scores.current));
    },
    keydown(key) {
      const rows = scores.rows();
      if (key === "Backspace") {
        scores.mark(form(), Math.max(0, scores.current - (rows[scores.current].querySelector(":checked") ? 0 : 1)));
        const given = rows[scores.current].querySelector(":checked");
        if (given) given.checked = false;
        keepDraft();
        return true;
      }
      const radio = /^[1-7]$/.test(key) && rows[scores.current].querySelector(`[value="${key}"]`);
      if (!radio) return false;
      if (rows[scores.current].querySelector(":checked")) record.changes += 1;
      radio.checked = true;
      press(null);
      radio.dispatchEvent(new Event("input", { bubbles: true }));
      scores.mark(form());
      showLook(scores.current + 1);
      return true;
    },
  };
  document.addEventListener("change", (event) => {
    const field = event.target;
    if (!record || !field.closest("#comparison")) return;
    if (field.name === "look") return turnTo(field);
    if (field.matches("select[name^=rank_]")) { ranking.read(form()); record.changes += 1; }
    else if (field.closest(".scores")) { press(null); scores.mark(form()); }
    if (field.matches("[type=radio]") && field.name) {
      if (picked.has(field.name)) record.changes += 1;
      picked.add(field.name);
    }
  });
  const picked = new Set();

  // Phone: A and B in turn, each at the place where it was left.

  const places = new WeakMap();
  let turned = null;
  const showLook = (position) => {
    const radio = form().querySelector(`.look label:nth-of-type(${position}) input`);
    if (radio && !radio.checked && phone.matches) radio.click();
  };
  const turnTo = (radio) => {
    const others = all("[name=look]", form()).filter((one) => one !== radio);
    for (const other of others) places.set(other, turned === radio ? 0 : scrollY);
    turned = radio;
    scrollTo(0, places.get(radio) ?? Math.min(scrollY, form().querySelector(".sides").offsetTop - 48));
  };

  // Panel, raw text, lists

  let panelOpen = remembered("panel") === "open"; // stays as the rater left it from one comparison to the next
  let showRaw = false;
  const setPanel = (open) => {
    panelOpen = open;
    remember("panel", open ? "open" : "closed");
    form()?.classList.toggle("with-panel", open && byId("guidelines") !== null);
    document.querySelector('[data-do="panel"][aria-expanded]')?.setAttribute("aria-expanded", String(open));
  };
  const openRecent = async (href) => {
    await draining;
    try {
      const answer = await ask(href);
      if (!answer.ok) throw new Error(answer.statusText);
      byId("recent").replaceChildren(...read(await answer.text()).children);
      byId("recent").showModal();
    } catch (error) { if (error.message !== "signed out") location.assign(href); }
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    const row = button?.closest("#ranking [data-position]");
    const act = button?.dataset.do;
    if (act && byId("more")?.matches(":popover-open")) byId("more").hidePopover();
    if (row) ranking[act](Number(row.dataset.position));
    else if (act === "panel") {
      event.preventDefault();
      setPanel(!panelOpen);
      byId(panelOpen ? "g-title" : "main").focus({ preventScroll: !panelOpen });
    } else if (act === "recent") { event.preventDefault(); openRecent(button.href); }
    else if (act === "rationale") form().elements.rationale.focus();
    else if (act === "save" && button.type === "button") save();
    else if (act === "dismiss" && button.closest("#break")) remember("break-taken", String(Date.now()));
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#more label")) byId("more").hidePopover();
    if (event.target.id === "show-raw") showRaw = event.target.checked;
    if (event.target.id === "show-texts") remember("texts-shown", "yes");
  });

  document.addEventListener("keydown", (event) => {
    const sheet = form();
    if (event.target.matches("[data-takes-key]")) return takeKey(event);
    const again = event.target.closest("#skip")?.querySelector("[data-again]");
    if (again && !event.target.matches("input") && again.dataset.again.split(" ").includes(keyOf(event)) && !event.repeat) {
      event.preventDefault();
      again.click();
      return undefined;
    }
    if (!sheet) return undefined;
    const inside = event.target.closest("#comparison");
    if (inside && event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); save(); return undefined; }
    if (event.key === "Escape" && panelOpen && !document.querySelector("dialog[open]")) { setPanel(false); byId("main").focus({ preventScroll: true }); }
    if (event.key === "Escape" && event.target.matches("textarea")) byId("main").focus({ preventScroll: true });
    if (silent(event)) return undefined;
    const own = { ranking, scores }[sheet.dataset.scheme];
    if (own?.keydown(keyOf(event))) event.preventDefault();
    return undefined;
  }, true);
  const takeKey = (event) => {
    if (["Tab", "Shift", "Control", "Alt", "Meta", "Dead", "Unidentified"].includes(event.key) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const field = event.target;
    const kept = "taking" in field.dataset ? field.value.split(" ").filter(Boolean) : [];
    field.dataset.taking = "";
    field.value = [...new Set([...kept, key])].slice(-3).join(" ");
  };
  document.addEventListener("focusout", (event) => { delete event.target.dataset?.taking; });

  // A sign of life keeps the leases while somebody looks.

  const beat = async () => {
    const sheet = form();
    if (!sheet || document.hidden || stuck || !navigator.onLine || Date.now() - lastInput > WATCHED) return;
    try {
      const answer = await ask(sheet.dataset.heartbeat, { method: "POST", body: new URLSearchParams({ csrfmiddlewaretoken: token() }) });
      if (answer.status === 410 && record && !record.changes && !pending && sheet === form()) location.reload();
    } catch { /* the answer itself is taken late as well */ }
  };
  setInterval(beat, BEAT);

  document.addEventListener("DOMContentLoaded", () => {
    for (const name of store.names("draft/")) if (Date.now() - (store.get(name)?.at ?? 0) > DRAFT_LIFE) store.remove(name);
    const action = byId("undo")?.getAttribute("action");
    if (action) judged.push({ undo: action });
    if (byId("screen")) arrive();
    const sheet = form();
    pending = sheet?.querySelector(".vote[aria-pressed=true]") ?? null;
    if (!sheet || "plain" in sheet.dataset) { if (outbox.items().length) drain(); return; }
    if (outbox.items().some((item) => item.assignment === sheet.dataset.assignment && item.kind !== "flag")) stick();
    if (outbox.items().length) { told = "load"; drain(); } else fetchNext();
  });
})();
