/**
 * Draws: a scale, and lines on it, as SVG.
 *
 * @module
 */

const SVG = "http://www.w3.org/2000/svg";
/** Room for the scale's numbers, in the units of the picture. */
const LEFT = 70;
const BOTTOM = 22;
const TOP = 10;
const RIGHT = 12;

/**
 * A line: its class, and its points. A gap is between two lists.
 *
 * @typedef {{ kind: string, pieces: [number, number][][] }} Line
 *
 * @typedef {object} Scale
 * @property {number} most where it ends
 * @property {(value: number) => string} words
 */

/** @param {string} name @param {Record<string, string | number>} attributes @param {string} [text] */
function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== undefined) element.textContent = text;
  return element;
}

/**
 * Draws lines, from the left, where `x` is `from`, to the right.
 *
 * @param {SVGSVGElement} svg
 * @param {{ x: Scale & { from?: number, ticks: number[] }, y: Scale, lines: Line[], marks?: { at: number, text: string }[] }} what `marks`: upright lines at these places, and what stands at their tops
 */
export function draw(svg, { x, y, lines, marks = [] }) {
  // As many units as it has pixels, so that letters have their size.
  const { width, height } = svg.getBoundingClientRect();
  if (width === 0) return;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const from = x.from ?? 0;
  const left = (/** @type {number} */ value) => LEFT + ((width - LEFT - RIGHT) * (value - from)) / (x.most - from || 1);
  const top = (/** @type {number} */ value) => height - BOTTOM - ((height - BOTTOM - TOP) * value) / y.most;
  const place = (/** @type {number} */ value) => value.toFixed(1);
  const parts = [];
  for (const value of [0, y.most / 2, y.most]) {
    parts.push(shape("path", { class: "grid", d: `M${LEFT} ${place(top(value))}H${width - RIGHT}` }));
    parts.push(shape("text", { class: "end", x: LEFT - 6, y: place(top(value) + 4) }, y.words(value)));
  }
  x.ticks.forEach((value, i) => {
    const isLast = i === x.ticks.length - 1 && i > 0;
    parts.push(shape("text", { class: isLast ? "end" : i === 0 ? "start" : "middle", x: place(isLast ? width - RIGHT : left(value)), y: height - 5 }, x.words(value)));
  });
  marks.forEach(({ at, text }, i) => {
    parts.push(shape("path", { class: "boot", d: `M${place(left(at))} ${TOP}V${height - BOTTOM}` }));
    // On both sides of what they mark, so that two that are near each other are readable.
    if (text) parts.push(shape("text", { class: i === 0 ? "end" : "start", x: place(left(at) + (i === 0 ? -5 : 5)), y: TOP + 12 }, text));
  });
  for (const { kind, pieces } of lines) {
    const d = pieces.map((points) => points.map(([a, b], i) => `${i === 0 ? "M" : "L"}${place(left(a))} ${place(top(b))}`).join("")).join("");
    if (d) parts.push(shape("path", { class: kind, d }));
  }
  svg.replaceChildren(...parts);
}

/** A line that goes up in steps, from zero to each number at its time, and on to the right end. @param {[number, number][]} points @param {number} end */
export function steps(points, end) {
  /** @type {[number, number][]} */
  const line = [[0, 0]];
  let before = 0;
  for (const [at, value] of points) {
    line.push([at, before], [at, value]);
    before = value;
  }
  line.push([end, before]);
  return line;
}
