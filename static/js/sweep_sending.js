// Sweeps on their way: the next page is fetched ahead and shown at once, and what was settled is sent behind it. A sweep
// that cannot be sent is kept in this browser, under the id of its action, until the server has answered.
"use strict";

const RENEW_MS = 60000;
const ANSWER_MS = 20000;
const AGAIN_MS = [1000, 2000, 4000, 8000, 15000, 30000];
const PATIENCE_MS = 300;
const desk = document.getElementById("sweeping");
const unsent = new Map(); // action -> what to send
let ahead = null; // the page after the one on the screen
let isHungry = false; // nothing is on the screen but what was settled
let isBlocked = false; // the server refused what sending again would not mend
let failures = 0;
let timer = 0;
let working = null;

class Refused extends Error {
  constructor(sentence, login) { super(sentence); this.login = login; }
}

const article = () => document.getElementById("sweep");
const parse = (html) => {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return document.adoptNode(holder.content);
};

const post = async (address, body) => {
  const headers = {
    "X-CSRFToken": JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"],
    "Content-Type": "application/x-www-form-urlencoded",
    "HX-Request": "true",
    Accept: "application/json",
  };
  const answer = await fetch(address, { method: "POST", body: `${body}`, headers, signal: AbortSignal.timeout(ANSWER_MS) });
  const said = await answer.json().catch(() => ({ sentence: `The server answered ${answer.status}.` }));
  if (answer.status >= 500) throw new Error(said.sentence);
  if (answer.headers.has("HX-Redirect")) throw new Refused("You are logged out.", answer.headers.get("HX-Redirect"));
  return { ok: answer.ok, said };
};

// --- what waits to be sent ---------------------------------------------------------------------------------------

const storeKey = (action) => `workbench.sweep.${desk.dataset.user}.${action}`;

const keep = (entry) => {
  unsent.set(entry.action, entry);
  try { localStorage.setItem(storeKey(entry.action), JSON.stringify(entry)); } catch { /* full: it is kept in this page */ }
};

const forget = (entry) => {
  unsent.delete(entry.action);
  localStorage.removeItem(storeKey(entry.action));
};

const recallStored = () => {
  const prefix = storeKey("");
  const found = Object.keys(localStorage).filter((key) => key.startsWith(prefix)).map((key) => JSON.parse(localStorage.getItem(key)));
  for (const entry of found.sort((a, b) => a.at - b.at)) unsent.set(entry.action, entry);
};

const tellUnsent = (problem) => {
  const line = document.getElementById("unsent");
  line.hidden = !problem || !unsent.size;
  if (line.hidden) return;
  const images = [...unsent.values()].reduce((sum, entry) => sum + entry.count, 0);
  const words = line.querySelector("p");
  words.textContent = `${images === 1 ? "1 image is" : `${images} images are`} not saved yet: ${problem.message} What you settled is kept in this browser and sent again. `;
  if (!problem.login) return;
  const link = document.createElement("a");
  link.href = problem.login;
  link.textContent = "Log in";
  words.append(link);
};

const takeIn = (said) => {
  const told = parse(said.html);
  const [line, bar, missed] = [".progress_line", "progress", ".missed"].map((name) => told.querySelector(name));
  article().querySelector(".progress_line")?.replaceWith(line);
  article().querySelector("progress")?.replaceWith(bar);
  if (missed) document.getElementById("missed").append(missed);
  document.querySelectorAll("#messages .done").forEach((earlier) => earlier.remove());
  window.workbench.say(said.sentence);
};

// Settled nothing: it is shown again with its marks, and what is on the screen now comes after it.
const bringBack = (said) => {
  const refused = parse(said.html).querySelector("#sweep");
  if (!isHungry) ahead = article();
  put(refused);
};

// Settled in another grid and refused: nothing here mends it, and the sweeps of this grid must not wait for it.
const setAside = (entry, sentence) => {
  forget(entry);
  const box = document.createElement("div");
  box.className = "missed";
  const words = document.createElement("p");
  words.textContent = `${entry.count === 1 ? "1 image" : `${entry.count} images`} of another grid could not be saved: ${sentence} `;
  const link = document.createElement("a");
  link.href = entry.address;
  link.textContent = "Look at that grid";
  const close = document.createElement("button");
  close.type = "button";
  close.dataset.dismiss = "";
  close.textContent = "Leave it";
  words.append(link);
  box.append(words, close);
  document.getElementById("missed").append(box);
};

const send = async (entry) => {
  const { ok, said } = await post(entry.address, entry.body);
  if (ok) {
    forget(entry);
    takeIn(said);
  } else if (said.html && entry.address === desk.dataset.settle) {
    forget(entry);
    bringBack(said);
  } else if (entry.address !== desk.dataset.settle) setAside(entry, said.sentence);
  else throw new Refused(said.sentence);
};

// --- the page on the screen and the page after it ------------------------------------------------------------------

const itemsOf = (page) => [...(page?.querySelectorAll(".cell") || [])].map((cell) => cell.dataset.item);

// The reason for deciding on a frozen split is given once.
const carryReason = (page) => {
  const [from, to] = [article(), page].map((one) => [...one.querySelectorAll(".force input")]);
  to.forEach((input, at) => { if (from[at]) [input.checked, input.value] = [from[at].checked, from[at].value]; });
};

