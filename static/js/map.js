// The map on the page: moving and zooming, the lasso and the ring, the legend, what is chosen and what is done with it.
"use strict";

const REST_MS = 160;
const HOVER_PX = 14;
const MOST_PICTURES = 60;
const PICTURE_PX = 48;
const MOST_SENT = 200000;

class MapPage {
  constructor(root, points, painter) {
    const byId = (id) => document.getElementById(id);
    Object.assign(this, { root, points, painter, tool: "move", mode: root.dataset.mode, ring: 40, restAt: 0, isAsked: false, pinned: -1, pointers: new Map() });
    for (const name of ["stage", "canvas", "pictures", "names", "overlay", "reticle", "lasso_path", "point", "map_said", "choice"]) this[name] = byId(name);
    this.signs = Object.fromEntries([...document.querySelectorAll(".legend")].map((list) => [list.dataset.mode, this.readLegend(list)]));
    this.places = this.nameRegions();
    this.canvas.hidden = false;
    byId("density").setAttribute("hidden", "");
    byId("map_keys").hidden = document.querySelector(".tools_of_map").hidden = false;
    this.fit();
    this.listen();
    this.recolour();
    this.showChosen();
  }

  // --- what is drawn

  readLegend(list) {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches && document.documentElement.dataset.theme !== "light" || document.documentElement.dataset.theme === "dark";
    return [...list.querySelectorAll("li")].map((line) => {
      const box = line.querySelector("input");
      const sign = { value: Number(line.dataset.value), name: line.dataset.name, shape: line.dataset.shape, isHidden: !box.checked, rgb: MapPage.readColour(line.dataset.colour, dark) };
      for (const name of ["fill", "stroke"]) line.querySelector(".sign").setAttribute(name, MapPage.sayColour(sign.rgb));
      box.addEventListener("change", () => { sign.isHidden = !box.checked; this.recolour(); });
      return sign;
    });
  }

  // Colours too near the ground of the theme are brought away from it.
  static readColour(hex, dark) {
    const rgb = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
    const light = 0.21 * rgb[0] + 0.72 * rgb[1] + 0.07 * rgb[2];
    const share = dark ? Math.max(0, 0.4 - light) : Math.max(0, light - 0.72);
    return rgb.map((part) => part + (Number(dark) - part) * Math.min(0.6, 1.5 * share));
  }

  static sayColour(rgb) { return `rgb(${rgb.map((part) => Math.round(255 * part)).join(" ")})`; }

  isHidden() {
    const hidden = new Uint8Array(64);
    for (const sign of this.signs[this.mode]) hidden[sign.value] = sign.isHidden ? 1 : 0;
    return hidden;
  }

  recolour() {
    this.hidden = this.isHidden();
    this.painter.colour(this.points.values[this.mode], this.signs[this.mode]);
    this.ask(false);
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    [this.canvas.width, this.canvas.height] = [Math.round(width * this.ratio), Math.round(height * this.ratio)];
    const old = this.view;
    this.view = old ? new MapView(width, height, old.x, old.y, old.scale) : new MapView(width, height);
    this.overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.reticle.setAttribute("transform", `translate(${width / 2} ${height / 2})`);
    this.ask(false);
  }

  ask(isMoving = true) {
    if (isMoving) { this.restAt = performance.now() + REST_MS; this.pictures.replaceChildren(); }
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame((now) => this.draw(now));
  }

  draw(now) {
    this.isAsked = false;
    const isMoving = now < this.restAt;
    const drawn = this.painter.draw(this.view, { ratio: this.ratio, isMoving, now });
    this.placeNames();
    this.stage.dataset.drawn = drawn;
    this.stage.dataset.rests = isMoving ? "no" : "yes";
    if (isMoving) setTimeout(() => { if (performance.now() >= this.restAt) this.ask(false); }, REST_MS + 10);
    else this.showPictures();
  }

  nameRegions() {
    return [...document.querySelectorAll("[data-region]")].map((line) => {
      const name = document.createElement("span");
      name.textContent = line.dataset.region;
      this.names.append(name);
      return { name, line, box: line.querySelector("input"), x: Number(line.dataset.x), y: Number(line.dataset.y), number: Number(line.dataset.region) };
    });
  }

