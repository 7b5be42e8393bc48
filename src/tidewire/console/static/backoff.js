/** When to try again: exponential back-off with jitter, and a pause that a cut ends at once. */

const BASE = 500; // ms: the first delay is 250 to 500 ms
const CAP = 15_000; // ms

export class Backoff {
  #attempts = 0;
  #random;

  /** @param {() => number} random a number in [0, 1) */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /**
   * The next delay in ms: anything from BASE / 2 to a ceiling that doubles from BASE to CAP, so
   * that many clients that lost one server do not come back in one wave.
   */
  next() {
    const ceiling = Math.min(CAP, BASE * 2 ** Math.min(this.#attempts, 20));
    this.#attempts += 1;
    return Math.round(BASE / 2 + this.#random() * (ceiling - BASE / 2));
  }

  /** The connection has proved itself: start from the shortest delay again. */
  reset() {
    this.#attempts = 0;
  }
}

/**
 * Resolves after `ms`, or at once when `signal` is aborted.
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal.aborted) done();
    else signal.addEventListener("abort", done);
  });
}
