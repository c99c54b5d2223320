// The list of runs: Compare takes two boxes, and says so.
"use strict";

const boxes = [...document.querySelectorAll("#compare [name=run]")];
const button = document.querySelector("[data-compare]");

const follow = () => {
  const ticked = boxes.filter((box) => box.checked).length;
  button.disabled = ticked !== 2;
  button.textContent = ticked === 2 ? "Compare the two" : "Compare: tick two";
};

if (button) {
  document.addEventListener("change", follow);
  window.addEventListener("pageshow", follow);
  follow();
}
