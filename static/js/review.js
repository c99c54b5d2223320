// The review card: holds the image on the screen, fetches the next ones, scales whole pixels, says what happened.
"use strict";

const RENEW_MS = 60000;
const card = () => document.getElementById("card");
const csrf = () => JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
const fetched = [];

// The largest whole number of screen pixels per image pixel that fits; the box itself never changes with the image.
const scalePicture = () => {
  const stage = document.querySelector(".stage");
  const picture = document.querySelector(".picture");
  if (!stage || !picture) return;
  const width = Number(stage.dataset.width);
  const height = Number(stage.dataset.height);
  const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  const scale = fit >= 1 && width < 300 ? Math.floor(fit) : Math.min(fit, 1);
  picture.width = Math.round(width * scale);
  picture.height = Math.round(height * scale);
};

const stretched = () => localStorage.getItem("workbench.stretch") === "on";

// The darkest and lightest hundredth of the pixels become black and white; what lies between is spread evenly.
const stretch = (picture) => {
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  const grey = [];
  for (let at = 0; at < pixels.data.length; at += 4) grey.push((pixels.data[at] + pixels.data[at + 1] + pixels.data[at + 2]) / 3);
  grey.sort((one, other) => one - other);
  const low = grey[Math.floor(grey.length / 100)];
  const factor = 255 / Math.max(1, grey[Math.floor((grey.length * 99) / 100)] - low);
  for (let at = 0; at < pixels.data.length; at += 1) if (at % 4 !== 3) pixels.data[at] = (pixels.data[at] - low) * factor;
  pen.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
};

const applyStretch = () => {
  const picture = document.querySelector(".picture");
  const button = document.querySelector("[data-stretch]");
  if (!picture || !button) return;
  button.setAttribute("aria-pressed", String(stretched()));
  const plain = picture.dataset.plain || picture.src;
  if (!stretched()) { if (picture.dataset.plain) picture.src = plain; return; }
  if (picture.dataset.plain) { picture.src = picture.dataset.stretched; return; }
  picture.decode().then(() => {
    if (!picture.isConnected || picture.dataset.plain) return;
    picture.dataset.plain = plain;
    picture.dataset.stretched = stretch(picture);
    if (stretched()) picture.src = picture.dataset.stretched;
  }).catch(() => {});
};

const fetchAhead = () => {
  const addresses = (card()?.dataset.upcoming || "").trim().split(/\s+/).filter(Boolean);
  for (const address of addresses) {
    const picture = new Image();
    picture.src = address;
    fetched.push(picture);
  }
  fetched.splice(0, Math.max(0, fetched.length - 12));
};

const hold = async () => {
  const address = card()?.dataset.lease;
  if (!address || document.hidden) return;
  try {
    const answer = await fetch(address, { method: "POST", headers: { "X-CSRFToken": csrf(), "HX-Request": "true" } });
    if (answer.status === 409 && address === card()?.dataset.lease) {
      window.workbench.say("Another reviewer took this image; here is the next one.");
      window.location.replace(card().dataset.queue);
    }
  } catch { /* the next answer will say that the server is gone */ }
};

const arrive = () => {
  if (!card()) return;
  applyStretch();
  scalePicture();
  fetchAhead();
  document.getElementById("spoken").textContent = card().dataset.say || "";
};

document.documentElement.classList.add("scripted");
arrive();
hold();
setInterval(hold, RENEW_MS);
window.addEventListener("resize", scalePicture);
document.addEventListener("htmx:afterSwap", arrive);
document.addEventListener("htmx:historyRestore", arrive);
// what was said about the answer before is old news
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.requestConfig.verb === "post") document.querySelectorAll(".message.done").forEach((line) => line.remove());
});
document.body.addEventListener("said", (event) => window.workbench.say(event.detail.value));

// A failed answer: the card stays, and the same answer with the same id can be sent again, so that it counts once.
let lost = null;
const keepLost = (event) => {
  if (event.detail.target?.id !== "card") return;
  lost = event.detail.requestConfig;
  const box = document.querySelector(".notice.lost");
  if (box) box.hidden = false;
};
const sendAgain = () => {
  if (!lost) return;
  const values = Object.fromEntries([...new Set(lost.formData.keys())].map((name) => [name, lost.formData.getAll(name)]));
  htmx.ajax("POST", lost.path, { source: "#card", target: "#card", swap: "outerHTML settle:0ms", values });
};
document.addEventListener("htmx:sendError", keepLost);
document.addEventListener("htmx:responseError", (event) => { if (event.detail.xhr.status >= 500) keepLost(event); });

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-again]")) sendAgain();
  if (event.target.closest("[data-close]")) event.target.closest("details").open = false;
  if (event.target.closest("[data-stretch]")) {
    localStorage.setItem("workbench.stretch", stretched() ? "off" : "on");
    applyStretch();
  }
  // A clicked button must not keep the keyboard: Enter would press it again on the next image. Not before the form is
  // sent, because htmx forgets which button was pressed when it loses the focus.
  const clicked = event.detail > 0 && event.target.closest("#card button, #card summary");
  if (clicked) setTimeout(() => clicked.blur());
});
document.addEventListener("toggle", (event) => {
  if (event.target.matches(".comment[open]")) event.target.querySelector("input[name=text]").focus();
}, true);
document.addEventListener("keydown", (event) => {
  const writing = event.target.closest(".comment");
  if (event.key === "Escape" && writing) { writing.open = false; event.preventDefault(); }
});