const put = (page) => {
  isHungry = false;
  carryReason(page);
  article().replaceWith(page);
  history.replaceState(null, "", page.dataset.place);
  window.sweep.arrive();
  document.getElementById("spoken").textContent = `${page.querySelector("h2").textContent}`;
  if (page.hasAttribute("data-ended")) page.querySelector(".primary")?.focus();
  window.scrollTo({ top: 0 });
};

const ask = async () => {
  const { cursor, classId, swept } = article().dataset;
  const form = new URLSearchParams({ class_id: classId, after: cursor });
  for (const id of swept.split(",").filter(Boolean)) form.append("swept", id);
  if (!isHungry) for (const id of itemsOf(article())) form.append("item", id);
  const { ok, said } = await post(desk.dataset.ahead, form);
  if (!ok) throw new Refused(said.sentence);
  const page = parse(said.html).querySelector("#sweep");
  for (const picture of page.querySelectorAll(".cell img")) picture.decode().catch(() => {});
  return { page, lost: said.lost };
};

// What somebody else took between the look and the lease leaves the grid.
const drop = (lost) => {
  const gone = window.sweep.cells().filter((cell) => lost.includes(Number(cell.dataset.item)));
  if (!gone.length) return;
  gone.forEach((cell) => cell.remove());
  window.workbench.say(`${gone.length === 1 ? "1 image was" : `${gone.length} images were`} on another reviewer's screen already.`);
  if (window.sweep.cells().length) window.sweep.arrive();
  else leave();
};

const lookAhead = async () => {
  if (ahead || isHungry || !window.sweep.grid()) return;
  const from = article();
  const { page, lost } = await ask();
  if (from !== article()) return; // the reviewer has gone on meanwhile
  ahead = page;
  drop(lost);
};

// The end of a class tells what is left, so it is asked for when everything is sent.
const goOn = async () => {
  if (!ahead || ahead.hasAttribute("data-ended")) ahead = (await ask()).page;
  const page = ahead;
  ahead = null;
  put(page);
};

// Nothing to show yet: the settled images stay, dimmed, until the next are there.
const leave = () => {
  isHungry = true;
  const left = article();
  left.classList.add("leaving");
  left.querySelectorAll("button").forEach((button) => { button.disabled = !button.closest("header"); });
  setTimeout(() => { if (isHungry && article() === left) document.querySelector("#settle span").textContent = "Fetching the next …"; }, PATIENCE_MS);
};

// --- everything that waits for the server --------------------------------------------------------------------------

const sendAll = async () => { while (unsent.size && !isBlocked) await send(unsent.values().next().value); };

const labour = async () => {
  await Promise.all([sendAll(), lookAhead()]);
  if (isHungry) await goOn();
  if (failures) window.workbench.say("The server answers again; everything is saved.");
  failures = 0;
  tellUnsent(null);
};

const stumble = (problem) => {
  const isFinal = problem instanceof Refused;
  isBlocked = isFinal;
  const words = isFinal ? problem : new Error(/^(TypeError|TimeoutError|AbortError)$/.test(problem.name) ? "the server does not answer." : problem.message);
  tellUnsent(words);
  if (isFinal && !unsent.size) window.workbench.say(problem.message, "problem");
  if (!isFinal) timer = setTimeout(work, AGAIN_MS[Math.min(failures++, AGAIN_MS.length - 1)]);
};

const work = async () => {
  clearTimeout(timer);
  working ||= labour().catch(stumble).finally(() => { working = null; });
  await working;
};

// Again and again until nothing is left to do or something failed: more may have come while it worked.
const workOff = async () => {
  do await work(); while (!isBlocked && !failures && (unsent.size || isHungry || (!ahead && window.sweep.grid())));
};

const tryAgain = () => { isBlocked = false; failures = 0; workOff(); };

const settle = (form) => {
  const data = new URLSearchParams(new FormData(form));
  data.delete("csrf_token");
  const count = window.sweep.cells().filter((cell) => cell.querySelector("select").value !== "later").length;
  if (count) keep({ action: data.get("action"), address: desk.dataset.settle, body: `${data}`, count, at: Date.now() });
  if (ahead && !ahead.hasAttribute("data-ended")) {
    const page = ahead;
    ahead = null;
    put(page);
  } else leave();
  workOff();
};

const hold = () => {
  const items = [...itemsOf(article()), ...itemsOf(ahead)];
  if (document.hidden || isHungry || !items.length) return;
  post(desk.dataset.lease, new URLSearchParams(items.map((id) => ["item", id]))).catch(() => {});
};

// What is undone must have arrived first.
const undo = async (form) => {
  await workOff();
  if (unsent.size) window.workbench.say("Not yet: what you settled last is not saved. Send it again first.", "problem");
  else form.submit();
};

window.sweep.arrive();
if (desk) {
  recallStored();
  workOff();
  setInterval(hold, RENEW_MS);
  window.addEventListener("online", tryAgain);
  window.addEventListener("beforeunload", (event) => { if (failures && unsent.size) event.preventDefault(); });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#send_again")) tryAgain();
    event.target.closest("[data-dismiss]")?.closest(".missed").remove();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const isWay = form.matches("#undo, #redo") && unsent.size;
    if (!form.matches("#sweep_form") && !isWay) return;
    event.preventDefault();
    if (isWay) undo(form);
    else if (!isHungry) settle(form);
  });
}
