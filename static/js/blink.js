// Two images of a group in one place: blinking, or their difference, brought over each other as the scan knows how.
"use strict";

(() => {
  const stage = document.getElementById("stage");
  const canvas = document.getElementById("canvas");
  const says = document.getElementById("stage_says");
  const chooser = { a: document.getElementById("stage_a"), b: document.getElementById("stage_b") };
  const speed = document.getElementById("speed");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const pictures = new Map([...document.querySelectorAll("[data-column]")].map((column) => [column.dataset.column, column.querySelector(".picture")]));
  const lines = [...stage.querySelectorAll("[data-pair]")];
  const state = { a: "1", b: "2", transform: {}, top: "b", blinking: false, difference: false, align: true, mirror: false };
  let timer = 0;

  const button = (name) => stage.querySelector(`[data-stage=${name}]`);
  // copies that are equal pixel by pixel have the same address
  const pixels = (number) => new URL(pictures.get(number).src).searchParams.get("v");
  const linesUp = (line, a, b) => pixels(line.dataset.a) === pixels(a) && pixels(line.dataset.b) === pixels(b);

  // The scan speaks of the second image of a pair against the first: shown the other way round the two change places.
  const choose = (a, b) => {
    const known = lines.find((line) => linesUp(line, a, b));
    const turned = known ? undefined : lines.find((line) => linesUp(line, b, a));
    Object.assign(state, turned ? { a: b, b: a } : { a, b });
    state.transform = JSON.parse((known || turned)?.dataset.transform || "{}");
    state.mirror = Boolean(state.transform.mirrored);
    state.top = "b";
    [chooser.a.value, chooser.b.value] = [state.a, state.b];
    for (const line of lines) line.closest("li").classList.toggle("on", line === (known || turned));
    show();
  };

  // --- drawing ------------------------------------------------------------------------------------------------------

  // Where the second image comes to lie over the first, as `ml.dedup.transforms.Transform` says it: shrunk by the zoom,
  // turned, moved in shares of the sides, and mirrored last.
  const place = (context, width, height) => {
    const { zoom = 1, aspect = 1, rotation = 0, shift = [0, 0] } = state.align ? state.transform : {};
    context.translate(width / 2, height / 2);
    if (state.mirror) context.scale(-1, 1);
    context.translate(shift[0] * width, shift[1] * height);
    context.rotate((rotation * Math.PI) / 180);
    context.scale(1 / (zoom * Math.sqrt(aspect)), Math.sqrt(aspect) / zoom);
    context.translate(-width / 2, -height / 2);
  };

  const isMoved = () => {
    const { zoom = 1, aspect = 1, rotation = 0, shift = [0, 0] } = state.transform;
    return zoom !== 1 || aspect !== 1 || rotation !== 0 || shift.some(Boolean);
  };

  const draw = (which, { width, height }) => {
    const sheet = new OffscreenCanvas(width, height);
    const context = sheet.getContext("2d", { willReadFrequently: true });
    const picture = pictures.get(state[which]);
    const moved = which === "b" && state.align && isMoved();
    const grows = width >= Number(picture.dataset.width);
    context.imageSmoothingEnabled = !grows || moved || state.difference;
    context.imageSmoothingQuality = "high";
    if (which === "b") place(context, width, height);
    context.drawImage(picture, 0, 0, width, height);
    return context;
  };

  // The least-squares gain and offset of b's grey levels, so that light alone leaves no difference.
  const matchLight = (a, b) => {
    let [count, sumA, sumB, sumAB, sumBB] = [0, 0, 0, 0, 0];
    for (let at = 0; at < a.length; at += 4) {
      if (b[at + 3] < 255 || a[at + 3] < 255) continue;
      const [one, other] = [a[at] + a[at + 1] + a[at + 2], b[at] + b[at + 1] + b[at + 2]];
      count += 1; sumA += one; sumB += other; sumAB += one * other; sumBB += other * other;
    }
    const spread = sumBB - (sumB * sumB) / count;
    if (!count || spread <= 0) return { gain: 1, offset: 0 };
    const gain = Math.min(4, Math.max(0.25, (sumAB - (sumA * sumB) / count) / spread));
    return { gain, offset: (sumA - gain * sumB) / count / 3 };
  };

  const subtract = (size) => {
    const [a, b] = ["a", "b"].map((which) => draw(which, size).getImageData(0, 0, size.width, size.height));
    const light = state.align ? matchLight(a.data, b.data) : { gain: 1, offset: 0 };
    let [total, count] = [0, 0];
    for (let at = 0; at < a.data.length; at += 4) {
      const covered = b.data[at + 3] === 255 && a.data[at + 3] === 255;
      for (let channel = at; channel < at + 3; channel += 1) {
        const value = Math.abs(a.data[channel] - Math.min(255, Math.max(0, light.gain * b.data[channel] + light.offset)));
        a.data[channel] = covered ? value : 96;  // grey where one image does not reach
        if (covered) { total += value; count += 1; }
      }
      a.data[at + 3] = 255;
    }
    canvas.getContext("2d").putImageData(a, 0, 0);
    return count ? total / count : 0;
  };

  const tell = (words) => { if (says.textContent !== words) says.textContent = words; };

  const show = () => {
    const picture = pictures.get(state.a);
    const sharp = Math.min(3, Math.max(1, Math.round(window.devicePixelRatio || 1)));
    const [width, height] = [Number(picture.dataset.width), Number(picture.dataset.height)];
    const room = Math.min(288, canvas.parentElement.clientWidth);
    const longest = Math.max(width, height);
    const scale = longest <= room ? Math.floor(room / longest) : room / longest;  // a whole number where it is enlarged
    const size = { width: Math.max(1, Math.round(width * scale)) * sharp, height: Math.max(1, Math.round(height * scale)) * sharp };
    if (!picture.complete || !picture.naturalWidth || !pictures.get(state.b).complete) return;
    if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
    canvas.style.width = `${size.width / sharp}px`;
    canvas.style.height = `${size.height / sharp}px`;
    for (const name of ["difference", "mirror", "align"]) button(name).setAttribute("aria-pressed", String(state[name]));
    button("blink").setAttribute("aria-pressed", String(state.blinking));
    const altered = `${state.mirror ? ", mirrored" : ""}${state.align && isMoved() ? ", aligned" : ""}`;
    if (state.difference) {
      const mean = subtract(size);
      tell(`${state.a} − ${state.b}${altered}: ${mean.toFixed(1)} of 255 apart`);
      return;
    }
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, size.width, size.height);
    context.drawImage(draw(state.top, size).canvas, 0, 0);
    canvas.dataset.top = state[state.top];
    tell(state.blinking ? `${state.a} and ${state.b} in turn${altered}` : `showing ${state[state.top]}${state.top === "b" ? altered : ""}`);
  };

  // --- what the keys do ---------------------------------------------------------------------------------------------

  const flip = () => { state.top = state.top === "a" ? "b" : "a"; show(); };
  const stop = () => { state.blinking = false; clearTimeout(timer); };
  const tick = () => {
    if (!state.blinking) return;
    if (!document.hidden) flip();
    timer = setTimeout(tick, 1000 / Number(speed.value));
  };

  const act = {
    blink: () => {
      state.difference = false;
      if (still.matches) { flip(); return; }  // nothing moves by itself: one press, one change; held down, it repeats
      if (state.blinking) stop(); else { state.blinking = true; tick(); }
      show();
    },
    difference: () => { stop(); state.difference = !state.difference; show(); },
    align: () => { state.align = !state.align; show(); },
    mirror: () => { state.mirror = !state.mirror; state.top = "b"; show(); },
    next: () => {
      const at = lines.findIndex((line) => line.closest("li").classList.contains("on"));
      const line = lines[(at + 1) % lines.length];
      choose(line.dataset.a, line.dataset.b);
    },
  };

  const followMotion = () => {
    stop();
    const blink = button("blink");
    blink.firstChild.textContent = still.matches ? "Flip " : "Blink ";
    if (still.matches) blink.dataset.repeat = "yes"; else delete blink.dataset.repeat;
    speed.closest("label").hidden = still.matches;
    show();
  };

  stage.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-stage]");
    const line = event.target.closest("[data-pair]");
    if (pressed) act[pressed.dataset.stage]();
    if (line) choose(line.dataset.a, line.dataset.b);
    if (event.target.closest("[data-more-pairs]")) {
      stage.classList.add("all_pairs");
      event.target.closest("[data-more-pairs]").remove();
    }
  });
  for (const which of ["a", "b"]) chooser[which].addEventListener("change", () => choose(chooser.a.value, chooser.b.value));
  speed.addEventListener("input", () => { localStorage.setItem("blink speed", speed.value); });
  still.addEventListener("change", followMotion);
  document.addEventListener("workbench:fitted", show);
  for (const picture of pictures.values()) picture.addEventListener("load", show);

  speed.value = localStorage.getItem("blink speed") || speed.value;
  stage.hidden = false;
  const other = [...pictures.keys()].find((number) => pixels(number) !== pixels("1")) || "2";
  if (lines.length) choose(lines[0].dataset.a, lines[0].dataset.b); else choose("1", other);
  followMotion();
})();
