// One group: words on the buttons follow the choice; images laid over each other in one place, by key.
"use strict";

const form = document.getElementById("verdict");

const followChoice = () => {
  const kept = form.querySelector("[name=keep_id]:checked");
  const label = form.querySelector(".classes [name=class_id]:checked");
  const others = Number(form.dataset.others);
  const rest = others === 1 ? "exclude the other" : `exclude the other ${others}`;
  const keep = form.querySelector("[data-words=keep]");
  const merge = form.querySelector("[data-words=merge]");
  if (!kept) return;
  if (merge) {
    merge.textContent = label ? `Keep image ${kept.dataset.number} as ${label.dataset.name}, ${rest}` : `Keep image ${kept.dataset.number}, ${rest}`;
    keep.textContent = kept.dataset.label ? `Keep image ${kept.dataset.number} as ${kept.dataset.label}` : `Keep image ${kept.dataset.number} without a label`;
    keep.closest("button").disabled = Boolean(label) && label.dataset.name === kept.dataset.label;  // the same as the first answer
  } else if (keep) keep.textContent = `Keep image ${kept.dataset.number}, ${rest}`;
};

// "m" goes to the label that is chosen now
const moveKey = () => {
  for (const found of form.querySelectorAll("fieldset.classes [name=class_id]")) {
    if (found.closest("details")) continue;
    if (found.checked) Object.assign(found.dataset, { key: "m", does: "Choose the label: arrows, then Enter" });
    else delete found.dataset.key;
  }
};

if (form) {
  form.addEventListener("change", () => { followChoice(); moveKey(); });
  form.addEventListener("submit", (event) => {  // a key held down must not answer twice
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => { delete form.dataset.sent; });
  followChoice();
}

// The stage: one press of b shows the next image where the last one was, so that any difference moves.
const stage = document.getElementById("stage");

const startStage = () => {
  const pictures = [...stage.querySelectorAll(".picture")];
  const state = { top: 1 % pictures.length, difference: false, mirror: false };
  const show = () => {
    pictures.forEach((picture, number) => {
      picture.classList.toggle("on", number === state.top || (state.difference && number === 0));
      picture.classList.toggle("difference", state.difference && number === state.top && state.top > 0);
      picture.classList.toggle("mirrored", state.mirror && number === state.top && state.top > 0);
    });
    for (const name of ["difference", "mirror"]) stage.querySelector(`[data-stage=${name}]`).setAttribute("aria-pressed", String(state[name]));
    const mirrored = state.mirror && state.top > 0 ? ", mirrored" : "";
    document.getElementById("stage_says").textContent = state.difference ? `1 minus ${state.top + 1}${mirrored}` : `showing ${state.top + 1} of ${pictures.length}${mirrored}`;
  };
  const act = {
    blink: () => { state.top = (state.top + 1) % pictures.length; if (state.difference && state.top === 0) state.top = 1; },
    difference: () => { state.difference = !state.difference; if (state.top === 0) state.top = 1; },
    mirror: () => { state.mirror = !state.mirror; if (state.top === 0) state.top = 1; },
  };
  stage.hidden = false;
  stage.addEventListener("click", (event) => {
    const button = event.target.closest("[data-stage]");
    if (!button) return;
    act[button.dataset.stage]();
    show();
  });
  show();
};

if (stage) startStage();
