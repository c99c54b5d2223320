// The sweep grid: pointing at images and marking them. The form's quiet selects hold the marks; Enter settles the rest.
// What is sent to the server, and what comes from it, is in sweep_sending.js.
"use strict";

const [LARGEST, STEP] = [192, 12]; // pixels of an image on the screen
const LETTERS = "asdfghjklqwertyuiopcvbnmx"; // one for each of the first images, from the home row outwards
const BEYOND = "z"; // and before a letter for the others
const DRAG_PX = 6;
const PRESS_MS = 350;
let anchor = 0;
let typed = null; // the letters of a code so far; none while nobody points
let lasso = null;
let swallows = false; // the click at the end of a drag

const grid = () => document.querySelector(".cells");
const cells = () => [...document.querySelectorAll(".cell")];
const choice = (cell) => cell.querySelector("select");
const face = (cell) => cell.querySelector(".face");
const chosen = () => cells().filter((cell) => cell.classList.contains("chosen"));
const here = () => Math.max(0, cells().findIndex((cell) => face(cell).tabIndex === 0));
const isMarked = (cell) => choice(cell).value !== "";

const choose = (picked, to) => {
  cells().forEach((cell) => {
    cell.classList.toggle("chosen", picked.includes(cell));
    face(cell).tabIndex = cell === to ? 0 : -1;
  });
  if (to) face(to).focus();
};

const focusOn = (index, extend) => {
  const all = cells();
  const to = Math.min(Math.max(index, 0), all.length - 1);
  if (!extend) anchor = to;
  choose(all.slice(Math.min(anchor, to), Math.max(anchor, to) + 1), all[to]);
};

const columns = () => {
  const tops = cells().map((cell) => cell.offsetTop);
  const next = tops.findIndex((top) => top !== tops[0]);
  return next < 1 ? tops.length : next;
};

const show = (cell) => {
  const option = choice(cell).selectedOptions[0];
  const marked = isMarked(cell);
  cell.className = ["cell", cell.classList.contains("chosen") && "chosen", marked && "marked", option.dataset.class].filter(Boolean).join(" ");
  cell.querySelector(".corner").textContent = marked ? option.dataset.sign : "";
  const button = face(cell);
  button.setAttribute("aria-pressed", String(marked));
  button.setAttribute("aria-label", `${button.dataset.about}${marked ? `, marked ${option.dataset.words || option.textContent}` : ""}`);
};

const wordsOfSettling = (number, later) => {
  if (!number) return later === 1 ? "Leave it for later" : `Leave all ${later} for later`;
  if (later) return `Settle ${number}, leave ${later}`;
  return number === 1 ? "Settle it" : `Settle all ${number}`;
};

const tell = () => {
  const tally = document.getElementById("tally");
  if (!tally) return;
  const counts = new Map([[grid().dataset.class, 0]]);
  for (const cell of cells()) {
    const option = choice(cell).selectedOptions[0];
    const words = option.dataset.words || option.textContent;
    counts.set(words, (counts.get(words) || 0) + 1);
  }
  const later = counts.get("left for later") || 0;
  const [own, ...others] = [...counts];
  others.sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  tally.textContent = [own, ...others].filter(([, number]) => number).map(([words, number]) => `${number} ${words}`).join(", ");
  document.querySelector("#settle span").textContent = wordsOfSettling(cells().length - later, later);
};

const markAll = (marked, value) => {
  for (const cell of marked) {
    choice(cell).value = value;
    show(cell);
  }
  tell();
};

// The same mark again takes it away.
const mark = (value) => {
  const marked = chosen();
  markAll(marked, marked.every((cell) => choice(cell).value === value) ? "" : value);
};

// Pointing says "not this": the key of a class then says what it is. Pointing at what is marked takes the mark away.
const point = (picked) => {
  const fresh = picked.filter((cell) => !isMarked(cell));
  markAll(fresh.length ? fresh : picked, fresh.length ? "later" : "");
};

// --- size --------------------------------------------------------------------------------------------------------

// Small pictures keep their pixels at whole steps; between them they would come out uneven.
const resize = (px) => {
  document.documentElement.style.setProperty("--cell", `${px}px`);
  for (const picture of document.querySelectorAll(".cell .crisp")) picture.classList.toggle("uneven", px % Number(picture.dataset.side) !== 0);
};

