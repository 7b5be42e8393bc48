import type { Acknowledger } from "./acknowledging.js";
import type { Query } from "./address.js";
import { fromBase64 } from "./binary.js";
import type { Envelope, Gap, Message } from "./envelope.js";
import { failureOf, refused, type TidewireError } from "./errors.js";
import { Assembly } from "./fragments.js";
import type { Http } from "./http.js";
import type { Follower } from "./link.js";
import { poll } from "./transports/polling.js";

/** Live messages that are kept while the past is fetched; the newest count. */
const KEPT = 1_000;

/** Called with each message, in order. A promise that it returns holds back the kept cursor. */
export type Handler<T = unknown> = (message: Message<T>) => unknown;

/** What happens to one subscription. */
export interface Watcher {
  gap(gap: Gap): void;
  failed(error: TidewireError): void;
  /** A handler is still at work with what it was given. */
  working(work: Promise<unknown>): void;
  /** Something that the application's code has thrown. */
  threw(error: unknown): void;
}

interface Source {
  readonly http: Http;
  readonly acks: Acknowledger | undefined;
  /** By which the server knows this client. */
  readonly session: () => string;
  readonly watcher: Watcher;
}

/** Where a subscription begins, if not with what comes from now on. */
export interface Start {
  readonly since?: string;
  readonly cursor?: string;
}

/**
 * One handler of a channel. Its past, if it wants some, is fetched by polls, while what comes live
 * waits; then both are joined by `seq`.
 */
export class Subscription implements Follower {
  readonly channel: string;
  /** Fulfilled when the channel comes, rejected if the server does not let it. */
  readonly ready: Promise<void>;

  readonly #handler: Handler<never>;
  readonly #source: Source;
  readonly #leave: (subscription: Subscription) => void;
  readonly #abort = new AbortController();
  #start: Start;
  #state: "waiting" | "catching up" | "live" | "closed" = "waiting";
  #kept: Envelope[] = [];
  /** By channel: `@me` stands for several. */
  readonly #seqs = new Map<string, number>();
  #admit!: () => void;
  #reject!: (error: unknown) => void;

  /** @internal */
  constructor(
    channel: string,
    start: Start,
    handler: Handler<never>,
    source: Source,
    leave: (subscription: Subscription) => void,
  ) {
    this.channel = channel;
    this.#start = start;
    this.#handler = handler;
    this.#source = source;
    this.#leave = leave;
    this.ready = new Promise((resolve, reject) => {
      this.#admit = resolve;
      this.#reject = reject;
    });
    this.ready.catch(() => {}); // whoever does not look at it is told by `failed`
  }

  /** Where to go on from, while that is not the position of the connection. @internal */
  get place(): string | undefined {
    return this.#start.cursor;
  }

  /** Nothing comes after this. */
  unsubscribe(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#abort.abort();
    this.#leave(this);
  }

  /** @internal */
  begin(): void {
    if (this.#state !== "waiting") return;
    this.#admit();
    if (this.#start.cursor || this.#start.since) {
      this.#state = "catching up";
      this.#catchUp().catch((error) => {
        if (this.#state !== "closed") this.fail(failureOf(error));
      });
    } else {
      this.#state = "live";
    }
  }

  /** @internal */
  fail(error: TidewireError): void {
    this.#reject(error);
    this.unsubscribe();
    this.#source.watcher.failed(error);
  }

  /** @internal */
  message(envelope: Envelope): void {
    if (this.#state === "live") {
      if (this.#had(envelope) && !(Number(envelope.deliveries) > 1)) return;
      this.#start = {}; // the connection has come further than what was fetched
      this.#hand(envelope);
    } else if (this.#state === "catching up") {
      this.#kept.push(envelope);
      if (this.#kept.length > 2 * KEPT) this.#kept = this.#kept.slice(-KEPT);
    }
  }

  /** @internal */
  gap(gap: Gap): void {
    if (this.#state === "catching up") {
      this.#kept.push(gap as unknown as Envelope);
    } else if (this.#state === "live") {
      if (gap.reason === "reset") {
        this.#seqs.delete(gap.channel);
        this.#start = {};
      }
      this.#source.watcher.gap(gap);
    }
  }

  /** Fetches the past until what was kept goes on from there. */
  async #catchUp(): Promise<void> {
    const { http, watcher } = this.#source;
    const { signal } = this.#abort;
    for (;;) {
      const ask = () => poll({ http, query: () => this.#query() }, "/poll", { signal });
      const answer = await http.patiently(ask, undefined, signal);
      const assembly = new Assembly();
      const messages = answer.messages.flatMap((part) => assembly.take(part) ?? []);
      for (const gap of answer.gaps) watcher.gap(gap as unknown as Gap);
      for (const message of messages) this.#hand(message);
      this.#start = { cursor: answer.cursor };
      if (signal.aborted) return;
      if (!answer.more && (messages.length === 0 || this.#goesOn())) break;
    }
    this.#state = "live";
    const kept = this.#kept;
    this.#kept = [];
    for (const envelope of kept) {
      if (envelope.type === "message") this.message(envelope);
      else this.gap(envelope as unknown as Gap);
    }
  }

  #query(): Query {
    const { cursor, since } = this.#start;
    const channels = ["channels", this.channel] as const;
    // With a session the server would begin where that is, and not where it is asked to.
    if (!cursor) return [channels, ["since", since!]];
    return [channels, ["cursor", cursor], ["session", this.#source.session()]];
  }

  /** Whether nothing is missing between what was fetched and what was kept. */
  #goesOn(): boolean {
    const first = this.#kept[0];
    return first?.type !== "message" || this.#had({ ...first, seq: (first.seq as number) - 1 });
  }

  #had({ channel, seq }: Envelope): boolean {
    return (seq as number) <= (this.#seqs.get(channel!) ?? 0);
  }

  #hand(envelope: Envelope): void {
    const { acks, watcher } = this.#source;
    try {
      if (acks && !acks.give(envelope.id!)) return;
      if (!this.#had(envelope)) this.#seqs.set(envelope.channel!, envelope.seq as number);
      const made = this.#handler(messageOf(envelope, acks) as Message<never>);
      if (made instanceof Promise) watcher.working(made);
    } catch (error) {
      watcher.threw(error);
    }
  }
}

/** The message that an envelope holds. */
export function messageOf(envelope: Envelope, acks?: Acknowledger): Message {
  const {
    id,
    channel,
    seq,
    time,
    event,
    headers,
    data,
    encoding,
    deliveries = 1,
  } = envelope as Envelope & Message & { encoding?: string };
  const consumer = (): Acknowledger => {
    if (!acks) throw refused("only a consumer can acknowledge: subscribe with a consumer");
    return acks;
  };
  return {
    id,
    channel,
    seq,
    time,
    ...(event === undefined ? {} : { event }),
    ...(headers === undefined ? {} : { headers }),
    data: encoding === "base64" ? fromBase64(data as string) : data,
    deliveries,
    ack: () => consumer().finish(id),
    nack: async (options) => consumer().nack(id, options),
  };
}
