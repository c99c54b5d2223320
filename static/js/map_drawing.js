// Draws the points of a map with WebGL. While it moves it draws as many as the machine manages thirty times a second,
// every k-th along the curve, which is spread evenly; when it rests, all of them.
"use strict";

const CHOSEN_BIT = 64;
const SLOWEST_FRAME_MS = 30;
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

class MapPainter {
  // None where the browser has no WebGL.
  static make(canvas, points) {
    const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
    return gl ? new MapPainter(gl, points) : null;
  }

  constructor(gl, points) {
    Object.assign(this, { gl, points, budget: 150000, drawn: 0, lastAt: 0 });
    this.program = this.link();
    this.at = Object.fromEntries(["view", "size", "alpha", "dimmed", "palette"].map((name) => [name, gl.getUniformLocation(this.program, name)]));
    this.placeBuffer = gl.createBuffer();
    this.kindBuffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.placeBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, points.places, gl.STATIC_DRAW);
    this.kinds = new Uint8Array(points.count);
    this.palette = new Float32Array(4 * 64).fill(-1);
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

  // signs: {value, rgb (0 to 1), shape, isHidden} of the way of colouring.
  colour(values, signs) {
    this.palette.fill(-1);
    for (const sign of signs) this.palette.set([...sign.rgb, sign.isHidden ? -1 : SHAPES_OF_SIGNS.indexOf(sign.shape)], 4 * sign.value);
    const { kinds, gl } = this;
    const { isChosen, count } = this.points;
    this.anyChosen = false;
    for (let point = 0; point < count; point++) {
      kinds[point] = values[point] | (isChosen[point] ? CHOSEN_BIT : 0);
      if (isChosen[point]) this.anyChosen = true;
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.kindBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, kinds, gl.DYNAMIC_DRAW);
  }

  // What a frame took while the map moves decides how many points the next one may have.
  learn(now) {
    const took = now - this.lastAt;
    this.lastAt = now;
    if (took > 500) return; // it rested
    if (took > SLOWEST_FRAME_MS) this.budget = Math.max(20000, this.budget * 0.7);
    else if (took < 20 && this.drawn > this.budget * 0.6) this.budget = Math.min(4e6, this.budget * 1.15);
  }

  draw(view, { ratio, isMoving, now }) {
    const { gl, points } = this;
    if (isMoving) this.learn(now);
    const stretches = points.stretches(view.box());
    const shown = stretches.reduce((sum, [begin, end]) => sum + end - begin, 0);
    const step = isMoving ? Math.min(MOST_SKIPPED, Math.max(1, Math.ceil(shown / this.budget))) : 1;
    gl.viewport(0, 0, gl.canvas.width, gl.canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const [sx, sy] = [2 * view.scale / view.width, 2 * view.scale / view.height];
    gl.uniform4f(this.at.view, sx, sy, -view.x * sx, -view.y * sy);
    gl.uniform1f(this.at.size, MapPainter.sizeOf(points.count, view) * ratio);
    gl.uniform1f(this.at.alpha, Math.min(1, (points.count > 200000 ? 0.55 : 0.85) * Math.sqrt(step)));
    gl.uniform1f(this.at.dimmed, this.anyChosen ? 0.3 : 1);
    gl.uniform4fv(this.at.palette, this.palette);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.placeBuffer);
    gl.vertexAttribPointer(0, 2, gl.UNSIGNED_SHORT, true, 4 * step, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.kindBuffer);
    gl.vertexAttribPointer(1, 1, gl.UNSIGNED_BYTE, false, step, 0);
    this.drawn = 0;
    for (const [begin, end] of stretches) {
      const first = Math.ceil(begin / step);
      const number = Math.ceil(end / step) - first;
      if (number > 0) gl.drawArrays(gl.POINTS, first, number);
      this.drawn += Math.max(0, number);
    }
    return this.drawn;
  }

  static sizeOf(count, view) {
    const base = count > 200000 ? 1.6 : count > 20000 ? 2.4 : count > 2000 ? 4 : 7;
    return Math.min(14, base * Math.max(1, view.zoom()) ** 0.55);
  }
}