  placeNames() {
    for (const place of this.places) {
      const [x, y] = this.view.toPixels(place.x, place.y);
      place.name.hidden = x < 8 || y < 8 || x > this.view.width - 8 || y > this.view.height - 8;
      place.name.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
    }
  }

  // Near enough the images themselves lie on the map, as many as have room.
  showPictures() {
    const found = [];
    this.pictures.replaceChildren();
    if (this.view.zoom() < 3) return;
    const taken = new Set();
    this.points.eachShown(this.view, this.mode, this.hidden, (point, x, y) => {
      if (found.length > 4 * MOST_PICTURES) return;
      const [column, row] = [Math.round(x / (PICTURE_PX + 6)), Math.round(y / (PICTURE_PX + 6))];
      const around = [-1, 0, 1].flatMap((dx) => [-1, 0, 1].map((dy) => `${column + dx} ${row + dy}`));
      if (around.some((key) => taken.has(key))) return;
      taken.add(`${column} ${row}`);
      found.push([point, x, y]);
    });
    this.pictures.append(...found.slice(0, MOST_PICTURES).map(([point, x, y]) => {
      const image = this.picture(point, PICTURE_PX);
      const { rgb } = this.signs[this.mode][this.points.values[this.mode][point]];
      image.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
      image.style.boxShadow = `0 0 0 2px ${MapPage.sayColour(rgb)}`;
      return image;
    }));
  }

  picture(point, size) {
    const image = document.createElement("img");
    Object.assign(image, { src: `${this.root.dataset.images}${this.points.ids[point]}/thumbnail/${size}`, width: size, height: size, alt: "", className: "thumb crisp" });
    return image;
  }

  // --- moving

