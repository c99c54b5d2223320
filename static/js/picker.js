// Finds a class by its name: for more classes than there are digits. Takes it as its button on the card would.
"use strict";

(() => {
  const MOST = 12;
  const picker = document.getElementById("picker");
  if (!picker) return;
  const field = picker.querySelector("input");
  const list = picker.querySelector("ul");
  let at = 0;

  // While the reviewer picks several for an ambiguous image, the choice ticks a box there.
  const choices = () => [...document.querySelectorAll(document.querySelector("#card .ambiguous[open]") ? "#card .ambiguous .pick" : "#answers .pick")];
  const nameOf = (choice) => choice.querySelector(".name").textContent;
  const matching = () => {
    const wanted = field.value.trim().toLowerCase();
    const found = choices().filter((choice) => nameOf(choice).toLowerCase().includes(wanted));
    const rank = (choice) => (nameOf(choice).toLowerCase().startsWith(wanted) ? 0 : 1);
    return found.sort((one, other) => rank(one) - rank(other)).slice(0, MOST);
  };
  const makeOption = (choice, index) => {
    const option = document.createElement("li");
    option.role = "option";
    option.id = `picker_${index}`;
    option.className = [...choice.classList].find((name) => name.startsWith("class-")) || "";
    option.ariaSelected = String(index === at);
    const swatch = document.createElement("i");
    swatch.className = "swatch";
    option.append(swatch, nameOf(choice));
    return option;
  };
  const render = () => {
    const found = matching();
    at = Math.max(0, Math.min(at, found.length - 1));
    list.replaceChildren(...found.map(makeOption));
    picker.querySelector(".meta").hidden = found.length > 0;
    if (found.length) field.setAttribute("aria-activedescendant", `picker_${at}`);
    else field.removeAttribute("aria-activedescendant");
  };
  const take = (index) => {
    const choice = matching()[index];
    if (!choice) return;
    picker.close();
    choice.click();
  };
  const open = () => {
    if (!choices().length) return;
    field.value = "";
    at = 0;
    render();
    picker.showModal();
    field.focus();
  };

  document.addEventListener("click", (event) => { if (event.target.closest("[data-find]")) open(); });
  field.addEventListener("input", () => { at = 0; render(); });
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { at += step; render(); event.preventDefault(); }
    if (event.key === "Enter") { event.preventDefault(); take(at); }
  });
  list.addEventListener("click", (event) => {
    const option = event.target.closest("li");
    if (option) take([...list.children].indexOf(option));
  });
})();
