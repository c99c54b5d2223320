// While many images are written the button says so; it is pressed once.
"use strict";

document.getElementById("bulk_form")?.addEventListener("submit", (event) => {
  const button = event.target.querySelector("button.primary");
  if (button.disabled) { event.preventDefault(); return; }
  setTimeout(() => { button.disabled = true; button.textContent = "Working …"; }); // after the form has been read
});
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
