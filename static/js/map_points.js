// The points of a map: fetched once, kept as typed arrays, found by place. They come cell by cell along a Z-shaped curve,
// so that what a view shows is a few stretches of them.
"use strict";

const MAP_UNIT = 65535;

class MapPoints {
  static async load(root) {
    const fetched = await Promise.all([root.dataset.points, root.dataset.states].map((address) => fetch(address)));
    for (const answer of fetched) if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return new MapPoints(...(await Promise.all(fetched.map((answer) => answer.arrayBuffer()))), root.dataset.modes.split(" "));
  }

  constructor(buffer, states, modes) {
    [this.count, this.side] = new Uint32Array(buffer, 0, 2);
    let at = 8;
    const take = (Kind, length) => { const taken = new Kind(buffer, at, length); at += taken.byteLength; return taken; };
    this.cells = take(Uint32Array, this.side * this.side + 1);
    this.places = take(Uint16Array, 2 * this.count);
    this.ids = take(Uint32Array, this.count);
    this.regions = take(Uint8Array, this.count);
    this.values = Object.fromEntries(modes.map((mode, number) => [mode, new Uint8Array(states, number * this.count, this.count)]));
    this.isChosen = new Uint8Array(this.count);
  }

  // [begin, end) of the points whose cells touch a box of the map (0 to 1), joined where one follows on the other.
  stretches(box) {
    const last = this.side - 1;
    const cell = (value) => Math.max(0, Math.min(last, Math.floor(value * this.side)));
    if (box.left > 1 || box.right < 0 || box.low > 1 || box.high < 0) return [];
    const [x0, x1, y0, y1] = [cell(box.left), cell(box.right), cell(box.low), cell(box.high)];
    if (x0 === 0 && y0 === 0 && x1 === last && y1 === last) return this.count ? [[0, this.count]] : [];
    const codes = [];
    for (let y = y0; y <= y1; y++) for (let x = x0; x <= x1; x++) codes.push(MapPoints.spread(x) | (MapPoints.spread(y) << 1));
    const found = [];
    for (const code of codes.sort((a, b) => a - b)) {
      const [begin, end] = [this.cells[code], this.cells[code + 1]];
      if (begin === end) continue;
      const before = found[found.length - 1];
      if (before && before[1] === begin) before[1] = end; else found.push([begin, end]);
    }
    return found;
  }

  static spread(value) {
    let bits = 0;
    for (let bit = 0; bit < 16; bit++) bits |= ((value >> bit) & 1) << (2 * bit);
    return bits;
  }

  // Calls visit(point, x, y) with places in pixels for what a view shows, hidden values left out.
  eachShown(view, mode, isHidden, visit) {
    const values = this.values[mode];
    const box = view.box();
    const across = view.scale / MAP_UNIT;
    const [left, top] = [view.width / 2 - view.x * view.scale, view.height / 2 + view.y * view.scale];
    for (const [begin, end] of this.stretches(box)) {
      for (let point = begin; point < end; point++) {
        if (isHidden[values[point]]) continue;
        const x = left + this.places[2 * point] * across;
        const y = top - this.places[2 * point + 1] * across;
        if (x >= 0 && y >= 0 && x < view.width && y < view.height) visit(point, x, y);
      }
    }
  }

  // The point nearest to a pixel, -1 if none is within reach.
  nearest(view, mode, isHidden, x, y, reach) {
    let best = -1, least = reach * reach;
    const around = view.around(x, y, reach);
    this.eachShown(around, mode, isHidden, (point, px, py) => {
      const apart = (px - reach) ** 2 + (py - reach) ** 2;
      if (apart <= least) { least = apart; best = point; }
    });
    return best;
  }

  // The points within a shape, given as a path of pixels of the view.
  within(view, mode, isHidden, path) {
    const width = Math.ceil(view.width), height = Math.ceil(view.height);
    const canvas = new OffscreenCanvas(width, height);
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.fill(path);
    const mask = pen.getImageData(0, 0, width, height).data;
    const found = [];
    this.eachShown(view, mode, isHidden, (point, x, y) => { if (mask[4 * ((y | 0) * width + (x | 0)) + 3] > 127) found.push(point); });
    return found;
  }

  choose(points, isChosen) {
    for (const point of points) this.isChosen[point] = isChosen ? 1 : 0;
  }

  chosen() {
    const found = [];
    for (let point = 0; point < this.count; point++) if (this.isChosen[point]) found.push(point);
    return found;
  }
}

// What part of the map is on the screen. x, y: the place in the middle, 0 to 1, y up; scale: pixels from 0 to 1.
class MapView {
  constructor(width, height, x = 0.5, y = 0.5, scale = 0) {
    Object.assign(this, { width, height, x, y });
    this.scale = scale || this.least();
  }
  least() { return Math.min(this.width, this.height) * 0.94; }
  zoom() { return this.scale / this.least(); }
  box() {
    const [w, h] = [this.width / 2 / this.scale, this.height / 2 / this.scale];
    return { left: this.x - w, right: this.x + w, low: this.y - h, high: this.y + h };
  }
  around(x, y, reach) {
    return new MapView(2 * reach, 2 * reach, this.x + (x - this.width / 2) / this.scale, this.y - (y - this.height / 2) / this.scale, this.scale);
  }
  toPixels(x, y) { return [(x - this.x) * this.scale + this.width / 2, (this.y - y) * this.scale + this.height / 2]; }
  move(dx, dy) {
    this.x = Math.max(0, Math.min(1, this.x - dx / this.scale));
    this.y = Math.max(0, Math.min(1, this.y + dy / this.scale));
  }
  // The place under the pixel stays there.
  zoomAt(factor, x, y) {
    const scale = Math.max(this.least() * 0.8, Math.min(this.least() * 400, this.scale * factor));
    const [dx, dy] = [x - this.width / 2, y - this.height / 2];
    this.x += dx / this.scale - dx / scale;
    this.y -= dy / this.scale - dy / scale;
    this.scale = scale;
    this.move(0, 0);
  }
}
