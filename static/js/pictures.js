// The picture of a card: whole screen pixels per image pixel, contrast stretched if wished, decoded before it is shown.
"use strict";

(() => {
  const isStretched = () => localStorage.getItem("workbench.stretch") === "on";

  // The largest whole number of screen pixels per image pixel that fits; the box itself never changes with the image.
  const fit = (node, box) => {
    const stage = node.querySelector(".stage");
    const picture = node.querySelector(".picture");
    if (!stage || !picture || !box?.clientWidth) return;
    const width = Number(stage.dataset.width);
    const height = Number(stage.dataset.height);
    const room = Math.min(box.clientWidth / width, box.clientHeight / height);
    const scale = room >= 1 && width < 300 ? Math.floor(room) : Math.min(room, 1);
    picture.width = Math.round(width * scale);
    picture.height = Math.round(height * scale);
  };

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

  const dress = async (node) => {
    const picture = node.querySelector(".picture");
    node.querySelector("[data-stretch]")?.setAttribute("aria-pressed", String(isStretched()));
    if (!picture) return;
    picture.dataset.plain ||= picture.getAttribute("src");
    if (isStretched() && !picture.dataset.stretched) {
      await picture.decode();
      picture.dataset.stretched = stretch(picture);
    }
    const wanted = isStretched() ? picture.dataset.stretched : picture.dataset.plain;
    if (picture.getAttribute("src") !== wanted) picture.src = wanted;
    await picture.decode();
  };

  // Resolves when all that the card shows is decoded, or cannot be.
  const prepare = (node) => {
    const thumbs = [...node.querySelectorAll("img:not(.picture)")];
    for (const thumb of thumbs) {
      thumb.loading = "eager";
      thumb.decoding = "sync";
      thumb.fetchPriority = "low"; // after the pictures of all cards
    }
    return Promise.allSettled([dress(node), ...thumbs.map((thumb) => thumb.decode())]);
  };

  const toggleStretch = () => localStorage.setItem("workbench.stretch", isStretched() ? "off" : "on");
  window.workbench.pictures = { fit, dress, prepare, toggleStretch };
})();
