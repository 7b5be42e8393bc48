/** What one transport has measured: delays and missing or repeated messages. No DOM, no clock. */

/** The newest delays, in ms, with their quantiles. */
export class LatencyWindow {
  #samples = [];
  #size;

  /** @param {number} size how many of the newest samples count */
  constructor(size = 1000) {
    this.#size = size;
  }

  /** @param {number} ms */
  add(ms) {
    this.#samples.push(ms);
    if (this.#samples.length > this.#size) this.#samples.shift();
  }

  get count() {
    return this.#samples.length;
  }

  /** The newest sample, or null when there is none. */
  get last() {
    return this.#samples.at(-1) ?? null;
  }

  /** The newest `count` samples, oldest first. */
  recent(count) {
    return this.#samples.slice(-count);
  }

  /**
   * The smallest sample that at least the share `q` of all samples does not exceed
   * (nearest rank), or null when there is none.
   * @param {number} q in (0, 1]
   */
  quantile(q) {
    if (this.#samples.length === 0) return null;
    const sorted = this.#samples.toSorted((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)];
  }
}

/**
 * Counts what `seq` (1, 2, 3 … in a channel) says was lost or came twice.
 * A message out of order counts as both: missing where it should stand, repeated where it stands.
 */
export class SequenceCheck {
  /** Messages that should have come and did not. */
  gaps = 0;
  /** Messages that had come before. */
  duplicates = 0;
  #last;

  /** @param {number | null} last the seq just before the first message to come, if it is known */
  constructor(last = null) {
    this.#last = last;
  }

  /** @param {number} seq */
  add(seq) {
    if (this.#last !== null && seq <= this.#last) {
      this.duplicates += 1;
      return;
    }
    if (this.#last !== null) this.gaps += seq - this.#last - 1;
    this.#last = seq;
  }

  /** The server has announced a gap: what comes next starts a new count. */
  restart() {
    this.#last = null;
  }
}

/**
 * Puts the server's time stamps on the browser's clock, as far as messages alone allow: one that
 * comes before it was sent proves that the server's clock runs ahead, by at least so much. A
 * server's clock that runs behind cannot be told from a slow network.
 */
export class ServerClock {
  #ahead = 0;

  /**
   * @param {number} time server's Unix ms
   * @param {number} arrival the browser's Unix ms
   * @returns {number} when it was sent, Unix ms of the browser; never after `arrival`
   */
  local(time, arrival) {
    this.#ahead = Math.max(this.#ahead, time - arrival);
    return time - this.#ahead;
  }
}
