/** Ids in one request: they stand in a URL. */
const MOST_SINGLES = 100;
const MOST_SETTLED = 10_000;

/** What the server has to be told: all up to an id is finished, and these single ones. */
export interface Due {
  readonly upto: string | undefined;
  readonly singles: readonly string[];
}

/**
 * The messages of one consumer, in the order in which they came.
 *
 * What is finished with nothing unfinished before it is told by one id for all; what was finished
 * out of order is told singly. The newest that are settled are remembered, because copies of them
 * may still be on their way.
 */
export class Ledger {
  /** Id to whether it is finished, oldest first. */
  readonly #given = new Map<string, boolean>();
  readonly #settled = new Set<string>();
  #upto: string | undefined;

  /** How many messages were given that are not settled. */
  get size(): number {
    return this.#given.size;
  }

  /** A message comes; whether it is to be dealt with, or was finished before it came again. */
  give(id: string): boolean {
    if (this.#settled.has(id) || this.#given.get(id)) return false;
    if (!this.#given.has(id)) this.#given.set(id, false);
    return true;
  }

  /** It needs not come again. */
  finish(id: string): void {
    if (this.#given.has(id)) this.#given.set(id, true);
  }

  /** What to tell the server now; the same again, and more, until it was `told`. */
  due(): Due | undefined {
    const singles: string[] = [];
    let open = false;
    for (const [id, finished] of this.#given) {
      if (!finished) {
        open = true;
      } else if (!open) {
        this.#upto = id;
        this.settle(id);
      } else if (singles.push(id) === MOST_SINGLES) {
        break;
      }
    }
    return this.#upto || singles.length > 0 ? { upto: this.#upto, singles } : undefined;
  }

  /** The server has kept this. */
  told({ upto, singles }: Due): void {
    if (this.#upto === upto) this.#upto = undefined;
    for (const id of singles) this.settle(id);
  }

  /** It does not come again. */
  settle(id: string): void {
    if (!this.#given.delete(id)) return;
    this.#settled.add(id);
    if (this.#settled.size > MOST_SETTLED) {
      this.#settled.delete(this.#settled.values().next().value as string);
    }
  }
}
