// One disputed image: scales whole pixels, leaves the ambiguous form, says what was settled.
"use strict";

// The largest whole number of screen pixels per image pixel that fits; the box itself never changes with the image.
const fitPicture = () => {
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

document.documentElement.classList.add("scripted");
fitPicture();
window.addEventListener("resize", fitPicture);
document.addEventListener("htmx:afterSwap", fitPicture);
document.addEventListener("htmx:historyRestore", fitPicture);
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.requestConfig.verb === "post") document.querySelectorAll(".message.done").forEach((line) => line.remove());
});
document.body.addEventListener("said", (event) => window.workbench.say(event.detail.value));
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close]")) event.target.closest("details").open = false;
  // a clicked button must not keep the keyboard: Enter would press it again on the next image
  const clicked = event.detail > 0 && event.target.closest("#case button, #case summary");
  if (clicked) setTimeout(() => clicked.blur());
});