// The largest at which all images are seen at once; four in a row where that would make them too small.
const fitting = () => {
  const bar = document.querySelector(".sweep_bar")?.offsetHeight || 0;
  const width = grid().clientWidth + 4;
  const height = window.innerHeight - grid().getBoundingClientRect().top - window.scrollY - bar - 8;
  const fits = (px) => Math.ceil(cells().length / Math.floor(width / (px + 4))) * (px + 4) <= height;
  const small = window.innerWidth < 720 ? Math.floor((width / 4 - 4) / STEP) * STEP : 96;
  for (let px = LARGEST; px > small; px -= STEP) if (fits(px)) return px;
  return small;
};

const setSize = () => {
  const slider = document.getElementById("size");
  slider.value = localStorage.getItem("workbench.sweep.px") || fitting();
  resize(slider.value);
};

// --- pointing by letters -----------------------------------------------------------------------------------------

const codeOf = (index) => (index < LETTERS.length ? LETTERS[index] : BEYOND + LETTERS[index - LETTERS.length]);

const showCodes = () => {
  const isOn = typed !== null;
  grid()?.classList.toggle("pointing", isOn);
  document.getElementById("point")?.setAttribute("aria-pressed", String(isOn));
  cells().forEach((cell, index) => {
    const code = codeOf(index);
    cell.querySelector(".code").textContent = isOn && code.startsWith(typed) ? code.slice(typed.length) : "";
  });
};

const startPointing = (isOn) => { typed = isOn ? "" : null; showCodes(); };

// By what stands on the key, or by where it is on the keyboard where that is no Latin letter.
const letterOf = (event) => {
  if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
  return /^Key[A-Z]$/.test(event.code) ? event.code[3].toLowerCase() : "";
};

const typeCode = (event) => {
  const letter = letterOf(event);
  if (!letter) { startPointing(false); return event.key === "Escape"; }
  typed += letter;
  const codes = cells().map((_, index) => codeOf(index));
  const found = codes.indexOf(typed);
  if (found >= 0) {
    startPointing(false);
    focusOn(found, false);
    point(chosen());
  } else if (codes.some((code) => code.startsWith(typed))) showCodes();
  else startPointing(true);
  return true;
};

// --- the lasso ---------------------------------------------------------------------------------------------------

const rectangle = () => {
  const box = grid().getBoundingClientRect();
  const [left, right] = [lasso.from.x, lasso.to.x].sort((a, b) => a - b);
  const [top, bottom] = [lasso.from.y, lasso.to.y].sort((a, b) => a - b);
  return { left: left - box.left, top: top - box.top, right: right - box.left, bottom: bottom - box.top };
};

const within = (area) => cells().filter((cell) => {
  const [x, y] = [cell.offsetLeft, cell.offsetTop];
  return x < area.right && x + cell.offsetWidth > area.left && y < area.bottom && y + cell.offsetHeight > area.top;
});

const drawLasso = () => {
  const area = rectangle();
  const style = lasso.box.style;
  style.setProperty("left", `${area.left}px`);
  style.setProperty("top", `${area.top}px`);
  style.setProperty("width", `${area.right - area.left}px`);
  style.setProperty("height", `${area.bottom - area.top}px`);
  const inside = within(area);
  choose(inside, inside.at(-1));
};

const throwLasso = () => {
  lasso.box = document.createElement("li");
  lasso.box.className = "lasso";
  lasso.box.setAttribute("aria-hidden", "true");
  grid().append(lasso.box);
  drawLasso();
};

const endLasso = (isDone) => {
  if (!lasso) return;
  clearTimeout(lasso.timer);
  if (lasso.box) {
    lasso.box.remove();
    if (isDone) {
      point(chosen());
      anchor = here();
      swallows = true;
      setTimeout(() => { swallows = false; });
    }
  }
  lasso = null;
};

const press = (event) => {
  if (event.button !== 0 || !event.isPrimary || event.shiftKey || !event.target.closest(".cells") || !document.getElementById("tally")) return;
  const at = { x: event.clientX, y: event.clientY };
  lasso = { from: at, to: at, isTouch: event.pointerType === "touch" };
  if (lasso.isTouch) lasso.timer = setTimeout(throwLasso, PRESS_MS);
};