  listen() {
    const { stage } = this;
    stage.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...this.pixel(event)); }, { passive: false });
    stage.addEventListener("pointerdown", (event) => this.press(event));
    stage.addEventListener("pointermove", (event) => this.drag(event));
    stage.addEventListener("pointerup", (event) => this.release(event));
    stage.addEventListener("pointercancel", (event) => this.release(event, true));
    stage.addEventListener("dblclick", (event) => this.zoom(2, ...this.pixel(event)));
    stage.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.fit()).observe(stage);
    const on = (id, act) => document.getElementById(id)?.addEventListener("click", act);
    on("zoom_in", () => this.zoom(1.4));
    on("zoom_out", () => this.zoom(1 / 1.4));
    on("zoom_all", () => { this.view = new MapView(this.view.width, this.view.height); this.ask(false); });
    for (const tool of ["move", "lasso"]) on(`tool_${tool}`, () => this.take(tool));
    on("choose_none", () => this.chooseNone());
    on("point_similar", () => this.sweepSimilar());
    document.getElementById("by").addEventListener("change", (event) => this.colourBy(event.target.value));
    for (const place of this.places) place.box.addEventListener("change", () => this.chooseRegion(place));
    this.choice.addEventListener("submit", (event) => this.send(event));
    window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  pixel(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  take(tool) {
    this.tool = tool;
    this.stage.classList.toggle("draws", tool === "lasso");
    for (const each of ["move", "lasso"]) document.getElementById(`tool_${each}`).setAttribute("aria-pressed", String(each === tool));
  }

  zoom(factor, x = this.view.width / 2, y = this.view.height / 2) {
    this.view.zoomAt(factor, x, y);
    this.ask();
  }

  press(event) {
    if (event.button) return;
    const place = this.pixel(event);
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, place);
    this.travelled = 0;
    this.lasso = this.pointers.size === 1 && (this.tool === "lasso" || event.shiftKey) ? [place] : null;
  }

  drag(event) {
    const place = this.pixel(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) { if (event.pointerType === "mouse") this.hover(place); return; }
    this.travelled += Math.hypot(place[0] - before[0], place[1] - before[1]);
    if (this.lasso) { this.lasso.push(place); this.drawLasso(); }
    else if (this.pointers.size === 2) this.pinch(event.pointerId, before, place);
    else { this.view.move(place[0] - before[0], place[1] - before[1]); this.ask(); }
    this.pointers.set(event.pointerId, place);
  }

  pinch(pointerId, before, place) {
    const [, other] = [...this.pointers].find(([id]) => id !== pointerId);
    const apart = (from) => Math.max(8, Math.hypot(from[0] - other[0], from[1] - other[1]));
    this.view.move((place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
    this.zoom(apart(place) / apart(before), (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
  }

  release(event, isLost = false) {
    const place = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    if (!place || isLost) { this.lasso = null; this.drawLasso(); return; }
    if (this.travelled < 5) this.showPoint(this.points.nearest(this.view, this.mode, this.hidden, ...place, event.pointerType === "mouse" ? HOVER_PX : 24), true);
    else if (this.lasso && this.lasso.length > 2) this.chooseWithin(new Path2D(this.shape(this.lasso)), !event.altKey);
    this.lasso = null;
    this.drawLasso();
  }

  shape(line) { return `M${line.map((place) => place.map((part) => part.toFixed(1)).join(" ")).join("L")}Z`; }
  drawLasso() { this.lasso_path.setAttribute("d", this.lasso && this.lasso.length > 1 ? this.shape(this.lasso) : ""); }

  // --- by keys: the map moves under a ring that stays in the middle

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 12 : 60;
    const moves = { ArrowLeft: [far, 0], ArrowRight: [-far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] };
    if (moves[event.key]) { this.view.move(...moves[event.key]); this.ask(); this.tellRing(); }
    else if (event.key === "+" || event.key === "=") { this.zoom(1.4); this.tellRing(); }
    else if (event.key === "-") { this.zoom(1 / 1.4); this.tellRing(); }
    else if (event.key === "[" || event.key === "]") this.sizeRing(event.key === "]" ? 1.25 : 0.8);
    else if (event.key === " ") this.chooseWithin(this.ringPath(), !event.shiftKey);
    else if (event.key === "Enter") this.showPoint(this.points.nearest(this.view, this.mode, this.hidden, this.view.width / 2, this.view.height / 2, this.ring), true);
    else if (event.key === "Escape") this.chooseNone();
    else return;
    event.preventDefault();
  }

  sizeRing(factor) {
    this.ring = Math.max(8, Math.min(300, this.ring * factor));
    document.getElementById("ring").setAttribute("r", this.ring);
    this.tellRing();
  }

  ringPath() {
    const path = new Path2D();
    path.arc(this.view.width / 2, this.view.height / 2, this.ring, 0, 2 * Math.PI);
    return path;
  }

  tellRing() {
    clearTimeout(this.telling);
    this.telling = setTimeout(() => {
      const found = this.points.within(this.view, this.mode, this.hidden, this.ringPath());
      this.map_said.textContent = `In the ring: ${this.sayCount(found.length)}${found.length ? `, ${this.sayMakeUp(found)}` : ""}`;
    }, 350);
  }

  // --- one point

  hover(place) {
    if (this.pinned >= 0 || this.isLooking) return;
    this.isLooking = true;
    requestAnimationFrame(() => {
      this.isLooking = false;
      if (this.pinned < 0) this.showPoint(this.points.nearest(this.view, this.mode, this.hidden, ...place, HOVER_PX), false); // not clicked meanwhile
    });
  }

  showPoint(point, isPinned) {
    this.pinned = isPinned ? point : -1;
    this.point.hidden = point < 0;
    this.point.classList.toggle("pinned", isPinned);
    if (point < 0 || point === this.shownPoint) return;
    this.shownPoint = point;
    const id = this.points.ids[point];
    const said = (mode) => this.signs[mode][this.points.values[mode][point]].name;
    const isLabelled = this.points.values.label[point] < this.signs.label.length - 2; // the last two: no label, excluded
    document.getElementById("point_image").src = `${this.root.dataset.images}${id}/thumbnail/96`;
    document.getElementById("point_link").href = `${this.root.dataset.page}/${id}`;
    document.getElementById("point_words").textContent = `${isLabelled ? "labelled " : ""}${said("label")} · predicted ${said("predicted")} · P(wrong) ${said("p_wrong")} · ${said("split")} · ${said("status")}`;
    if (isPinned) this.map_said.textContent = `Image ${id}: ${document.getElementById("point_words").textContent}. A link opens it, after the map.`;
  }

  sweepSimilar() {
    const form = document.getElementById("similar_form");
    form.action = `${this.root.dataset.similar}${this.points.ids[this.shownPoint]}`;
    form.requestSubmit();
  }

  // --- what is chosen

  colourBy(mode) {
    this.mode = mode;
    for (const list of document.querySelectorAll(".legend")) list.hidden = list.dataset.mode !== mode;
    history.replaceState(null, "", `?by=${mode}`);
    this.recolour();
    this.showChosen();
  }

  chooseWithin(path, isAdded) {
    this.points.choose(this.points.within(this.view, this.mode, this.hidden, path), isAdded);
    this.chosenAgain();
  }

  chooseRegion(place) {
    const values = this.points.values[this.mode];
    const found = [];
    for (let point = 0; point < this.points.count; point++) if (this.points.regions[point] === place.number - 1 && !this.hidden[values[point]]) found.push(point);
    this.points.choose(found, place.box.checked);
    this.chosenAgain();
  }

  chooseNone() {
    this.points.isChosen.fill(0);
    for (const place of this.places) place.box.checked = false;
    this.chosenAgain();
  }

  chosenAgain() {
    this.recolour();
    this.showChosen();
    this.map_said.textContent = `${this.sayCount(this.points.chosen().length)} chosen.`;
  }

  showChosen() {
    const found = this.points.chosen();
    const words = document.getElementById("chosen_words");
    this.hint ??= words.textContent;
    words.textContent = found.length ? this.sayMakeUp(found) : this.hint;
    document.getElementById("chosen_count").textContent = found.length ? found.length.toLocaleString("en") : "";
    document.getElementById("choose_none").hidden = !found.length;
    for (const button of this.choice.querySelectorAll("[data-chosen]")) button.disabled = !found.length;
    const step = Math.max(1, Math.floor(found.length / 12));
    document.getElementById("chosen_some").replaceChildren(...found.filter((_, at) => at % step === 0).slice(0, 12).map((point) => {
      const line = document.createElement("li");
      line.append(this.picture(point, 48));
      return line;
    }));
  }

  sayCount(number) { return `${number.toLocaleString("en")} ${number === 1 ? "image" : "images"}`; }

  sayMakeUp(found) {
    const counts = new Uint32Array(64);
    const values = this.points.values[this.mode];
    for (const point of found) counts[values[point]] += 1;
    const most = this.signs[this.mode].filter((sign) => counts[sign.value]).sort((a, b) => counts[b.value] - counts[a.value]);
    return most.slice(0, 4).map((sign) => `${sign.name} ${Math.round((100 * counts[sign.value]) / found.length)} %`).join(", ");
  }

  send(event) {
    const found = this.points.chosen();
    if (found.length > MOST_SENT) {
      event.preventDefault();
      window.workbench.say(`These are ${this.sayCount(found.length)}; choose ${MOST_SENT.toLocaleString("en")} at most.`, "problem");
      return;
    }
    this.choice.elements.images.value = Array.from(found, (point) => this.points.ids[point]).join(",");
    this.choice.elements.where.value = `On the map: ${this.sayMakeUp(found).split(", ").slice(0, 2).join(", ")}`;
    for (const place of this.places) place.box.disabled = true; // their images are named one by one
    setTimeout(() => { for (const place of this.places) place.box.disabled = false; });
  }
}

const startMap = async () => {
  const root = document.getElementById("map");
  if (!root) return;
  try {
    const points = await MapPoints.load(root);
    window.workbench.map = new MapPage(root, points, MapDrawing.make(document.getElementById("canvas"), points));
    return;
  } catch (error) {
    window.workbench.say(`The map cannot be drawn here (${error.message}); the picture and the list of regions stand for it.`, "problem");
  }
  document.getElementById("by").addEventListener("change", (event) => event.target.form.requestSubmit());
};
startMap();
