/** One transport's panel: shows a feed. Rows are filled again, never moved, so nothing jumps. */

import * as format from "./format.js";
import { KEPT } from "./feed.js";
import { area, line, POINTS, stretched } from "./sparkline.js";
import { stageAfter, summary } from "./stage.js";

const STATES = {
  connecting: "connecting",
  "catching-up": "catching up",
  live: "live",
  cut: "cut",
  stopped: "stopped",
};

/** What the stage shows before the first message. */
const EMPTY = {
  kind: "empty", title: "", main: "No message yet.", aside: "", tone: "", share: null, trend: [],
};

/** Sets a text only when it differs: an untouched node costs the browser nothing. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** When a message came, after it was published: a delay only where that says something. */
function arrival({ delay, recovered }) {
  if (delay !== null) return format.delay(delay);
  return recovered ? "recovered" : "earlier";
}

export class Panel {
  #parts = {};
  #rows = [];
  #feed = null;
  #stage = null;

  /**
   * @param {HTMLTemplateElement} template
   * @param {{name: string, title: string, sentence: string, requests: string}} transport
   * @param {() => void} toggle cuts or restores the connection
   */
  constructor(template, transport, toggle) {
    this.transport = transport;
    this.element = template.content.firstElementChild.cloneNode(true);
    for (const part of this.element.querySelectorAll("[data-part]")) {
      this.#parts[part.dataset.part] = part;
    }
    const { title, sentence, requests, button, list } = this.#parts;
    this.element.dataset.transport = transport.name;
    title.id = `title-${transport.name}`;
    this.element.setAttribute("aria-labelledby", title.id);
    title.textContent = transport.title;
    sentence.textContent = transport.sentence;
    requests.previousElementSibling.textContent = transport.requests;
    list.setAttribute("aria-label", `Newest messages over ${transport.title}`);
    button.addEventListener("click", toggle);
    const row = list.firstElementChild;
    this.#rows = [row, ...Array.from({ length: KEPT - 1 }, () => row.cloneNode(true))];
    list.replaceChildren(...this.#rows);
  }

  /** Shows another feed from now on. */
  bind(feed) {
    this.#feed = feed;
    this.#stage = null;
    this.#parts.list.scrollTop = 0;
  }

  /** A message came over this transport. */
  accept(envelope) {
    this.#stage = stageAfter(this.#stage, envelope);
  }

  /**
   * @param {number} now Unix ms
   * @param {number} behind how many messages the furthest transport is ahead
   */
  render(now, behind) {
    this.#renderState(now, behind);
    this.#renderStage();
    this.#renderNumbers();
    this.#renderLatency();
    this.#renderRows();
  }

  #renderState(now, behind) {
    const feed = this.#feed;
    const { state, note, button } = this.#parts;
    this.element.dataset.state = feed.state;
    write(state, STATES[feed.state]);
    write(note, feed.note(now, behind));
    note.title = note.textContent;
    const away = feed.state === "cut" || feed.state === "stopped";
    write(button, away ? "Restore" : "Cut");
    button.setAttribute("aria-label", `${button.textContent} ${this.transport.title}`);
  }

  #renderStage() {
    const { stage, stageTitle, stageMain, stageAside, stageBar, stageTrend } = this.#parts;
    const shown = this.#stage ?? EMPTY;
    stage.dataset.kind = shown.kind;
    stage.dataset.tone = shown.tone;
    write(stageTitle, shown.title);
    write(stageMain, shown.main);
    write(stageAside, shown.aside);
    stageBar.hidden = shown.share === null;
    stageBar.firstElementChild.style.width = `${(shown.share ?? 0) * 100}%`;
    stageTrend.setAttribute("points", stretched(shown.trend));
    stageMain.scrollTop = stageMain.scrollHeight; // the newest words of a long answer
  }

  #renderNumbers() {
    const feed = this.#feed;
    const parts = this.#parts;
    const { gaps, duplicates } = feed.sequence;
    write(parts.received, format.count(feed.received));
    write(parts.bytes, format.bytes(feed.bytes));
    write(parts.requests, format.count(feed.requests));
    write(parts.unchanged, feed.unchanged ? `${format.count(feed.unchanged)} × 304` : "");
    write(parts.gaps, format.count(gaps));
    write(parts.duplicates, format.count(duplicates));
    parts.gaps.dataset.tone = gaps ? "bad" : "";
    parts.duplicates.dataset.tone = duplicates ? "bad" : "";
    write(parts.recovered, feed.recovered === null ? "–" : format.count(feed.recovered));
    write(parts.seq, feed.lastSeq === null ? "–" : String(feed.lastSeq));
    write(parts.id, feed.lastId ?? "–");
    parts.id.title = feed.lastId ?? "";
  }

  #renderLatency() {
    const { latency } = this.#feed;
    const { now, median, p99, spark, sparkLine, sparkArea } = this.#parts;
    write(now, format.delay(latency.last));
    write(median, format.delay(latency.quantile(0.5)));
    write(p99, format.delay(latency.quantile(0.99)));
    const delays = latency.recent(POINTS);
    sparkLine.setAttribute("points", line(delays));
    sparkArea.setAttribute("points", area(delays));
    spark.setAttribute("aria-label", `Delay of the newest ${delays.length} messages`);
  }

  #renderRows() {
    const messages = this.#feed.messages;
    this.#rows.forEach((row, i) => {
      const message = messages[i];
      const id = message?.envelope.id ?? "";
      if (row.dataset.id === id) return;
      row.dataset.id = id;
      const [seq, text, tail, delay] = row.children;
      const line = message ? summary(message.envelope) : { text: "", tail: "", tone: "" };
      row.dataset.recovered = String(message?.recovered ?? false);
      write(seq, message ? String(message.envelope.seq) : "");
      write(text, line.text);
      write(tail, line.tail);
      tail.dataset.tone = line.tone;
      write(delay, message ? arrival(message) : "");
    });
  }
}
