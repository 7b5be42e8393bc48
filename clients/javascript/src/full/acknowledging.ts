import type { Query } from "../address.js";
import { failureOf, refused, type TidewireError } from "../errors.js";
import { type Http, nothing } from "../http.js";
import { type Due, Ledger } from "./ledger.js";
import type { Patience } from "./patience.js";

/** Ms after which what is finished is told. */
const EVERY = 100;
const MOST_HELD = 100_000;
const TOO_MANY_SINGLES = "too_many_single_acks";

/** What one consumer has finished with is told to the server soon, and safely tried again. */
export class Acknowledger {
  readonly #http: Http;
  readonly #patience: Patience;
  readonly #consumer: string;
  readonly #failed: (error: TidewireError) => void;
  readonly #ledger = new Ledger();
  #telling: Promise<void> | undefined;

  constructor(
    http: Http,
    patience: Patience,
    consumer: string,
    failed: (error: TidewireError) => void,
  ) {
    this.#http = http;
    this.#patience = patience;
    this.#consumer = consumer;
    this.#failed = failed;
  }

  /** @throws TidewireError if nothing is ever acknowledged */
  give(id: string): boolean {
    if (this.#ledger.size >= MOST_HELD) {
      throw refused("too many messages without ack() or nack()", "unacknowledged");
    }
    return this.#ledger.give(id);
  }

  finish(id: string): void {
    this.#ledger.finish(id);
    void this.flush();
  }

  /** Ends when the server has kept all that is finished; it is told `after` ms. */
  flush(after = EVERY): Promise<void> {
    this.#telling ??= this.#tell(after).finally(() => {
      this.#telling = undefined;
    });
    return this.#telling;
  }

  /** @throws TidewireError if the server could not be told; then it comes again after its time */
  async nack(
    id: string,
    { delay, reject }: { delay?: number; reject?: boolean } = {},
  ): Promise<void> {
    const query: [string, string][] = [["eventId", id]];
    if (delay !== undefined) query.push(["delay", String(delay / 1000)]);
    if (reject) query.push(["reject", "true"]);
    await this.#post("/nack", query);
    if (reject) this.#ledger.settle(id);
  }

  async #tell(after: number): Promise<void> {
    if (after) await this.#patience.pause(after, true);
    for (let due = this.#ledger.due(); due; due = this.#ledger.due()) {
      const telling = due;
      try {
        await this.#patience.with(() => this.#send(telling));
      } catch (error) {
        // Single ones are taken again once the oldest open message is finished with.
        if (failureOf(error).code === TOO_MANY_SINGLES) return;
        this.#failed(failureOf(error));
      }
      this.#ledger.told(telling);
    }
  }

  async #send({ upto, singles }: Due): Promise<void> {
    if (upto) await this.#post("/ack", [["eventId", upto]]);
    if (singles.length) {
      await this.#post("/ack", [
        ...singles.map((id) => ["eventId", id] as const),
        ["single", "true"],
      ]);
    }
  }

  #post(path: string, query: Query): Promise<void> {
    return this.#http.call(
      "POST",
      path,
      { query: [["consumer", this.#consumer], ...query] },
      nothing,
    );
  }
}
