import { check, reasonOf } from "../aborting.js";
import { bytesOf, toBase64 } from "../binary.js";
import type { Receipt } from "../envelope.js";
import type { Environment } from "../environment.js";
import { alien, failureOf, refused, type TidewireError } from "../errors.js";
import { type Http, json } from "../http.js";
import type { Patience } from "./patience.js";

/** Publishes that wait, at most, unless told otherwise. */
export const MOST_WAITING = 1_000;
/** Messages in one batch, and their characters. */
const BATCH = 100;
const BATCH_SIZE = 1 << 20;
/** Ms from the first attempt within which the server knows the key again: its default is 120 s. */
const WINDOW = 100_000;

export interface PublishOptions {
  readonly event?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Idempotency key; each publish has one of its own if it is not given. */
  readonly key?: string;
  /** Seconds after which the message is withdrawn. */
  readonly ttl?: number;
  readonly version?: number;
  /** Takes the publish back if it was not sent yet; else only ends the waiting for its answer. */
  readonly signal?: AbortSignal;
}

interface Waiting {
  readonly body: string;
  readonly resolve: (receipt: Receipt) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Publishes in order, one batch after the other, until each has an answer. All have keys, so that
 * sending one again publishes it once. What was never sent waits until there is a connection.
 */
export class Outbox {
  readonly #http: Http;
  readonly #patience: Patience;
  readonly #connected: () => Promise<void>;
  readonly #most: number;
  /** No other outbox has it, so that no two publishes have the same key. */
  readonly #name: string;
  #count = 0;
  #waiting: Waiting[] = [];
  #sending = false;

  /** `connected` ends when it is worth trying. */
  constructor(
    env: Environment,
    http: Http,
    patience: Patience,
    connected: () => Promise<void>,
    most = MOST_WAITING,
  ) {
    this.#http = http;
    this.#patience = patience;
    this.#connected = connected;
    this.#most = most;
    const part = () => env.random().toString(36).slice(2);
    this.#name = `${part()}${part()}-${env.wall().toString(36)}`;
  }

  publish(channel: string, data: unknown, options: PublishOptions = {}): Promise<Receipt> {
    const { signal, key = `${this.#name}-${++this.#count}`, ...fields } = options;
    const bytes = bytesOf(data);
    const content = bytes ? { data: toBase64(bytes), encoding: "base64" } : { data: data ?? null };
    return new Promise((resolve, reject) => {
      check(signal);
      if (this.#waiting.length >= this.#most)
        throw refused("too many publishes wait", "outbox_full");
      const body = JSON.stringify({ channel, ...content, ...fields, key });
      const waiting: Waiting = { body, resolve, reject };
      this.#waiting.push(waiting);
      signal?.addEventListener("abort", () => {
        this.#waiting = this.#waiting.filter((one) => one !== waiting);
        reject(reasonOf(signal));
      });
      void this.#send();
    });
  }

  /** Nothing is sent any more. */
  close(error: TidewireError): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  async #send(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    await this.#connected(); // those of one turn go together
    while (this.#waiting.length) {
      let size = 0;
      const batch = this.#waiting.slice(0, BATCH).filter(({ body }, i) => {
        size += body.length;
        return !i || size < BATCH_SIZE;
      });
      await this.#publish(batch).catch(async (error) => {
        // One bad message is a reason to refuse a batch whole.
        const alone = failureOf(error).final && batch.length > 1 ? batch : [];
        for (const one of alone) await this.#publish([one]).catch(one.reject);
        for (const one of batch) one.reject(error);
      });
      this.#waiting = this.#waiting.filter((one) => !batch.includes(one));
    }
    this.#sending = false;
  }

  async #publish(batch: readonly Waiting[]): Promise<void> {
    const bodies = batch.map(({ body }) => body).join();
    const many = batch.length > 1;
    const body = many ? `{"messages":[${bodies}]}` : bodies;
    const post = () => this.#http.call("POST", "/publish", { body }, json<Receipt & Results>);
    const answer = await this.#patience.with(async () => {
      const answer = await post();
      const receipts = many ? answer.results : [answer];
      if (receipts?.length !== batch.length) throw alien("no receipts");
      return receipts;
    }, WINDOW);
    batch.forEach(({ resolve }, i) => {
      resolve(answer[i]!);
    });
  }
}

type Results = { results?: Receipt[] };
