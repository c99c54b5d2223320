// How many images are ticked, and all of a page at once.
"use strict";
(() => {
  const form = document.getElementById("selection");
  const count = document.getElementById("chosen_count");
  if (!form || !count) return;
  const boxes = [...form.querySelectorAll('input[name="image"]')];

  function show() {
    const ticked = boxes.filter((box) => box.checked).length;
    form.classList.toggle("choosing", ticked > 0);
    count.textContent = ticked ? `${ticked} ticked` : "Tick images, then choose.";
  }

  form.addEventListener("change", show);
  document.getElementById("choose_page").addEventListener("click", () => {
    const all = boxes.every((box) => box.checked);
    for (const box of boxes) box.checked = !all;
    show();
  });
  show();
})();
