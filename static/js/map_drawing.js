// Draws the points of a map: with WebGL where a graphics card does it, else pixel by pixel, which is forty times as fast as
// WebGL in software. While the map moves it draws as many points as the machine manages thirty times a second, every k-th
// along the curve, which is spread evenly; when it rests, all of them.
"use strict";

const CHOSEN_BIT = 64;
const SLOWEST_FRAME_MS = 30;
const FEWEST_POINTS = 20000;
const STAMPING_MS = 14; // of a frame, when stamps are what draws
const MOST_SKIPPED = 63; // a stride of WebGL has at most 255 bytes
const SHAPES_OF_SIGNS = ["disc", "square", "triangle", "diamond", "wedge", "plus", "cross", "ring"];

const VERTEX = `#version 300 es
layout(location = 0) in vec2 place;
layout(location = 1) in float kind;
uniform vec4 view;
uniform float size, alpha, dimmed;
uniform vec4 palette[64];
flat out vec4 colour;
flat out vec2 looks;
void main() {
  int bits = int(kind);
  bool chosen = bits >= ${CHOSEN_BIT};
  vec4 sign = palette[bits & 63];
  float strength = chosen ? 1.0 : alpha * dimmed;
  colour = vec4(sign.rgb * strength, strength);
  float across = chosen ? size + 2.0 : size;
  looks = vec2(sign.a, across);
  gl_PointSize = across;
  gl_Position = sign.a < 0.0 ? vec4(2.0, 2.0, 2.0, 1.0) : vec4(place * view.xy + view.zw, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
flat in vec4 colour;
flat in vec2 looks;
out vec4 paint;
float plus(vec2 p) { vec2 q = abs(p); return min(max(q.x - 0.32, q.y - 0.95), max(q.y - 0.32, q.x - 0.95)); }
void main() {
  if (looks.y < 5.0) { paint = colour; return; }
  vec2 p = gl_PointCoord * 2.0 - 1.0;
  int shape = int(looks.x);
  float apart;
  if (shape == 0) apart = length(p) - 0.9;
  else if (shape == 1) apart = max(abs(p.x), abs(p.y)) - 0.78;
  else if (shape == 2) apart = max(p.y - 0.75, (abs(p.x) - (p.y + 1.0) * 0.57) * 0.87);
  else if (shape == 3) apart = (abs(p.x) + abs(p.y) - 1.0) * 0.71;
  else if (shape == 4) apart = max(-p.y - 0.75, (abs(p.x) - (1.0 - p.y) * 0.57) * 0.87);
  else if (shape == 5) apart = plus(p);
  else if (shape == 6) apart = plus(mat2(0.7071, 0.7071, -0.7071, 0.7071) * p);
  else apart = abs(length(p) - 0.66) - 0.24;
  paint = colour * clamp(0.5 - apart * looks.y * 0.5, 0.0, 1.0);
}`;

class MapDrawing {
  static make(canvas, points) {
    const gl = document.createElement("canvas").getContext("webgl2"); // another one: a canvas has one kind of context for good
    const more = gl?.getExtension("WEBGL_debug_renderer_info");
    const renderer = gl ? String(gl.getParameter(more ? more.UNMASKED_RENDERER_WEBGL : gl.RENDERER)) : "none";
    gl?.getExtension("WEBGL_lose_context")?.loseContext();
    return /none|swiftshader|llvmpipe|software|basic render/i.test(renderer) ? new MapStamping(canvas, points) : new MapPainting(canvas, points);
  }

  constructor(points) {
    Object.assign(this, { points, budget: 60000, drawn: 0, lastAt: 0, kinds: new Uint8Array(points.count), anyChosen: false });
  }

  // signs: {value, rgb (0 to 1), shape, isHidden} of the way of colouring.
  colour(values, signs) {
    this.signs = signs;
    const { isChosen, count } = this.points;
    this.anyChosen = false;
    for (let point = 0; point < count; point++) {
      this.kinds[point] = values[point] | (isChosen[point] ? CHOSEN_BIT : 0);
      if (isChosen[point]) this.anyChosen = true;
    }
  }

