// One group: words on the buttons follow the choice, strangers are marked, images keep a whole-number scale.
"use strict";

(() => {
  const form = document.getElementById("verdict");

  // --- scale: the same for all, a whole number where they are enlarged ------------------------------------------------

  const pictures = [...document.querySelectorAll(".column .picture")];
  const fit = () => {
    const rooms = pictures.map((picture) => {
      const ground = getComputedStyle(picture.parentElement);
      return picture.parentElement.clientWidth - parseFloat(ground.paddingLeft) - parseFloat(ground.paddingRight);
    });
    const room = Math.min(Number(document.querySelector(".images").dataset.side), ...rooms);
    const longest = Math.max(...pictures.map((picture) => Math.max(Number(picture.dataset.width), Number(picture.dataset.height))));
    if (!(room > 0)) return;
    const scale = longest <= room ? Math.floor(room / longest) : room / longest;
    for (const picture of pictures) {
      picture.width = Math.max(1, Math.round(Number(picture.dataset.width) * scale));
      picture.height = Math.max(1, Math.round(Number(picture.dataset.height) * scale));
    }
    document.dispatchEvent(new Event("workbench:fitted"));
  };
  if (pictures.length) {
    fit();
    window.addEventListener("resize", fit);
  }

  // what comes next is fetched while this is looked at
  window.addEventListener("load", () => {
    for (const next of document.querySelectorAll("[data-ahead]")) new Image().src = next.dataset.ahead;
  });

  if (!form) return;
  const kept = () => form.querySelector("[name=keep_id]:checked");
  const choices = [...form.querySelectorAll("[name=keep_id]")];
  const marks = [...form.querySelectorAll("[name=apart]")];
  const markOf = (choice) => marks.find((mark) => mark.value === choice.value);
  const isApart = (choice) => Boolean(markOf(choice)?.checked);

  // --- words ----------------------------------------------------------------------------------------------------------

  const say = (name, words) => { const found = form.querySelector(`[data-words=${name}]`); if (found) found.textContent = words; };

  const followChoice = () => {
    const chosen = kept();
    const strangers = marks.filter((mark) => mark.checked);
    for (const choice of choices) choice.closest(".column").classList.toggle("apart", isApart(choice));
    if (!chosen) return;
    const label = form.querySelector(".classes [name=class_id]:checked");
    const others = Number(form.dataset.others) - strangers.length;
    const numbers = strangers.map((mark) => mark.dataset.number).join(", ");
    const leaves = strangers.length ? `; ${numbers} ${strangers.length === 1 ? "leaves" : "leave"}` : "";
    const rest = (others === 0 ? "" : others === 1 ? ", exclude the other" : `, exclude the other ${others}`) + leaves;
    const number = chosen.dataset.number;
    if (form.querySelector("[data-words=merge]")) {
      say("merge", `Keep image ${number}${label ? ` as ${label.dataset.name}` : ""}${rest}`);
      say("keep", chosen.dataset.label ? `Keep image ${number} as ${chosen.dataset.label}` : `Keep image ${number} without a label`);
      const same = Boolean(label) && label.dataset.name === chosen.dataset.label;
      form.querySelector("[data-words=keep]").closest("button").disabled = same;  // the same as the first answer
    } else say("keep", `Keep image ${number}${rest}`);
    say("all", strangers.length ? `Keep all${leaves}` : "Keep all");
  };

  // "m" goes to the label that is chosen now
  const moveKey = () => {
    for (const found of form.querySelectorAll("fieldset.classes [name=class_id]")) {
      if (found.closest("details")) continue;
      if (found.checked) Object.assign(found.dataset, { key: "m", does: "Choose the label: arrows, then Enter" });
      else delete found.dataset.key;
    }
  };

  // --- strangers ------------------------------------------------------------------------------------------------------

  // Equal pixels are one picture, so copies are marked together. An image that stays is no stranger, and one image stays.
  const followMark = (mark) => {
    for (const copy of marks) if (copy.dataset.picture === mark.dataset.picture) copy.checked = mark.checked;
    if (!marks.some((other) => !other.checked)) {
      for (const copy of marks) if (copy.dataset.picture === mark.dataset.picture) copy.checked = false;
      window.workbench.say("One image has to stay. If all differ, say that they are different pictures.", "problem");
      return;
    }
    if (isApart(kept())) choices.find((choice) => !isApart(choice)).checked = true;
  };
  const followKept = (choice) => {
    const mark = markOf(choice);
    if (mark?.checked) for (const copy of marks) if (copy.dataset.picture === mark.dataset.picture) copy.checked = false;
  };
  const step = (by) => {
    const free = choices.filter((choice) => !isApart(choice));
    const next = free[(free.indexOf(kept()) + by + free.length) % free.length];
    next.checked = true;
    next.closest(".column").scrollIntoView({ block: "nearest", inline: "nearest" });
    followChoice();
  };

  form.addEventListener("change", (event) => {
    if (event.target.name === "apart") followMark(event.target);
    if (event.target.name === "keep_id") followKept(event.target);
    followChoice();
    moveKey();
  });
  form.addEventListener("click", (event) => {
    const stepper = event.target.closest("[data-step]");
    if (stepper) step(Number(stepper.dataset.step));
    if (event.target.closest("[data-mark]")) {
      const mark = markOf(kept());
      mark.checked = !mark.checked;
      followMark(mark);
      followChoice();
    }
  });
  // "Another label" opens at its classes, and Enter there means the label chosen, not the form's first answer
  const other = form.querySelector("details.other_class");
  other?.addEventListener("toggle", () => {
    if (other.open) (other.querySelector(":checked") || other.querySelector("[name=class_id]"))?.focus();
  });
  other?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.name !== "class_id") return;
    event.preventDefault();
    if (!event.repeat) other.querySelector("[data-entered]").click();
  });
  form.addEventListener("submit", (event) => {  // a key held down must not answer twice
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => { delete form.dataset.sent; });
  for (const found of form.querySelectorAll(".script_only")) found.hidden = false;
  const row = form.querySelector(".wishes .classes");  // on a phone it scrolls sideways
  const label = row?.querySelector(":checked")?.closest("label");
  if (label) row.scrollLeft = label.offsetLeft - row.offsetLeft - 40;
  followChoice();
})();
