// The keys of the card: press a key to take it, and hear at once when two actions would have the same one.
"use strict";

const records = () => [...document.querySelectorAll(".record")];
const wordsOf = (field) => document.querySelector(`label[for="${field.id}"]`).textContent;

const tellTwice = () => {
  const fields = records().filter((field) => field.value.trim());
  const same = (one, other) => one !== other && one.value.trim().toLowerCase() === other.value.trim().toLowerCase();
  const twice = fields.filter((field) => fields.some((other) => same(field, other)));
  for (const field of records()) field.setAttribute("aria-invalid", String(twice.includes(field)));
  const line = document.getElementById("twice");
  line.hidden = !twice.length;
  line.textContent = twice.length ? `${twice[0].value} would do two things: ${twice.filter((field) => same(field, twice[0]) || field === twice[0]).map((field) => `“${wordsOf(field)}”`).join(" and ")}. Give one another key.` : "";
};

const record = (event) => {
  const field = event.target.closest(".record");
  if (!field || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (["Tab", "Escape", "Shift", "CapsLock", "Dead", "Unidentified", "Process"].includes(event.key)) return;
  event.preventDefault();
  field.value = ["Backspace", "Delete"].includes(event.key) ? "" : window.workbench.keyName(event);
  tellTwice();
};

document.documentElement.classList.add("scripted");
document.addEventListener("keydown", record);
document.addEventListener("input", (event) => { if (event.target.matches(".record")) tellTwice(); });
