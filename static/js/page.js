// What every page does: messages that leave, errors that are said, keys that press buttons, the key help.
"use strict";

const say = (text, kind = "done") => {
  const box = document.getElementById("messages");
  const line = document.createElement("p");
  line.className = `message ${kind}`;
  line.textContent = text;
  box.append(line);
  leaveLater(line);
};

const leaveLater = (line) => {
  const stay = line.classList.contains("problem") ? 12000 : 5000;
  setTimeout(() => { line.classList.add("leaving"); setTimeout(() => line.remove(), 200); }, stay);
};

// A key presses the visible button or link that carries it in data-key: "1", "Enter", "Space", "Shift+Z", "ArrowLeft".
const keyName = (event) => {
  let name = event.key === " " ? "Space" : event.key;
  const isLetter = name.length === 1 && name.toLowerCase() !== name.toUpperCase(); // whatever Caps Lock makes of it
  if (isLetter) name = event.shiftKey ? `Shift+${name.toUpperCase()}` : name.toLowerCase();
  else if (name.length === 1) return name;
  else if (event.shiftKey) name = `Shift+${name}`;
  return name;
};

// A field in a dialog that has just closed keeps the focus until the next frame; nobody types there any more.
const isTyping = (element) => {
  const isField = /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName) && !/^(checkbox|radio|button|submit|range)$/.test(element.type || "");
  return (isField || element.isContentEditable) && element.checkVisibility();
};

// What the browser itself does with a key on the focused element comes first.
const isNative = (event) => {
  if (event.key === "Enter" || event.key === " ") return event.target.closest("a, button, summary, input, select, [role=button]");
  return event.key.startsWith("Arrow") && event.target.matches("input[type=radio], input[type=range]");
};

// At once: the browser alone closes a dialog a moment later, and the key after it would be lost in it.
const closeDialog = (event) => {
  const open = document.querySelector("dialog[open]");
  if (event.key !== "Escape" || event.isComposing || !open) return;
  event.preventDefault();
  open.close();
};

const pressKey = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (document.body.dataset.keys === "off" || isTyping(event.target) || isNative(event)) return;
  if (document.querySelector("dialog[open]")) return;
  const name = keyName(event);
  if (name === "?") { showHelp(); event.preventDefault(); return; }
  const target = [...document.querySelectorAll(`[data-key="${CSS.escape(name)}"]`)].find((found) => !found.disabled && found.checkVisibility());
  if (!target) return;
  event.preventDefault();
  if (event.repeat && target.dataset.repeat !== "yes") return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) target.focus(); else target.click();
};

const showHelp = () => {
  const list = document.createElement("dl");
  const seen = new Set();
  for (const found of document.querySelectorAll("[data-key]")) {
    const key = found.dataset.key;
    if (seen.has(key) || !found.checkVisibility()) continue;
    seen.add(key);
    const term = document.createElement("dt");
    const sign = document.createElement("kbd");
    sign.textContent = { Enter: "⏎", Space: "␣", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" }[key] || key;
    term.append(sign);
    const words = document.createElement("dd");
    words.textContent = found.dataset.does || found.getAttribute("aria-label") || found.title || found.textContent.replace(key, "").trim();
    list.append(term, words);
  }
  document.getElementById("help_keys").replaceChildren(seen.size ? list : "This page has no keys of its own.");
  document.getElementById("help").showModal();
};

// On a narrow screen the tabs are a strip: the page's own tab is in sight, between its neighbours.
const showOwnTab = () => {
  const own = document.querySelector(".tabs [aria-current]");
  if (own) own.parentElement.scrollLeft = own.offsetLeft - own.parentElement.offsetLeft - (own.parentElement.clientWidth - own.offsetWidth) / 2;
};

document.addEventListener("keydown", closeDialog);
document.addEventListener("keydown", pressKey);
document.addEventListener("htmx:responseError", (event) => {
  const { xhr } = event.detail;
  const plain = (xhr.getResponseHeader("Content-Type") || "").startsWith("text/plain");
  say(plain ? xhr.responseText : `The server answered ${xhr.status}.`, "problem");
});
// what a page asks for by itself, on load or every few seconds, stays silent when the server is away
document.addEventListener("htmx:sendError", (event) => {
  if (event.detail.requestConfig?.triggeringEvent) say("The server does not answer. Nothing was saved; try again.", "problem");
});
document.querySelectorAll(".message").forEach(leaveLater);
showOwnTab();
// forms that act at once when a choice changes; without JavaScript their button does it
document.addEventListener("change", (event) => { if (event.target.closest("[data-submit-on-change]")) event.target.form.requestSubmit(); });
document.addEventListener("click", (event) => {
  const copier = event.target.closest("[data-copy]");
  if (copier) navigator.clipboard?.writeText(copier.dataset.copy).then(() => say("Copied."));
  const asker = event.target.closest("[data-confirm]");
  if (asker && !window.confirm(asker.dataset.confirm)) event.preventDefault();
  if (event.target.closest("[data-help]")) showHelp();
});
window.workbench = { say, keyName };
