// One disputed image: scales whole pixels, leaves the ambiguous form, says what was settled.
"use strict";

const fitPicture = () => {
  const shown = document.getElementById("case");
  if (shown) window.workbench.pictures.fit(shown, shown.querySelector(".stage"));
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
