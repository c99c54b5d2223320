// Choosing images in the grid: x on the focused one, Shift and a click for a range, all on the page; the count is said.
"use strict";

const selection = document.getElementById("selection");
const boxes = () => [...document.querySelectorAll(".tile input[type=checkbox]")];
let last = null;

const tell = () => {
  const everything = document.getElementById("everything");
  const chosen = boxes().filter((box) => box.checked).length;
  selection.classList.toggle("choosing", chosen > 0);
  const line = document.getElementById("chosen_count");
  if (everything && everything.checked) line.textContent = "All that match";
  else line.textContent = chosen ? `${chosen} chosen` : "Tick images, then choose.";
  for (const button of document.querySelectorAll(".bulk button[name=verdict]")) button.disabled = !chosen && !(everything && everything.checked);
  document.getElementById("choose_page").textContent = chosen === boxes().length ? "None" : "All on this page";
};

const chooseRange = (from, to, checked) => {
  const all = boxes();
  const [start, end] = [all.indexOf(from), all.indexOf(to)].sort((a, b) => a - b);
  for (const box of all.slice(start, end + 1)) box.checked = checked;
};

const toggleFocused = () => {
  const tile = document.activeElement.closest(".tile") || document.querySelector(".tile:hover");
  const box = tile && tile.querySelector("input[type=checkbox]");
  if (!box) return;
  box.checked = !box.checked;
  last = box;
  tell();
};

if (selection && document.getElementById("bulk")) {
  selection.addEventListener("click", (event) => {
    const box = event.target.closest(".tile input[type=checkbox]");
    if (!box) return;
    if (event.shiftKey && last) chooseRange(last, box, box.checked);
    last = box;
    tell();
  });
  selection.addEventListener("change", tell);
  document.getElementById("choose_page").addEventListener("click", () => {
    const all = boxes();
    const checked = !all.every((box) => box.checked);
    for (const box of all) box.checked = checked;
    tell();
  });
  document.getElementById("toggle_focused").addEventListener("click", toggleFocused);
  window.addEventListener("pageshow", tell); // the browser restores ticks when one goes back
  tell();
}