  // What a frame took while the map moves decides how many points the next one may have.
  learn(now, isMoving) {
    const took = this.lastAt ? now - this.lastAt : 0; // 0 after a rest
    this.lastAt = isMoving ? now : 0;
    if (took > SLOWEST_FRAME_MS) this.budget = Math.max(FEWEST_POINTS, this.budget * Math.max(0.3, Math.min(0.8, 25 / took)));
    else if (took && took < 20 && this.drawn > this.budget * 0.6) this.budget = Math.min(4e6, this.budget * 1.15);
  }

  draw(view, { ratio, isMoving, now }) {
    this.learn(now, isMoving);
    const stretches = this.points.stretches(view.box());
    const size = MapDrawing.sizeOf(this.points.count, view) * ratio;
    const shown = stretches.reduce((sum, [begin, end]) => sum + end - begin, 0) * Math.max(1, (size / 4) ** 2);
    const step = isMoving ? Math.min(MOST_SKIPPED, Math.max(1, Math.ceil(shown / this.budget))) : 1;
    this.drawn = this.fill(view, { stretches, step, size, ratio });
    return this.drawn;
  }

  static sizeOf(count, view) {
    const base = count > 200000 ? 1.6 : count > 20000 ? 2.4 : count > 2000 ? 4 : 7;
    return Math.min(14, base * Math.max(1, view.zoom()) ** 0.55);
  }
}

class MapPainting extends MapDrawing {
  constructor(canvas, points) {
    super(points);
    const gl = this.gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
    this.program = this.link();
    this.at = Object.fromEntries(["view", "size", "alpha", "dimmed", "palette"].map((name) => [name, gl.getUniformLocation(this.program, name)]));
    this.placeBuffer = gl.createBuffer();
    this.kindBuffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.placeBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, points.places, gl.STATIC_DRAW);
    this.palette = new Float32Array(4 * 64);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.enableVertexAttribArray(0);
    gl.enableVertexAttribArray(1);
  }

  link() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) || "WebGL cannot draw the map");
    gl.useProgram(program);
    return program;
  }

  colour(values, signs) {
    super.colour(values, signs);
    const { gl } = this;
    this.palette.fill(-1);
    for (const sign of signs) this.palette.set([...sign.rgb, sign.isHidden ? -1 : SHAPES_OF_SIGNS.indexOf(sign.shape)], 4 * sign.value);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.kindBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, this.kinds, gl.DYNAMIC_DRAW);
  }

  fill(view, { stretches, step, size }) {
    const { gl } = this;
    gl.viewport(0, 0, gl.canvas.width, gl.canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const [sx, sy] = [2 * view.scale / view.width, 2 * view.scale / view.height];
    gl.uniform4f(this.at.view, sx, sy, -view.x * sx, -view.y * sy);
    gl.uniform1f(this.at.size, size);
    gl.uniform1f(this.at.alpha, Math.min(1, (this.points.count > 200000 ? 0.55 : 0.85) * Math.sqrt(step)));
    gl.uniform1f(this.at.dimmed, this.anyChosen ? 0.3 : 1);
    gl.uniform4fv(this.at.palette, this.palette);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.placeBuffer);
    gl.vertexAttribPointer(0, 2, gl.UNSIGNED_SHORT, true, 4 * step, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.kindBuffer);
    gl.vertexAttribPointer(1, 1, gl.UNSIGNED_BYTE, false, step, 0);
    let drawn = 0;
    for (const [begin, end] of stretches) {
      const first = Math.ceil(begin / step);
      const number = Math.ceil(end / step) - first;
      if (number > 0) { gl.drawArrays(gl.POINTS, first, number); drawn += number; }
    }
    return drawn;
  }
}

// The same, pixel by pixel: each sign is a stamp, a list of pixels around the point.
class MapStamping extends MapDrawing {
  constructor(canvas, points) {
    super(points);
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    if (!this.pen) throw new Error("the browser has no canvas");
  }

