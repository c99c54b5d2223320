// The queue form shows only the fields that its recipe reads; without JavaScript all of them are there.
"use strict";

const showFields = () => {
  const chosen = document.querySelector(".build input[name=recipe]:checked");
  for (const field of document.querySelectorAll(".build [data-for]")) {
    const fits = chosen !== null && field.dataset.for.split(" ").includes(chosen.value);
    field.hidden = !fits;
    for (const input of field.querySelectorAll("input, select")) input.disabled = !fits;
  }
};

document.addEventListener("change", (event) => { if (event.target.name === "recipe") showFields(); });
window.addEventListener("pageshow", showFields);
