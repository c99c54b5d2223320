// The review card: one key is one answer. The next card stands ready with its image decoded and is shown in the same
// frame; the outbox sends the answer behind it. What the server says later is shown when it comes.
"use strict";

(() => {
  const { outbox, pictures, say } = window.workbench;
  const RENEW_MS = 60000;
  const PATIENCE_MS = 300; // nothing is said about waiting before
  const DEAF_MS = 700; // after a card that nobody asked for: the key that was meant for another one does nothing
  const MOST_SECONDS = 600;
  const FEWEST_CARDS = 4;
  const MOST_CARDS = 10;
  const STRIP = 10;
  const MOST_STEPS = 40; // browsers refuse a page that adds too many addresses to its history in a short time
  const buffer = []; // cards that stand ready, in their order
  const answered = new Map(); // action -> card whose answer is not confirmed yet
  const steps = [];
  let screen = null;
  let roundTrip = 200;
  let pace = 1000;
  let lastAnswer = 0;
  let deafUntil = 0;
  let busy = false;
  let withdrawn = null; // the answer that undo took back before it was sent: redo gives it again
  let seenMs = 0;
  let seenSince = 0;
  let progress = { done: 0, html: "" };

  const element = (html) => {
    const frame = document.createElement("template");
    frame.innerHTML = html.trim();
    return document.importNode(frame.content.firstElementChild, true);
  };
  const wrap = (node) => ({ node, item: Number(node.dataset.item) || null, url: node.dataset.url, isOpen: node.dataset.open === "yes", ready: pictures.prepare(node) });
  const queue = () => screen.node.dataset.queue;
  const address = () => screen.node.dataset.answers;
  const isWaiting = () => screen.node.classList.contains("waiting");
  const has = (item) => screen.item === item || buffer.some((card) => card.item === item) || outbox.unsent().some((entry) => entry.answer.item === item && entry.answer.kind === "decide");

  // --- time: only while the card can be seen

  const startClock = () => { seenMs = 0; seenSince = document.hidden ? 0 : performance.now(); };
  const readClock = () => Math.round(Math.min(MOST_SECONDS, (seenMs + (seenSince ? performance.now() - seenSince : 0)) / 1000) * 10) / 10;
  const pauseClock = () => {
    if (document.hidden && seenSince) seenMs += performance.now() - seenSince;
    seenSince = document.hidden ? 0 : performance.now();
  };

  // --- showing

  const remember = (push) => {
    if (!screen.url || location.pathname === screen.url) return;
    const now = performance.now();
    while (steps.length && now - steps[0] > 10000) steps.shift();
    if (steps.length >= MOST_STEPS) return;
    steps.push(now);
    history[push ? "pushState" : "replaceState"]({}, "", screen.url);
  };
  const speak = () => {
    const done = screen.node.querySelector(".progress_line")?.textContent.trim().split(" · ")[0] || "";
    document.getElementById("spoken").textContent = `${screen.node.dataset.say || ""} ${done}${done ? " done." : ""}`.trim();
  };
  // How far the queue is: what the server counted and what it has yet to hear.
  const showProgress = () => {
    const bar = screen.node.querySelector(".card_head progress");
    const line = screen.node.querySelector(".progress_line");
    if (!bar || !line) return;
    if (progress.html) line.replaceWith(element(progress.html));
    const done = progress.done + outbox.unsent().filter((entry) => entry.url === address() && entry.settles).length;
    screen.node.querySelector(".progress_line b").textContent = Math.min(done, bar.max).toLocaleString("en");
    bar.value = done;
  };
  // The strip goes with the reviewer from card to card; a card that the server made just now brings the newest.
  const carry = (old, next) => {
    const strip = old.querySelector(".strip");
    const place = next.querySelector(".strip");
    if (strip && place) place.replaceWith(strip);
    else if (strip) next.append(strip);
  };
  const show = (next, { push = true, fresh = false, unasked = false } = {}) => {
    const old = screen.node;
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    if (fresh) progress = { done: Number(next.node.querySelector(".card_head progress")?.value) || 0, html: "" };
    else carry(old, next.node);
    pictures.fit(next.node, old.querySelector(".stage"));
    old.replaceWith(next.node);
    screen = next;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    if (unasked) deafUntil = performance.now() + DEAF_MS;
    startClock();
    showProgress();
    speak();
    remember(push);
    requestAnimationFrame(() => pictures.fit(screen.node, screen.node.querySelector(".stage")));
  };
  const putBack = (card) => { if (card.item && card.isOpen && !has(card.item)) buffer.unshift(card); };
  const replaceScreen = (next, options) => {
    const old = screen;
    const at = buffer.findIndex((card) => card.item === next.item);
    if (at >= 0) buffer.splice(at, 1);
    show(next, options);
    putBack(old);
  };

  // --- waiting: no card stands ready

  const makeWaiting = (old) => {
    const node = old.cloneNode(true);
    node.classList.add("waiting");
    for (const name of ["item", "url", "open", "say"]) delete node.dataset[name];
    node.querySelectorAll(".picture, .saliency_map, .saliency_words, .notice, .force").forEach((part) => part.remove());
    node.querySelector(".evidence")?.replaceChildren();
    node.querySelectorAll(".more [data-key], .views [data-key]").forEach((part) => part.removeAttribute("data-key"));
    node.querySelectorAll("#answers .classes button, #answers .verdicts button, [data-do=skip]").forEach((button) => { button.disabled = true; });
    node.querySelectorAll(".main_answer .name").forEach((words) => { words.textContent = "–"; });
    node.querySelectorAll(".given, .suggested").forEach((button) => button.classList.remove("given", "suggested"));
    return { node, item: null, url: "", isOpen: false, ready: Promise.resolve() };
  };
  const tellWaiting = () => {
    if (!isWaiting()) return;
    const words = outbox.isInTrouble() ? "No more images are here until the server answers." : "The next image is on its way.";
    const line = screen.node.querySelector(".wait") || screen.node.querySelector(".stage")?.appendChild(element('<p class="wait" role="status"></p>'));
    if (line && line.textContent !== words) line.textContent = words;
  };
  const wait = () => {
    show(makeWaiting(screen.node), { push: false });
    setTimeout(tellWaiting, PATIENCE_MS);
  };
  const advance = (options) => { if (buffer.length) show(buffer.shift(), options); else wait(); };

  // --- the strip: what was decided last, at once, and confirmed when the server has it

  const chip = (cls) => {
    const found = element(`<span class="chip class-${Number(cls.id)}"><i class="swatch" aria-hidden="true"></i></span>`);
    found.append(cls.name);
    return found;
  };
  const describe = (shown) => {
    if (shown.kind === "confirm") return [chip(shown.classes[0]), element('<span class="good">✓</span>')];
    if (shown.kind === "relabel") return [...(shown.was ? [Object.assign(element('<span class="was"></span>'), { textContent: shown.was }), " → "] : []), chip(shown.classes[0])];
    if (shown.kind === "ambiguous") return [element('<span class="warn">?</span>'), ` ${shown.classes.map((cls) => cls.name).join(" or ")}`];
    return [{ exclude: "✕ excluded", restore: "restored", comment: "comment" }[shown.kind]];
  };
  const addPending = (entry) => {
    const list = screen.node.querySelector(".strip ol");
    if (!list || !entry.shown) return;
    const line = element('<li class="pending"><a><img class="thumb" width="32" height="32" alt=""><span></span></a></li>');
    line.dataset.action = entry.answer.action;
    line.querySelector("a").href = entry.page;
    line.querySelector("img").src = entry.shown.src;
    line.querySelector("img").classList.toggle("crisp", entry.shown.isSmall);
    line.querySelector("span").append(...describe(entry.shown), element('<span class="state" title="Not saved yet">…<span class="unseen"> not saved yet</span></span>'));
    list.querySelector(".none_yet")?.remove();
    list.prepend(line);
    while (list.children.length > STRIP) list.lastElementChild.remove();
  };
  const findLine = (action) => screen.node.querySelector(`.strip li[data-action="${action}"]`);
  const confirmLine = (action, html) => {
    const line = findLine(action);
    if (!line || !html) return;
    const confirmed = element(html);
    confirmed.querySelector("img")?.replaceWith(line.querySelector("img")); // the same image, there already
    line.replaceWith(confirmed);
  };

  // --- answering

  const nameOf = (id) => ({ id, name: screen.node.querySelector(`#answers .pick[value="${id}"] .name`)?.textContent || "" });
  const makeShown = (answer) => {
    const picture = screen.node.querySelector(".picture");
    const given = Number(screen.node.dataset.label) || null;
    const chosen = answer.verdict === "confirm" ? given : answer.class_id;
    const kind = answer.kind === "comment" ? "comment" : answer.verdict === "relabel" && chosen === given ? "confirm" : answer.verdict;
    const classes = answer.verdict === "ambiguous" ? answer.class_ids.map(nameOf) : chosen ? [nameOf(chosen)] : [];
    return { kind, classes, was: given ? nameOf(given).name : "", src: picture.dataset.plain || picture.src, isSmall: Number(picture.naturalWidth) < 160 };
  };
  const readForm = (form, submitter) => {
    const fields = new FormData(form, submitter);
    return {
      verdict: fields.get("verdict") || "relabel",
      class_id: Number(fields.get("class_id")) || null,
      class_ids: fields.getAll("class_ids").map(Number),
      revision: Number(form.elements.revision?.value),
      text: (fields.get("text") || "").trim(),
      forced: fields.get("force") ? (fields.get("forced") || "").trim() : "",
    };
  };
  const keepPace = () => {
    const now = performance.now();
    if (lastAnswer) pace = 0.5 * pace + 0.5 * Math.min(now - lastAnswer, 5000);
    lastAnswer = now;
  };
  // What was said about the answer before is old news.
  const hush = () => document.querySelectorAll(".message.done").forEach((line) => line.remove());
  const put = (kind, answer, { shown = null, settles = false } = {}) => {
    hush();
    withdrawn = null;
    const entry = { url: address(), page: screen.url, settles, shown, answer: { action: outbox.newId(), item: screen.item, kind, ...answer, seconds: readClock() } };
    answered.set(entry.answer.action, screen);
    return entry;
  };
  const decide = (form, submitter) => {
    const answer = readForm(form, submitter);
    if (answer.verdict === "ambiguous" && answer.class_ids.length < 2) { say("Pick two or more classes.", "problem"); return; }
    if (form.querySelector(".force") && !answer.forced) {
      say("This split is frozen: tick the box and say why, then decide.", "problem");
      form.elements.force.focus();
      return;
    }
    keepPace();
    const entry = put("decide", answer, { shown: makeShown({ kind: "decide", ...answer }), settles: screen.node.dataset.settles === "yes" });
    advance();
    addPending(entry);
    outbox.add(entry);
    showProgress();
  };
  const skip = () => {
    const entry = put("skip", { revision: null });
    advance();
    outbox.add(entry);
  };
  const comment = (form) => {
    const { text } = readForm(form);
    if (!text) return;
    const entry = put("comment", { text, revision: null }, { shown: makeShown({ kind: "comment" }) });
    form.elements.text.value = "";
    form.closest("details").open = false;
    const line = element('<li>you: <q></q> <span class="meta">just now</span></li>');
    line.dataset.action = entry.answer.action;
    line.querySelector("q").textContent = text;
    screen.node.querySelector(".log ol")?.prepend(line);
    addPending(entry);
    outbox.add(entry);
  };

  // --- what the server says

  // What an answer brings is of use a round trip later, and its image another one after that.
  const target = () => Math.min(MOST_CARDS, Math.max(FEWEST_CARDS, Math.ceil((3 * roundTrip) / pace) + 3));
  const wishes = () => {
    const held = [screen, ...buffer].filter((card) => card.item && card.isOpen).map((card) => card.item);
    const isOver = screen.node.classList.contains("ending");
    return { holding: held, want: isOver ? 0 : Math.max(0, target() + (isWaiting() ? 1 : 0) - buffer.length) };
  };
  const showReturned = (cards) => {
    if (!cards.length) return;
    const [first, ...others] = cards.map((html) => wrap(element(html)));
    buffer.unshift(...others);
    replaceScreen(first, { unasked: true });
  };
  const dropLost = (lost) => {
    for (let at = buffer.length - 1; at >= 0; at -= 1) if (lost.includes(buffer[at].item)) buffer.splice(at, 1);
    if (!screen.item || !screen.isOpen || !lost.includes(screen.item)) return;
    say("This image was taken or decided elsewhere meanwhile; here is the next one.");
    advance({ unasked: true });
  };
  const showNext = async (ending) => {
    if (!isWaiting()) return;
    if (buffer.length) {
      await Promise.race([buffer[0].ready, new Promise((resolve) => { setTimeout(resolve, 2000); })]);
      if (isWaiting() && buffer.length) show(buffer.shift());
    } else if (ending) show(wrap(element(ending)), { push: false });
    else setTimeout(() => { if (isWaiting()) outbox.wish(); }, 1000);
  };
  const hear = (data, batch, took) => {
    roundTrip = 0.7 * roundTrip + 0.3 * took;
    progress = { done: data.done, html: data.progress };
    for (const card of data.cards) if (!has(card.item)) buffer.push(wrap(element(card.html)));
    for (const result of data.results) {
      answered.delete(result.action);
      if (result.status === "saved") confirmLine(result.action, result.recent);
      else findLine(result.action)?.remove();
      // An image that left the queue brings no card back: what was answered is lost, and is told so.
      if (result.status !== "saved" && !result.card) say(result.sentence || "An answer was not saved.", "problem");
    }
    dropLost(data.lost);
    showReturned(data.results.filter((result) => result.status !== "saved" && result.card).map((result) => result.card));
    showProgress();
    showNext(data.ending);
  };

  // --- going back: undo, redo, the image before, one of the last ten, the browser's own button

  const request = async (href, options = {}) => {
    const headers = { "HX-Request": "true", "HX-Target": "card", "X-CSRFToken": outbox.csrf() };
    let reply;
    try { reply = await fetch(href, { ...options, headers }); } catch { say("The server does not answer; nothing was changed.", "problem"); return null; }
    const elsewhere = reply.headers.get("HX-Redirect");
    if (elsewhere) { location.assign(elsewhere); return null; }
    const words = await reply.text();
    if (!reply.ok && reply.status !== 409) { say((reply.headers.get("Content-Type") || "").startsWith("text/plain") ? words : `The server answered ${reply.status}.`, "problem"); return null; }
    const { said } = JSON.parse(reply.headers.get("HX-Trigger") || "{}");
    const card = wrap(element(words));
    card.url ||= reply.headers.get("HX-Push-Url") || "";
    return { card, said };
  };
  // One at a time, and only when the server knows all that was decided before.
  const goTo = async (href, { push = true, change = () => {}, ...options } = {}) => {
    if (busy) return;
    busy = true;
    hush();
    try {
      if (!(await outbox.flush())) { say("This waits until the server answers; what you decided is kept.", "problem"); return; }
      const found = await request(href, options);
      if (!found) return;
      if (found.card.node.dataset.queue !== queue()) { location.assign(found.card.url || href); return; }
      await Promise.race([found.card.ready, new Promise((resolve) => { setTimeout(resolve, PATIENCE_MS); })]);
      change(found.card);
      replaceScreen(found.card, { push, fresh: true });
      if (found.said) say(found.said);
    } finally { busy = false; }
    outbox.wish();
  };
  const wayOf = (form, submitter) => submitter?.getAttribute("formaction") || form.getAttribute("action");
  const withdraw = (entry) => {
    const card = answered.get(entry.answer.action);
    answered.delete(entry.answer.action);
    document.querySelectorAll(`li[data-action="${entry.answer.action}"]`).forEach((line) => line.remove());
    if (entry.answer.kind === "decide" && card) replaceScreen(card);
    withdrawn = entry.answer.kind === "decide" ? entry : null;
    showProgress();
    say("Took back your last answer; it had not been sent.");
  };
  const undo = (form, submitter) => {
    const last = outbox.unsent().filter((entry) => entry.url === address() && entry.answer.kind !== "skip").pop();
    if (last && answered.has(last.answer.action) && outbox.withdraw(last.answer.action)) withdraw(last);
    else goTo(wayOf(form, submitter), { method: "POST", change: (card) => { card.isUndone = true; } });
  };
  // What the undo before brought back to the screen is settled again, and no card to come back to.
  const giveAgain = (entry) => {
    withdrawn = null;
    answered.set(entry.answer.action, screen);
    advance();
    addPending(entry);
    outbox.add(entry);
    showProgress();
  };
  const redo = (form, submitter) => (withdrawn?.answer.item === screen.item && withdrawn ? giveAgain(withdrawn) : redoSaved(form, submitter));
  const redoSaved = (form, submitter) => goTo(wayOf(form, submitter), { method: "POST", change: () => { if (screen.isUndone) screen.isOpen = false; } });
  const blind = (form) => goTo(form.action, { method: "POST", push: false, change: () => buffer.splice(0) });
  const acts = { decide, skip, comment, undo, redo, blind };

  // --- what people press

  const isOurs = (href) => href && new URL(href, location.href).pathname.startsWith(`${queue()}/i`); // items and images of it
  const press = (event) => {
    const act = acts[event.submitter?.dataset.do || event.target.dataset.do];
    if (!act || !address() || !screen.node.contains(event.target)) return;
    event.preventDefault();
    act(event.target, event.submitter);
  };
  const follow = (event) => {
    const link = event.target.closest("#card a[data-card], #card .strip a");
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || !address() || !isOurs(link.href)) return;
    event.preventDefault();
    goTo(link.href);
  };
  const ignore = (event) => {
    if (performance.now() > deafUntil || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.type === "click" && !event.target.closest("#card button, #card a")) return;
    if (event.type === "keydown" && !document.querySelector(`[data-key="${CSS.escape(window.workbench.keyName(event))}"]`)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  const click = (event) => {
    if (event.target.closest("[data-close]")) event.target.closest("details").open = false;
    if (event.target.closest("[data-stretch]")) {
      pictures.toggleStretch();
      for (const card of [screen, ...buffer]) card.ready = pictures.dress(card.node).catch(() => {});
    }
    // A clicked button must not keep the keyboard: Enter would press it again on the next image.
    const clicked = event.detail > 0 && event.target.closest("#card button, #card summary");
    if (clicked) clicked.blur();
  };

  const begin = async () => {
    document.documentElement.classList.add("scripted");
    screen = wrap(document.getElementById("card"));
    pictures.fit(screen.node, screen.node.querySelector(".stage"));
    progress.done = Number(screen.node.querySelector(".card_head progress")?.value) || 0;
    startClock();
    speak();
    remember(false);
    if (!address()) return;
    outbox.connect({ url: address(), wishes, answered: hear, troubled: tellWaiting });
    await outbox.ready;
    for (const entry of outbox.unsent().filter((one) => one.url === address())) addPending(entry);
    if (outbox.unsent().some((entry) => entry.answer.item === screen.item && entry.answer.kind !== "comment")) wait();
    showProgress();
    outbox.wish();
    setInterval(() => { if (!document.hidden) outbox.wish(); }, RENEW_MS);
  };

  document.addEventListener("click", ignore, true);
  document.addEventListener("keydown", ignore, true);
  document.addEventListener("submit", press);
  document.addEventListener("click", follow);
  document.addEventListener("click", click);
  document.addEventListener("visibilitychange", pauseClock);
  window.addEventListener("popstate", () => { if (isOurs(location.pathname)) goTo(location.pathname, { push: false }); else location.reload(); });
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); }); // what it held was given back
  window.addEventListener("resize", () => pictures.fit(screen.node, screen.node.querySelector(".stage")));
  document.addEventListener("toggle", (event) => {
    if (event.target.matches(".comment[open]")) event.target.querySelector("input[name=text]").focus();
  }, true);
  document.addEventListener("keydown", (event) => {
    const writing = event.target.closest(".comment");
    if (event.key === "Escape" && writing) { writing.open = false; event.preventDefault(); }
  });
  begin();
})();