const drag = (event) => {
  if (!lasso) return;
  lasso.to = { x: event.clientX, y: event.clientY };
  const isFar = Math.hypot(lasso.to.x - lasso.from.x, lasso.to.y - lasso.from.y) > DRAG_PX;
  if (lasso.box) drawLasso();
  else if (isFar && lasso.isTouch) endLasso(false); // the page is scrolled
  else if (isFar) throwLasso();
};

// --- keys --------------------------------------------------------------------------------------------------------

const rowsOnScreen = () => Math.max(1, Math.floor((window.innerHeight - 260) / (cells()[0].offsetHeight + 4)));

const targetOf = (event) => {
  const [at, wide, last] = [here(), columns(), cells().length - 1];
  const start = at - (at % wide);
  const all = event.ctrlKey || event.metaKey;
  const stay = (to) => (to >= 0 && to <= last ? to : at);
  switch (event.key) {
    case "ArrowLeft": return stay(at - 1);
    case "ArrowRight": return stay(at + 1);
    case "ArrowUp": return stay(at - wide);
    case "ArrowDown": return stay(at + wide);
    case "Home": return all ? 0 : start;
    case "End": return all ? last : Math.min(start + wide - 1, last);
    case "PageUp": return Math.max(at - wide * rowsOnScreen(), at % wide);
    case "PageDown": return Math.min(at + wide * rowsOnScreen(), last);
    default: return null;
  }
};

const arrive = () => {
  typed = null;
  if (!grid()) return;
  setSize();
  cells().forEach(show);
  tell();
  focusOn(0, false);
};

window.sweep = { arrive, cells, grid };
document.documentElement.classList.add("scripted");

document.addEventListener("input", (event) => {
  if (event.target.id !== "size") return;
  localStorage.setItem("workbench.sweep.px", event.target.value);
  resize(event.target.value);
});
document.addEventListener("change", (event) => {
  const cell = event.target.closest(".cell");
  if (cell) { show(cell); tell(); }
});
document.addEventListener("click", (event) => {
  if (swallows) { event.preventDefault(); return; }
  const pressed = event.target.closest(".cell .face");
  const marker = event.target.closest("[data-mark]");
  if (pressed && document.getElementById("tally")) {
    focusOn(cells().indexOf(pressed.parentElement), event.shiftKey);
    point(chosen());
  }
  if (marker) { mark(marker.dataset.mark); cells()[here()]?.querySelector(".face").focus(); }
  if (event.target.closest("#point")) { startPointing(typed === null); cells()[here()]?.querySelector(".face").focus(); }
});
document.addEventListener("pointerdown", press);
document.addEventListener("pointermove", drag);
document.addEventListener("pointerup", () => endLasso(true));
document.addEventListener("pointercancel", () => endLasso(false));
// while a finger draws, the page does not scroll under it, and a long press opens no menu
document.addEventListener("touchmove", (event) => { if (lasso?.box) event.preventDefault(); }, { passive: false });
document.addEventListener("contextmenu", (event) => { if (lasso?.isTouch) event.preventDefault(); });
document.addEventListener("dragstart", (event) => { if (event.target.closest(".cells")) event.preventDefault(); });
// Before the page's own keys: a focused image is a button, and Enter means "settle", not "press this image".
document.addEventListener("keydown", (event) => {
  if (event.altKey || !grid() || document.querySelector("dialog[open]") || event.target.closest("select, input")) return;
  const isPlain = !event.ctrlKey && !event.metaKey;
  if (typed !== null && isPlain && event.key !== "Shift" && typeCode(event)) {
    event.preventDefault();
    event.stopImmediatePropagation();
    return;
  }
  if (isPlain || /^(Home|End)$/.test(event.key)) {
    const to = targetOf(event);
    if (to !== null) { focusOn(to, event.shiftKey); event.preventDefault(); }
  }
  if (event.key === "Enter" && isPlain && document.body.dataset.keys !== "off" && event.target.closest(".face")) {
    event.preventDefault();
    if (!event.repeat) document.getElementById("settle")?.click();
  }
}, true);
