/** Numbers as people read them, each in a width that changes as little as can be. */

const grouped = new Intl.NumberFormat("en");

/** 12345 → "12,345" */
export const count = (n) => grouped.format(n);

/** Bytes in decimal units: 940 → "940 B", 98240 → "98.2 kB" */
export function bytes(n) {
  if (n < 1000) return `${n} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = n;
  let unit = -1;
  do {
    value /= 1000;
    unit += 1;
  } while (value >= 999.5 && unit < units.length - 1);
  return `${value < 99.95 ? value.toFixed(1) : value.toFixed(0)} ${units[unit]}`;
}

/**
 * A delay: null → "–", 0 → "<1 ms", 12 → "12 ms", 1530 → "1.53 s", 75000 → "75 s".
 * Time stamps are whole ms, so nothing finer is claimed.
 */
export function delay(ms) {
  if (ms === null) return "–";
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  return `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(0)} s`;
}

/** Whole seconds left, never less than 1: 2400 → "3 s" */
export const left = (ms) => `${Math.max(1, Math.ceil(ms / 1000))} s`;

/** "1 message", "2 messages" */
export const messages = (n) => `${count(n)} ${n === 1 ? "message" : "messages"}`;
