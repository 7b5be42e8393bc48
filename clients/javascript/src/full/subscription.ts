import type { Query } from "../address.js";
import type { Delivery, Envelope, Gap } from "../envelope.js";
import { failureOf, refused } from "../errors.js";
import { Assembly } from "../fragments.js";
import type { Http } from "../http.js";
import { type Handler, messageOf, Subscription, type Watcher } from "../subscription.js";
import { poll } from "../transports/polling.js";
import type { Acknowledger } from "./acknowledging.js";
import type { Patience } from "./patience.js";

/** Live messages that are kept while the past is fetched; the newest count. */
const KEPT = 1_000;

interface Source {
  readonly http: Http;
  readonly patience: Patience;
  readonly acks: Acknowledger | undefined;
  /** By which the server knows this client. */
  session(): string;
}

/** Where a subscription begins, if not with what comes from now on. */
export interface Start {
  readonly since?: string;
  readonly cursor?: string;
}

/**
 * A subscription that may have a past, or acknowledge. The past is fetched by polls, while what
 * comes live waits; then both are joined by `seq`.
 */
export class FullSubscription extends Subscription {
  readonly #source: Source;
  readonly #abort = new AbortController();
  #start: Start;
  #begun = false;
  /** What came live while the past is fetched. */
  #kept: Envelope[] | undefined;
  /** By channel: `@me` stands for several. */
  readonly #seqs = new Map<string, number>();

  /** @internal */
  constructor(
    channel: string,
    start: Start,
    handler: Handler<never>,
    watcher: Watcher,
    source: Source,
  ) {
    super(channel, handler, watcher);
    this.#start = start;
    this.#source = source;
  }

  /** Where to go on from, while that is not the position of the connection. @internal */
  get place(): string | undefined {
    return this.#start.cursor;
  }

  override unsubscribe(): void {
    this.#abort.abort();
    super.unsubscribe();
  }

  /** @internal */
  override begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    if (!this.#start.cursor && !this.#start.since) {
      super.begin();
      return;
    }
    this.admit();
    this.#kept = [];
    this.#catchUp().catch((error) => {
      if (!this.#abort.signal.aborted) this.fail(failureOf(error));
    });
  }

  /** @internal */
  override message(envelope: Envelope): void {
    if (this.#kept) {
      this.#kept.push(envelope);
      if (this.#kept.length > 2 * KEPT) this.#kept = this.#kept.slice(-KEPT);
    } else if (!this.#had(envelope) || Number(envelope.deliveries) > 1) {
      if (this.live) this.#start = {}; // the connection has come further than what was fetched
      super.message(envelope);
    }
  }

  /** @internal */
  override gap(gap: Gap): void {
    if (this.#kept) {
      this.#kept.push(gap as unknown as Envelope);
      return;
    }
    if (this.live && gap.reason === "reset") {
      this.#seqs.delete(gap.channel);
      this.#start = {};
    }
    super.gap(gap);
  }

  /** Fetches the past until what was kept goes on from there. */
  async #catchUp(): Promise<void> {
    const { http, patience } = this.#source;
    const { signal } = this.#abort;
    for (;;) {
      const ask = () => poll({ http, query: () => this.#query() }, "/poll", { signal });
      const answer = await patience.with(ask, undefined, signal);
      const assembly = new Assembly();
      const messages = answer.messages.flatMap((part) => assembly.take(part) ?? []);
      for (const gap of answer.gaps) this.watcher.gap(gap as unknown as Gap);
      for (const message of messages) if (!signal.aborted) this.hand(message);
      this.#start = { cursor: answer.cursor };
      if (signal.aborted) return;
      if (!answer.more && (messages.length === 0 || this.#goesOn())) break;
    }
    this.live = true;
    const kept = this.#kept!;
    this.#kept = undefined;
    for (const envelope of kept) {
      if (envelope.type === "message") this.message(envelope);
      else this.gap(envelope as unknown as Gap);
    }
  }

  #query(): Query {
    const { cursor, since } = this.#start;
    return [
      ["channels", this.channel],
      cursor ? ["cursor", cursor] : ["since", since!],
      ["beside", this.#source.session()],
    ];
  }

  /** Whether nothing is missing between what was fetched and what was kept. */
  #goesOn(): boolean {
    const first = this.#kept![0];
    return first?.type !== "message" || this.#had({ ...first, seq: (first.seq as number) - 1 });
  }

  #had({ channel, seq }: Envelope): boolean {
    return (seq as number) <= (this.#seqs.get(channel!) ?? 0);
  }

  protected override made(envelope: Envelope): Delivery | undefined {
    const { acks } = this.#source;
    if (acks && !acks.give(envelope.id!)) return undefined;
    if (!this.#had(envelope)) this.#seqs.set(envelope.channel!, envelope.seq as number);
    return deliveryOf(envelope, acks);
  }
}

/** The message that an envelope holds, and how to acknowledge it. */
export function deliveryOf(envelope: Envelope, acks?: Acknowledger): Delivery {
  const { id, deliveries = 1 } = envelope as { id: string; deliveries?: number };
  const consumer = (): Acknowledger => {
    if (!acks) throw refused("only a consumer can acknowledge: subscribe with a consumer");
    return acks;
  };
  return {
    ...messageOf(envelope),
    deliveries,
    ack: () => consumer().finish(id),
    nack: async (options) => consumer().nack(id, options),
  };
}
