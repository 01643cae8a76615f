// Vehicles as one WebGL layer of MapLibre: one buffer for each tick, shapes drawn in the fragment shader.
// The library's own GeoJSON source took 329 ms for 20,000 points, this takes a few (design/experience.md section 8).

import { NO_HEADING, SILENT, STATE_BITS } from "./positions.js";
import { STALE_AFTER_S } from "./states.js";

/** Positions are uploaded relative to here (Mercator, 0 to 1): what is left keeps centimetres in 32 bits. */
const ORIGIN = { x: 0.5228, y: 0.3525 };
const HOLLOW = 64;
const STRIDE_BYTES = 12;

const VERTEX = `#version 300 es
uniform mat4 u_matrix;
uniform float u_size;
in vec2 a_position;
in vec4 a_look;
flat out int v_state;
flat out float v_hollow;
flat out vec2 v_heading;
void main() {
  int code = int(a_look.x * 255.0 + 0.5);
  v_state = code & 15;
  v_hollow = (code & 64) != 0 ? 1.0 : 0.0;
  float turn = a_look.y * 255.0 / 256.0 * 6.2831853;
  v_heading = a_look.z > 0.5 ? vec2(sin(turn), -cos(turn)) : vec2(0.0);
  gl_Position = u_matrix * vec4(a_position, 0.0, 1.0);
  gl_PointSize = u_size * (v_state >= 4 ? 1.25 : 1.0) * (v_state == 0 ? 0.8 : 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform vec3 u_colours[8];
uniform vec3 u_edge;
uniform float u_size;
flat in int v_state;
flat in float v_hollow;
flat in vec2 v_heading;
out vec4 colour;
float octagon(vec2 p, float r) { p = abs(p); return max(max(p.x, p.y), (p.x + p.y) * 0.7071) - r; }
float triangle(vec2 p, float r) { p.y += r * 0.1; return max(abs(p.x) * 0.9 - p.y * 0.5 - r * 0.5, p.y - r * 0.75); }
float box(vec2 p, vec2 half_size) { vec2 q = abs(p) - half_size; return max(q.x, q.y); }
float outline(vec2 p) {
  if (v_state == 0) return length(p) - 0.5;
  if (v_state == 1) return (abs(p.x) + abs(p.y)) * 0.7071 - 0.42;
  if (v_state == 2) return triangle(p, 0.68);
  if (v_state == 3) return min(triangle(p + vec2(0.0, 0.14), 0.56), box(p - vec2(0.0, 0.5), vec2(0.52, 0.1)));
  if (v_state == 4) return box(p, vec2(0.46));
  return octagon(p, 0.54);
}
void main() {
  vec2 p = gl_PointCoord * 2.0 - 1.0;
  float pixel = 2.0 / u_size;
  float d = outline(p);
  float across = abs(dot(p, vec2(v_heading.y, -v_heading.x)));
  float along = dot(p, v_heading);
  float nose = dot(v_heading, v_heading) > 0.5 ? max(across * 1.3 + along - 0.98, 0.5 - along) : 1.0;
  float body = min(d, nose);
  float rim = 1.0 - smoothstep(0.0, pixel, body - pixel * 1.2);
  float fill = 1.0 - smoothstep(-pixel * 0.5, pixel * 0.5, body);
  if (rim <= 0.0) discard;
  vec3 inside = u_colours[v_state];
  if (v_hollow > 0.5 && d < -pixel * 1.8) inside = u_edge;
  if (v_state == 6) { float ring = abs(d + 0.2); if (ring < 0.07) inside = u_edge; }
  colour = vec4(mix(u_edge, inside, fill), 1.0) * rim;
}`;

/** Mercator x and y of degrees. */
export const mercatorX = (longitude) => (180 + longitude) / 360;
export const mercatorY = (latitude) => (180 - 180 / Math.PI * Math.log(Math.tan(Math.PI / 4 + latitude * Math.PI / 360))) / 360;

/** A custom layer for `map.addLayer`; `show(positions)` at each tick. */
export class VehicleLayer {
  id = "vehicles";
  type = /** @type {const} */ ("custom");
  renderingMode = /** @type {const} */ ("2d");
  #buffer = new ArrayBuffer(0);
  #count = 0;
  #isNew = false;
  #colours = new Float32Array(24);
  #edge = new Float32Array(3);

