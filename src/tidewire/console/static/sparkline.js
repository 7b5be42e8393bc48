/** The newest delays as a small line, drawn by hand: all panels share one logarithmic scale. */

const FASTEST = 1; // ms, at the bottom
const SLOWEST = 10_000; // ms, at the top
/** How many delays fit. */
export const POINTS = 60;
const WIDTH = 240; // units of the drawing's viewBox
const HEIGHT = 48;

/** How high a delay stands: 0 at the bottom, 1 at the top. */
export function level(ms) {
  const clamped = Math.min(SLOWEST, Math.max(FASTEST, ms));
  return Math.log(clamped / FASTEST) / Math.log(SLOWEST / FASTEST);
}

/**
 * The corners of the line, newest at the right edge, as SVG wants them; "" for fewer than two.
 * @param {number[]} delays ms, oldest first, at most POINTS
 */
export function line(delays) {
  return delays.length < 2 ? "" : corners(delays.map(level));
}

/** Heights from 0 to 1 as corners in the drawing, the last at the right edge. */
function corners(heights) {
  const step = WIDTH / (POINTS - 1);
  const first = WIDTH - (heights.length - 1) * step;
  return heights
    .map((height, i) => `${(first + i * step).toFixed(1)},${((1 - height) * HEIGHT).toFixed(1)}`)
    .join(" ");
}

/**
 * The corners of a line through values of any range, stretched to the full height; oldest first,
 * at most POINTS. "" for fewer than two.
 * @param {number[]} values
 */
export function stretched(values) {
  if (values.length < 2) return "";
  const lowest = Math.min(...values);
  const range = Math.max(...values) - lowest || 1;
  return corners(values.map((value) => (value - lowest) / range));
}

/** The line closed down to the bottom, for the fill below it. */
export function area(delays) {
  const top = line(delays);
  if (!top) return "";
  const left = top.slice(0, top.indexOf(","));
  return `${left},${HEIGHT} ${top} ${WIDTH},${HEIGHT}`;
}
