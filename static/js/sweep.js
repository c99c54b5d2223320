// The sweep grid: keys move and mark, the form's quiet selects hold the marks, one Enter settles all.
"use strict";

const RENEW_MS = 60000;
const STEPS = [48, 96, 144, 192];
let anchor = 0;

const grid = () => document.querySelector(".cells");
const cells = () => [...document.querySelectorAll(".cell")];
const faces = () => [...document.querySelectorAll(".cell .face")];
const choice = (cell) => cell.querySelector("select");
const chosen = () => cells().filter((cell) => cell.classList.contains("chosen"));
const here = () => Math.max(0, cells().findIndex((cell) => cell.querySelector(".face").tabIndex === 0));

const focusOn = (index, extend) => {
  const all = cells();
  const to = Math.min(Math.max(index, 0), all.length - 1);
  if (!extend) anchor = to;
  const [from, until] = [Math.min(anchor, to), Math.max(anchor, to)];
  all.forEach((cell, at) => {
    cell.classList.toggle("chosen", at >= from && at <= until);
    cell.querySelector(".face").tabIndex = at === to ? 0 : -1;
  });
  all[to]?.querySelector(".face").focus();
};

const columns = () => {
  const tops = cells().map((cell) => cell.offsetTop);
  const next = tops.findIndex((top) => top !== tops[0]);
  return next < 1 ? tops.length : next;
};

const show = (cell) => {
  const option = choice(cell).selectedOptions[0];
  const isMarked = choice(cell).value !== "";
  cell.className = ["cell", cell.classList.contains("chosen") && "chosen", isMarked && "marked", option.dataset.class].filter(Boolean).join(" ");
  cell.querySelector(".corner").textContent = isMarked ? option.dataset.sign : "";
  const face = cell.querySelector(".face");
  face.setAttribute("aria-pressed", String(isMarked));
  face.setAttribute("aria-label", `${face.dataset.about}${isMarked ? `, marked ${option.dataset.words || option.textContent}` : ""}`);
};

const tell = () => {
  const name = `as ${grid().dataset.class}`;
  const counts = new Map([[name, 0]]);
  for (const cell of cells()) {
    const option = choice(cell).selectedOptions[0];
    const words = option.dataset.words || `as ${option.textContent}`;
    counts.set(words, (counts.get(words) || 0) + 1);
  }
  const later = counts.get("left for later") || 0;
  const parts = [...counts].filter(([, number]) => number).map(([words, number]) => `${number} ${words}`);
  document.getElementById("tally").textContent = parts.join(", ");
  const settle = document.getElementById("settle");
  const number = cells().length - later;
  settle.lastChild.textContent = ` Settle ${later ? number : `all ${number}`}`;
  settle.disabled = number === 0;
};

// The same mark again takes it away.
const mark = (value) => {
  const marked = chosen();
  const undo = value !== "" && marked.every((cell) => choice(cell).value === value);
  for (const cell of marked) {
    choice(cell).value = undo ? "" : value;
    show(cell);
  }
  tell();
};

const resize = () => {
  const slider = document.getElementById("size");
  if (slider) document.documentElement.style.setProperty("--cell", `${STEPS[slider.value - 1]}px`);
};

const hold = () => {
  const address = document.getElementById("sweep")?.dataset.lease;
  if (!address || document.hidden) return;
  const form = new FormData();
  for (const cell of cells()) form.append("item", cell.dataset.item);
  const token = JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
  fetch(address, { method: "POST", body: form, headers: { "X-CSRFToken": token, "HX-Request": "true" } }).catch(() => {});
};

const arrive = () => {
  if (!grid()) return;
  const slider = document.getElementById("size");
  slider.value = localStorage.getItem("workbench.sweep.size") || (window.innerWidth < 720 ? "2" : "3");
  resize();
  cells().forEach(show);
  if (document.getElementById("tally")) tell();
  focusOn(0, false);
};

const move = (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
  if (!(event.key in steps)) return false;
  const to = here() + steps[event.key];
  if (to >= 0 && to < cells().length) focusOn(to, event.shiftKey);
  return true;
};

document.documentElement.classList.add("scripted");
arrive();
hold();
setInterval(hold, RENEW_MS);
document.addEventListener("htmx:afterSwap", () => { arrive(); document.getElementById("spoken").textContent = document.getElementById("tally")?.textContent || ""; });
document.body.addEventListener("said", (event) => window.workbench.say(event.detail.value));
document.addEventListener("input", (event) => {
  if (event.target.id !== "size") return;
  localStorage.setItem("workbench.sweep.size", event.target.value);
  resize();
});
document.addEventListener("change", (event) => {
  const cell = event.target.closest(".cell");
  if (cell) { show(cell); tell(); }
});
document.addEventListener("click", (event) => {
  const face = event.target.closest(".cell .face");
  const marker = event.target.closest("[data-mark]");
  if (face) {
    focusOn(faces().indexOf(face), event.shiftKey);
    if (!event.shiftKey) mark("later");
  }
  if (marker) { mark(marker.dataset.mark); faces()[here()]?.focus(); }
});
// Before the page's own keys: a focused image is a button, and Enter means "settle", not "press this image".
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.body.dataset.keys === "off" || !grid()) return;
  if (document.querySelector("dialog[open]") || event.target.closest("select, input")) return;
  if (move(event)) event.preventDefault();
  if (event.key === "Enter" && event.target.closest(".face")) {
    event.preventDefault();
    if (!event.repeat) document.getElementById("settle")?.click();
  }
}, true);