  // What stamping itself took, not what else the machine does.
  learn() {}

  keep(took, stamped) {
    if (stamped < 5000) return;
    const rate = stamped / Math.max(0.1, took);
    this.budget = Math.max(FEWEST_POINTS, 0.7 * this.budget + 0.3 * rate * STAMPING_MS);
  }

  // Pixels of each kind, as distances in the picture from the point's own; none for what is hidden.
  cut(size, width) {
    const stamps = new Array(128).fill(null), colours = new Uint32Array(128);
    for (const sign of this.signs) {
      if (sign.isHidden) continue;
      const [red, green, blue] = sign.rgb.map((part) => Math.round(255 * part));
      for (const [kind, across, alpha] of [[sign.value, size, this.anyChosen ? 105 : 255], [sign.value | CHOSEN_BIT, size + 2, 255]]) {
        stamps[kind] = MapStamping.stamp(sign.shape, Math.max(1, Math.round(across)), width);
        colours[kind] = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
      }
    }
    return { stamps, colours };
  }

  static stamp(shape, size, width) {
    const found = [];
    const half = size / 2;
    for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) {
      const isIn = size < 5 || MapStamping.apart(shape, (x + 0.5 - half) / half, (y + 0.5 - half) / half) <= 0;
      if (isIn) found.push((y - (size >> 1)) * width + x - (size >> 1));
    }
    return Int32Array.from(found);
  }

  // How far a place (-1 to 1) is outside a shape, as in the shader above.
  static apart(shape, x, y) {
    const plus = (p, q) => Math.min(Math.max(Math.abs(p) - 0.32, Math.abs(q) - 0.95), Math.max(Math.abs(q) - 0.32, Math.abs(p) - 0.95));
    switch (shape) {
      case "disc": return Math.hypot(x, y) - 0.95;
      case "square": return Math.max(Math.abs(x), Math.abs(y)) - 0.8;
      case "triangle": return Math.max(y - 0.8, Math.abs(x) - (y + 1) * 0.57);
      case "diamond": return Math.abs(x) + Math.abs(y) - 1;
      case "wedge": return Math.max(-y - 0.8, Math.abs(x) - (1 - y) * 0.57);
      case "plus": return plus(x, y);
      case "cross": return plus((x + y) * 0.7071, (y - x) * 0.7071);
      default: return Math.abs(Math.hypot(x, y) - 0.66) - 0.26;
    }
  }

  fill(view, { stretches, step, size, ratio }) {
    const { canvas, pen, kinds, points: { places } } = this;
    const { width, height } = canvas;
    if (!width || !height) return 0;
    if (this.image?.width !== width || this.image.height !== height) this.image = pen.createImageData(width, height);
    const began = performance.now();
    const pixels = new Uint32Array(this.image.data.buffer).fill(0);
    const { stamps, colours } = this.cut(size, width);
    const margin = Math.ceil((size + 2) / 2) + 1;
    const across = (view.scale * ratio) / MAP_UNIT;
    const left = width / 2 - view.x * view.scale * ratio, top = height / 2 + view.y * view.scale * ratio;
    let drawn = 0;
    for (const [begin, end] of stretches) {
      for (let point = Math.ceil(begin / step) * step; point < end; point += step) {
        const stamp = stamps[kinds[point]];
        if (!stamp) continue;
        const x = (left + places[2 * point] * across) | 0, y = (top - places[2 * point + 1] * across) | 0;
        if (x < margin || y < margin || x >= width - margin || y >= height - margin) continue;
        const at = y * width + x, colour = colours[kinds[point]];
        for (let pixel = 0; pixel < stamp.length; pixel++) pixels[at + stamp[pixel]] = colour;
        drawn += 1;
      }
    }
    this.keep(performance.now() - began, drawn * Math.max(1, (size / 4) ** 2));
    pen.putImageData(this.image, 0, 0);
    return drawn;
  }
}
