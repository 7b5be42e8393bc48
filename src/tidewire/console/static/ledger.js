/** The proof: have all readers seen the same messages, in the same order? */

/**
 * Each reader's list of ids is compared, place by place, with what the first reader to get there
 * saw. Places that all readers have passed are forgotten, so memory grows only with how far the
 * last reader is behind the first.
 */
export class Ledger {
  /** The first disagreement: `{reader, place}`, or null. It stays: a proof does not heal. */
  broken = null;
  #places; // reader → number of messages it has seen
  #ids = []; // the ids from place #agreed on
  #agreed = 0;

  /** @param {string[]} readers */
  constructor(readers) {
    this.#places = new Map(readers.map((reader) => [reader, 0]));
  }

  /** The reader has seen the next message. */
  saw(reader, id) {
    const place = this.#places.get(reader);
    this.#places.set(reader, place + 1);
    const index = place - this.#agreed;
    if (index === this.#ids.length) this.#ids.push(id);
    else if (this.#ids[index] !== id) this.broken ??= { reader, place };
    if (index === 0) this.#forget();
  }

  /** How many messages all readers have seen. While `broken` is null they are the same ones. */
  get agreed() {
    return this.#agreed;
  }

  /** How many messages of the furthest reader this one has not seen yet. */
  behind(reader) {
    return this.#agreed + this.#ids.length - this.#places.get(reader);
  }

  #forget() {
    const slowest = Math.min(...this.#places.values());
    this.#ids.splice(0, slowest - this.#agreed);
    this.#agreed = slowest;
  }
}