  /** @param {number[][]} colours of the states, red green blue 0 to 1 @param {number[]} edge */
  dress(colours, edge) {
    this.#colours.set(colours.flat());
    this.#edge.set(edge);
    this.map?.triggerRepaint();
  }

  onAdd(map, gl) {
    this.map = map;
    this.program = link(gl);
    this.places = gl.getUniformLocation(this.program, "u_matrix");
    this.vertices = gl.createBuffer();
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.vertices);
    const position = gl.getAttribLocation(this.program, "a_position");
    const look = gl.getAttribLocation(this.program, "a_look");
    gl.enableVertexAttribArray(position);
    gl.vertexAttribPointer(position, 2, gl.FLOAT, false, STRIDE_BYTES, 0);
    gl.enableVertexAttribArray(look);
    gl.vertexAttribPointer(look, 4, gl.UNSIGNED_BYTE, true, STRIDE_BYTES, 8);
    gl.bindVertexArray(null);
    this.#isNew = true;
  }

  /** @param {import("./positions.js").Positions|null} positions */
  show(positions) {
    this.#count = positions?.count ?? 0;
    if (this.#buffer.byteLength < this.#count * STRIDE_BYTES) this.#buffer = new ArrayBuffer(this.#count * STRIDE_BYTES * 1.25 & ~3);
    if (positions) this.#fill(positions);
    this.#isNew = true;
    this.map?.triggerRepaint();
  }

  /** The severe last, so that they lie on top: one pass to count, one to place. */
  #fill(positions) {
    const floats = new Float32Array(this.#buffer);
    const bytes = new Uint8Array(this.#buffer);
    const next = new Int32Array(17);
    for (let index = 0; index < this.#count; index += 1) next[(positions.state(index) & STATE_BITS) + 1] += 1;
    for (let state = 1; state < 17; state += 1) next[state] += next[state - 1];
    for (let index = 0; index < this.#count; index += 1) {
      const code = positions.state(index);
      const at = next[code & STATE_BITS]++;
      floats[at * 3] = mercatorX(positions.longitude(index)) - ORIGIN.x;
      floats[at * 3 + 1] = mercatorY(positions.latitude(index)) - ORIGIN.y;
      const isHollow = code & SILENT || positions.ageS(index) > STALE_AFTER_S;
      bytes[at * 12 + 8] = (code & STATE_BITS) | (isHollow ? HOLLOW : 0);
      bytes[at * 12 + 9] = positions.bytes[index * 16 + 12];
      bytes[at * 12 + 10] = code & NO_HEADING ? 0 : 255;
    }
  }

  render(gl, { defaultProjectionData }) {
    if (!this.#count || !this.program) return;
    const start = performance.now();
    const isTick = this.#isNew;
    gl.useProgram(this.program);
    gl.bindVertexArray(this.array);
    if (this.#isNew) {
      this.#isNew = false;
      gl.bindBuffer(gl.ARRAY_BUFFER, this.vertices);
      gl.bufferData(gl.ARRAY_BUFFER, new Uint8Array(this.#buffer, 0, this.#count * STRIDE_BYTES), gl.DYNAMIC_DRAW);
    }
    gl.uniformMatrix4fv(this.places, false, moved(defaultProjectionData.mainMatrix));
    gl.uniform1f(gl.getUniformLocation(this.program, "u_size"), sizeOf(this.map.getZoom()) * devicePixelRatio);
    gl.uniform3fv(gl.getUniformLocation(this.program, "u_colours"), this.#colours);
    gl.uniform3fv(gl.getUniformLocation(this.program, "u_edge"), this.#edge);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArrays(gl.POINTS, 0, this.#count);
    gl.bindVertexArray(null);
    if (!isTick) return;
    performance.clearMeasures("tick-draw");
    performance.measure("tick-draw", { start });
  }
}

/** Small where the whole country is seen, large where single vehicles are, CSS pixels. */
export const sizeOf = (zoom) => Math.min(26, Math.max(13, 13 + (zoom - 8) * 2.2));

/** The matrix for positions relative to the origin, computed in 64 bits. */
function moved(matrix) {
  const m = Float64Array.from(matrix);
  for (let row = 0; row < 4; row += 1) m[12 + row] += m[row] * ORIGIN.x + m[4 + row] * ORIGIN.y;
  return Float32Array.from(m);
}

function link(gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}
