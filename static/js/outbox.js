// Answers that the server has not confirmed yet: kept in this browser under their reviewer, and sent until it has.
// Each has an id of its own, so that one sent twice counts once.
"use strict";

(() => {
  const user = document.body.dataset.user;
  if (!user) return;
  const PREFIX = `workbench.unsent.${user}.`;
  const PAUSES_MS = [500, 1000, 2000, 4000, 8000, 15000];
  const TIMEOUT_MS = 30000;
  const LOOK_MS = 15000;
  const BEAT_MS = 5000;
  const SILENT_MS = 120000; // a tab in the background beats once a minute
  const MOST_AT_ONCE = 50;
  const entries = new Map(); // action -> what this tab has to send
  let card = null; // what the page with the review card tells and wants to know
  let sending = null;
  let asked = false; // whether the card wants cards or leases, with or without answers
  let oneByOne = false;
  let failures = 0;
  let trouble = null; // why answers are not saved: {kind, sentence, href}
  let recovering = 0; // answers saved since the server answers again, told when all are
  let timer = 0;
  let latest = 0;
  let leaving = false;

  const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const TAB = newId();
  const csrf = () => JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
  const plural = (number, one, many) => `${number} ${number === 1 ? one : many}`;
  const unsent = () => [...entries.values()].filter((entry) => entry.returned === undefined).sort((one, other) => one.order - other.order);
  const returned = () => [...entries.values()].filter((entry) => entry.returned !== undefined);

  // --- keeping: one place in the storage for each answer, so that tabs never overwrite what another one keeps

  const keep = (entry) => {
    entries.set(entry.answer.action, entry);
    try { localStorage.setItem(PREFIX + entry.answer.action, JSON.stringify(entry)); } catch { entry.fleeting = true; }
    return entry;
  };
  const forget = (entry) => {
    entries.delete(entry.answer.action);
    try { localStorage.removeItem(PREFIX + entry.answer.action); } catch { /* it was never stored */ }
  };
  const stored = () => {
    try {
      const names = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
      return names.map((name) => JSON.parse(localStorage.getItem(name))).filter(Boolean);
    } catch { return []; }
  };

  // A tab holds a lock named after itself as long as it lives; what a tab left behind is taken over by another. Browsers
  // have locks over https and on this machine only; elsewhere a tab writes down now and then that it lives.
  const ALIVE = "workbench.alive.";
  const beat = () => { try { localStorage.setItem(ALIVE + TAB, String(Date.now())); } catch { /* then it is taken for dead */ } };
  const beating = () => {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(ALIVE));
    const silent = names.filter((name) => Date.now() - Number(localStorage.getItem(name)) > SILENT_MS);
    silent.forEach((name) => localStorage.removeItem(name));
    return names.filter((name) => !silent.includes(name)).map((name) => `workbench.tab.${name.slice(ALIVE.length)}`);
  };
  const living = async () => new Set(navigator.locks ? (await navigator.locks.query()).held.map((lock) => lock.name) : beating());
  const adopt = async () => {
    if (!stored().some((entry) => entry.tab !== TAB)) return;
    const tabs = await living();
    for (const entry of stored()) {
      if (entry.tab === TAB || tabs.has(`workbench.tab.${entry.tab}`)) continue;
      keep({ ...entry, tab: TAB, tried: true }); // it may have been sent as that tab was closed
    }
    render();
  };
  const adoptInTurn = () => (navigator.locks ? navigator.locks.request(`workbench.adopt.${user}`, adopt) : adopt());

  // --- who is logged in: never send what one person decided under another's name

  const isOther = () => {
    try { return (localStorage.getItem("workbench.user") || user) !== user; } catch { return false; }
  };
  try { localStorage.setItem("workbench.user", user); } catch { /* then the server alone tells */ }

  // --- sending: one request at a time, with all that waits for one queue

  // What another tab took over and sent, or its reviewer took back there, is no longer ours to send.
  const dropGone = () => {
    try {
      for (const entry of entries.values()) if (!entry.fleeting && localStorage.getItem(PREFIX + entry.answer.action) === null) entries.delete(entry.answer.action);
    } catch { /* nothing is stored here */ }
  };
  const nextBatch = () => {
    dropGone();
    const waiting = unsent();
    const tried = waiting.filter((entry) => entry.tried); // these first and alone: what was never sent can be taken back
    const from = tried.length ? tried : waiting;
    const end = from.findIndex((entry) => entry.url !== from[0].url);
    return from.slice(0, Math.min(end < 0 ? from.length : end, oneByOne ? 1 : MOST_AT_ONCE));
  };
  const makeBody = (url, batch) => {
    const wishes = card?.url === url ? card.wishes() : { holding: [], want: 0 };
    const waiting = unsent().filter((entry) => entry.url === url && !batch.includes(entry)).map((entry) => entry.answer.item);
    const holding = [...new Set([...wishes.holding, ...waiting])];
    return { user: Number(user), answers: batch.map((entry) => entry.answer), holding, want: wishes.want };
  };
  const ask = (url, body, options) => fetch(url, {
    method: "POST", body: JSON.stringify(body), ...options,
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrf(), "HX-Request": "true" },
  });
  const read = async (reply) => {
    const type = reply.headers.get("Content-Type") || "";
    const login = reply.headers.get("HX-Redirect") || (reply.redirected ? reply.url : "");
    const data = type.startsWith("application/json") ? await reply.json() : { sentence: type.startsWith("text/plain") ? await reply.text() : "" };
    if (reply.ok && data.results) return { kind: "answered", data };
    if (login && [200, 401, 404].includes(reply.status)) return { kind: "login", href: login };
    if (reply.status === 409) return { kind: "other" };
    if ([400, 404, 410, 422].includes(reply.status)) return { kind: "refused", sentence: data.sentence || `The server answered ${reply.status}.` };
    return { kind: "stuck", sentence: data.sentence || `The server answered ${reply.status}.` };
  };
  const post = async (url, body) => {
    if (isOther()) return { kind: "other" };
    try { return await read(await ask(url, body, { signal: AbortSignal.timeout(TIMEOUT_MS) })); } catch { return { kind: "silent" }; }
  };
  // A page that has been open for long may hold the token of a session that is over.
  const renewToken = async () => {
    try {
      const reply = await fetch("/settings");
      const body = new DOMParser().parseFromString(await reply.text(), "text/html").body;
      if (body.dataset.user !== user) return false;
      document.body.setAttribute("hx-headers", body.getAttribute("hx-headers"));
      return true;
    } catch { return false; }
  };

  const sendBatch = async (url, batch) => {
    for (const entry of batch) if (!entry.tried) keep(Object.assign(entry, { tried: true }));
    const began = performance.now();
    let outcome = await post(url, makeBody(url, batch));
    if (outcome.kind === "refused" && (await renewToken())) outcome = await post(url, makeBody(url, batch));
    if (outcome.kind === "answered") return settle(url, batch, outcome.data, performance.now() - began);
    if (outcome.kind === "refused" && batch.length === 1) {
      keep(Object.assign(batch[0], { returned: outcome.sentence }));
      return true;
    }
    if (outcome.kind === "refused" && batch.length > 1) {
      oneByOne = true; // find the one that is refused; it must not hold up the others
      return true;
    }
    return fail(outcome.kind === "refused" ? { ...outcome, kind: "stuck" } : outcome);
  };
  const settle = (url, batch, data, took) => {
    const results = new Map(data.results.map((result) => [result.action, result]));
    if (trouble || recovering) recovering += batch.length;
    for (const entry of batch) {
      const result = results.get(entry.answer.action);
      if (!result) continue;
      if (result.status === "saved" || card?.url === url) forget(entry);
      else keep(Object.assign(entry, { returned: result.sentence || "Somebody decided on this image meanwhile." }));
    }
    if (!batch.every((entry) => results.has(entry.answer.action))) return fail({ kind: "stuck", sentence: "The server left an answer out." });
    failures = 0;
    trouble = null;
    if (recovering && !unsent().length) {
      window.workbench.say(`The server answers again: ${plural(recovering, "decision", "decisions")} saved.`);
      recovering = 0;
    }
    if (card?.url === url) card.answered(data, batch, took);
    return true;
  };
  const fail = (found) => {
    failures += 1;
    trouble = found;
    clearTimeout(timer);
    timer = setTimeout(send, PAUSES_MS[Math.min(failures, PAUSES_MS.length) - 1]);
    card?.troubled();
    return false;
  };
  const sendAll = async () => {
    clearTimeout(timer);
    do {
      asked = false;
      const batch = nextBatch();
      const url = batch.length ? batch[0].url : card?.url;
      if (url && !(await sendBatch(url, batch))) return false;
      render();
    } while (unsent().length || asked);
    oneByOne = false;
    return true;
  };
  // Resolves to whether all is saved.
  const send = () => {
    sending ??= sendAll().finally(() => { sending = null; render(); });
    return sending;
  };

  // --- saying: one standing line, here and on every page, as long as something is kept here

  const why = { silent: "the server does not answer", login: "you are logged out", other: "somebody else is logged in here now" };
  const then = { login: "They are kept here and sent when you are back.", other: "They are kept here until you are back." };
  const tellTrouble = (number) => {
    const reason = why[trouble.kind] || trouble.sentence.replace(/\.$/, "");
    if (!number) return `${reason[0].toUpperCase()}${reason.slice(1)}. What you decide now is kept here and sent later.`;
    const words = `${plural(number, "decision is", "decisions are")} not saved yet: ${reason}. ${then[trouble.kind] || "They are kept here and sent again."}`;
    return number === 1 ? words.replace("They are kept", "It is kept") : words;
  };
  const loginAddress = () => {
    const address = new URL(trouble.href || "/login", location.href);
    address.searchParams.set("next", location.pathname + location.search);
    return address.pathname + address.search;
  };
  const make = (name, words, attributes) => {
    const element = document.createElement(name);
    element.textContent = words;
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    return element;
  };
  const makeLine = () => {
    const number = unsent().length;
    if (trouble && (number || card)) {
      const isAway = trouble.kind === "login" || trouble.kind === "other";
      const button = isAway ? make("a", "Log in", { href: loginAddress(), class: "button", "data-leave": "" }) : make("button", "Send now", { type: "button", "data-send": "" });
      return [make("p", tellTrouble(number)), button];
    }
    const [first] = returned();
    if (!first) return [];
    const many = returned().length;
    const words = `${plural(many, "decision was", "decisions were")} not saved. ${first.returned}`;
    return [make("p", words), make("a", "Look at it", { href: first.page, class: "button", "data-drop": first.answer.action }), make("button", "Leave it", { type: "button", class: "quiet", "data-drop": first.answer.action })];
  };
  const render = () => {
    const line = document.getElementById("standing");
    const parts = makeLine();
    line.hidden = !parts.length;
    if (line.textContent !== parts.map((part) => part.textContent).join("")) line.replaceChildren(...parts);
  };

  // --- what the card calls

  const add = (entry) => {
    latest = Math.max(Date.now() * 1000, latest + 1);
    keep({ ...entry, order: latest, tab: TAB, tried: false });
    if (!trouble) send();
    render();
  };
  // Whether it was taken out before anybody else saw it.
  const withdraw = (action) => {
    const entry = entries.get(action);
    if (!entry || entry.tried) return false;
    forget(entry);
    render();
    return true;
  };
  const flush = async () => {
    while (unsent().length) if (!(await send())) return false;
    return true;
  };
  const wish = () => { asked = true; return send(); };

  // --- coming and going

  const wake = () => { if (trouble || unsent().length) send(); };
  const leave = () => {
    if (isOther()) return;
    const urls = new Set([...unsent().map((entry) => entry.url), ...(card ? [card.url] : [])]);
    for (const url of urls) {
      const answers = unsent().filter((entry) => entry.url === url).slice(0, MOST_AT_ONCE).map((entry) => entry.answer);
      const release = card?.url === url ? card.wishes().holding : [];
      if (answers.length || release.length) ask(url, { user: Number(user), answers, holding: [], want: 0, release }, { keepalive: true }).catch(() => {});
    }
  };
  window.addEventListener("online", wake);
  window.addEventListener("focus", wake);
  window.addEventListener("pagehide", leave);
  window.addEventListener("pagehide", () => { try { localStorage.removeItem(ALIVE + TAB); } catch { /* it was never there */ } });
  window.addEventListener("storage", (event) => {
    if (event.key !== "workbench.user") return;
    if (isOther()) fail({ kind: "other" });
    else wake();
    render();
  });
  window.addEventListener("beforeunload", (event) => {
    const atRisk = unsent().some((entry) => entry.fleeting) || (trouble && unsent().length);
    if (atRisk && !leaving) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) wake(); });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-send]")) { trouble ??= { kind: "silent" }; send(); }
    if (event.target.closest("[data-leave]")) leaving = true;
    const dropped = event.target.closest("[data-drop]");
    if (dropped) { forget(entries.get(dropped.dataset.drop)); render(); }
  });

  if (!navigator.locks) {
    beat();
    setInterval(beat, BEAT_MS);
  }
  navigator.locks?.request(`workbench.tab.${TAB}`, () => new Promise(() => {}));
  const ready = adoptInTurn().then(() => { if (unsent().length && !card) send(); });
  setInterval(() => adoptInTurn().then(() => { if (unsent().length) send(); }), LOOK_MS);
  window.workbench.outbox = {
    add, withdraw, flush, wish, unsent, newId, csrf, ready,
    isInTrouble: () => trouble !== null,
    connect: (page) => { card = page; },
  };
})();
