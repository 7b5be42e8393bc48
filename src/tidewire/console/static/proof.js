/** The headline: did all four see the same messages? In words, from the ledger and the feeds. */

import { count } from "./format.js";

/**
 * @param {import("./ledger.js").Ledger} ledger
 * @param {{name: string, title: string, feed: import("./feed.js").Feed}[]} readers
 * @returns {{verdict: "yes" | "no" | "waiting", detail: string}}
 */
export function proof(ledger, readers) {
  if (ledger.broken) {
    const { reader, place } = ledger.broken;
    const { title } = readers.find(({ name }) => name === reader);
    return { verdict: "no", detail: `${title} saw something else as message ${count(place + 1)}.` };
  }
  const verdict = ledger.agreed ? "yes" : "waiting";
  return { verdict, detail: `${losses(readers)} ${lag(ledger, readers)}`.trim() };
}

function losses(readers) {
  const sum = (figure) => readers.reduce((total, { feed }) => total + feed.sequence[figure], 0);
  return `${count(sum("gaps"))} lost, ${count(sum("duplicates"))} twice.`;
}

/** Who is behind, and what will bring the rest; the one that is furthest behind stands for all. */
function lag(ledger, readers) {
  const [last] = readers
    .map((reader) => ({ ...reader, behind: ledger.behind(reader.name) }))
    .sort((a, b) => b.behind - a.behind);
  if (last.behind === 0) return ledger.agreed ? "All are up to date." : "No message on this channel yet.";
  if (last.feed.state === "cut") return `${last.title} is cut, ${count(last.behind)} behind.`;
  const remedy = last.name === "shortpoll" ? ": its next poll brings them." : ".";
  return `${last.title} is ${count(last.behind)} behind${remedy}`;
}
