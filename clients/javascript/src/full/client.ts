import { reasonOf } from "../aborting.js";
import type { Query } from "../address.js";
import { CAP } from "../backoff.js";
import {
  Client,
  type ClientState,
  type CoreOptions,
  chosen,
  type FollowOptions,
  TRANSPORTS,
  type TransportName,
} from "../client.js";
import type { Delivery, Envelope, Gap, Receipt } from "../envelope.js";
import { refused, TidewireError } from "../errors.js";
import { json } from "../http.js";
import { type Link, link } from "../link.js";
import type { Handler, Subscription } from "../subscription.js";
import { eventsource } from "../transports/eventsource.js";
import type { Transport } from "../transports/transport.js";
import { Acknowledger } from "./acknowledging.js";
import { Outbox, type PublishOptions } from "./outbox.js";
import { Patience } from "./patience.js";
import { deliveryOf, FullSubscription } from "./subscription.js";

const ALL: readonly Transport[] = [...TRANSPORTS, eventsource];
/** Messages that wait for a `for await`, at most, unless told otherwise. */
const BUFFER = 10_000;
/** Ms between looks at what is to be kept. */
const KEEP_EVERY = 500;
/** Ms for which a question is asked again while it has no answer. */
const WITHIN = 30_000;
/** Ms that closing waits for acknowledgements. */
const LAST = 5_000;

export interface ClientOptions extends CoreOptions {
  /** Those of consumers, where the others are shared with other tabs. @internal */
  readonly own?: readonly (TransportName | Transport)[];
  /** The durable consumer of subscriptions that name no other. */
  readonly consumer?: string;
  /** Keep the cursors in storage, under this name, so that a reload goes on. */
  readonly persist?: boolean | string;
  /** Publishes that wait for an answer, at most; 1,000 if not given. */
  readonly queue?: number;
}

export interface SubscribeOptions extends FollowOptions {
  /** `now` (as if not given), `start`, `-N` for the last N, or a Unix time in ms. */
  readonly since?: string | number;
  /** Go on strictly after this message. */
  readonly cursor?: string;
  /** Read as this durable consumer, over a connection of its own. */
  readonly consumer?: string;
}

export interface IterateOptions extends SubscribeOptions {
  /** Messages that may wait for the loop; when there are more it ends with an error. */
  readonly buffer?: number;
}

export interface HistoryOptions {
  readonly since?: string | number;
  readonly cursor?: string;
  /** 1 to 1,000; 100 if not given. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
}

export interface Page {
  readonly messages: Delivery[];
  readonly gaps: Gap[];
  /** Where the next page begins, and where a subscription can go on. */
  readonly cursor: string;
  readonly more: boolean;
}

export interface PresenceOptions {
  /** Also who they are, in pages. */
  readonly members?: boolean;
  readonly limit?: number;
  /** The `next` of the page before. */
  readonly after?: string;
  readonly signal?: AbortSignal;
}

export interface Member {
  readonly client: string;
  readonly transport: string;
  /** When it joined, Unix time in ms. */
  readonly since: number;
  readonly user?: string;
  readonly device?: string;
}

export interface Presence {
  readonly channel: string;
  readonly count: number;
  /** Who follows `@presence:CHANNEL` from here knows of every change since. */
  readonly cursor: string;
  readonly members?: readonly Member[];
  readonly next?: string;
}

/** A client that also publishes, reads the past, acknowledges, and goes on after a reload. */
export class FullClient extends Client<Delivery> {
  /** @internal */
  readonly patience = new Patience(this.env);
  readonly #options: ClientOptions;
  /** The transports of consumers, of which each reads by itself. */
  readonly #own: readonly Transport[];
  readonly #outbox: Outbox;
  /** By consumer. */
  readonly #links = new Map<string, Link>();
  readonly #acks = new Map<string, Acknowledger>();
  readonly #subscriptions = new Set<FullSubscription>();
  /** Ends the loops that read a channel. */
  readonly #loops = new Set<() => void>();
  /** Under what the cursors are kept, if they are. */
  readonly #keptAs: string;
  readonly #kept: { [channel: string]: string };
  #working = 0;
  #keeping: unknown;

  /** @internal use `connect` */
  constructor(url: string, options: ClientOptions) {
    const { token, getToken, apiKey } = options;
    if ([token, getToken, apiKey].filter(Boolean).length > 1) {
      throw new TypeError("give one of token, getToken and apiKey: the server looks at one");
    }
    super(url, options, ALL);
    this.#options = options;
    this.#own = options.own ? chosen(this.env, ALL, options.own) : this.transports;
    const connected = () => this.#connected();
    this.#outbox = new Outbox(this.env, this.http, this.patience, connected, options.queue);
    const { persist } = options;
    this.#keptAs = persist ? `cursors:${persist === true ? "default" : persist}` : "";
    this.#kept =
      (this.#keptAs && (this.memory.read(this.#keptAs) as { [channel: string]: string } | null)) ||
      {};
  }

  /** The state of the connection; of that which is not live, if there are several. */
  override get state(): ClientState {
    const states = [super.state, ...[...this.#links.values()].map(({ state }) => state)];
    const used = states.filter(({ status }) => status !== "idle");
    return used.find(({ status }) => status !== "live") ?? used[0] ?? states[0]!;
  }

  /** Calls `handler` with each message of the channel, in order. */
  override subscribe<T = unknown>(
    channel: string,
    handler: Handler<Delivery<T>>,
    { since, cursor, consumer = this.#options.consumer, signal }: SubscribeOptions = {},
  ): Subscription {
    const from = since === undefined || since === "now" ? undefined : String(since);
    this.check(signal);
    const line = consumer ? this.#link(consumer, from) : this.main;
    const subscription = new FullSubscription(
      channel,
      consumer ? {} : { since: from, cursor: cursor ?? this.#resumed(channel) },
      handler,
      this,
      {
        http: this.http,
        patience: this.patience,
        acks: consumer ? this.#acknowledger(consumer) : undefined,
        session: () => line.session,
      },
    );
    this.attach(subscription, line, signal);
    // A consumer goes on by itself, unless its first subscription says from where.
    if (consumer) {
      if (cursor) line.position.cursor ??= cursor;
    } else {
      const { leave } = subscription;
      this.#subscriptions.add(subscription);
      subscription.leave = () => {
        this.#subscriptions.delete(subscription);
        leave?.();
      };
    }
    return subscription;
  }

  /**
   * The messages of a channel, one after the other; leaving the loop unsubscribes, and closing the
   * client ends it.
   *
   * @throws TidewireError if the channel is refused, or more messages wait than may
   */
  async *channel<T = unknown>(
    name: string,
    { buffer = BUFFER, signal, ...options }: IterateOptions = {},
  ): AsyncGenerator<Delivery<T>, void, undefined> {
    const waiting: Delivery<T>[] = [];
    let end: (() => never) | undefined;
    let wake = () => {};
    const finish = () => wake();
    const stop = (error: unknown) => {
      end ??= () => {
        throw error;
      };
      wake();
    };
    const subscription = this.subscribe<T>(
      name,
      (message) => {
        if (waiting.push(message) > buffer) stop(refused(`${buffer} messages wait`, "overrun"));
        wake();
      },
      options,
    );
    const abort = () => stop(reasonOf(signal!));
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    subscription.ready.catch(stop);
    this.#loops.add(finish);
    try {
      for (;;) {
        for (const message of waiting.splice(0)) {
          end?.();
          yield message;
        }
        end?.();
        if (this.closed) return;
        if (!waiting.length) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      this.#loops.delete(finish);
      signal?.removeEventListener("abort", abort);
      subscription.unsubscribe();
    }
  }

  /**
   * Publishes a JSON value, or bytes as they are. It is tried again until there is an answer, and
   * published once.
   *
   * @throws TidewireError if the server refuses it, there was no answer in time, or too many wait
   */
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<Receipt> {
    if (this.closed) return Promise.reject(refused("the client is closed", "closed"));
    return this.#outbox.publish(channel, data, options);
  }

  /** These need not come again. */
  ack(...messages: readonly Delivery<unknown>[]): void {
    for (const message of messages) message.ack();
  }

  /** A page of what a channel keeps, oldest first; from its start if nothing else is said. */
  async history(
    channel: string,
    { since, cursor, limit, signal }: HistoryOptions = {},
  ): Promise<Page> {
    const query = queryOf({ channel, cursor, since: cursor ? undefined : since, limit });
    const page = await this.#ask<Omit<Page, "messages"> & { messages: Envelope[] }>(
      "/history",
      query,
      signal,
    );
    return { ...page, messages: page.messages.map((envelope) => deliveryOf(envelope)) };
  }

  /** How many are on a channel, and with `members` who. */
  presence(channel: string, { signal, ...more }: PresenceOptions = {}): Promise<Presence> {
    return this.#ask("/presence", queryOf({ channel, ...more }), signal);
  }

  /** Lets go of everything. What was acknowledged is told first; publishes without answer fail. */
  override async close(): Promise<void> {
    if (this.closed) return;
    this.leaving();
    for (const line of this.#links.values()) line.close();
    this.#links.clear();
    await super.close();
    for (const finish of this.#loops) finish();
    this.#outbox.close(new TidewireError("cut", "the client was closed", "closed"));
    this.patience.wake(); // whoever waits to tell it together with more
    const told = Promise.all([...this.#acks.values()].map((acks) => acks.flush(0)));
    await Promise.race([told, this.patience.pause(LAST, true)]);
    this.patience.wake(); // which ends that pause, too
  }

  /** Ends when there is a connection, if there is to be one. */
  async #connected(): Promise<void> {
    await null;
    while (this.state.status === "waiting" || this.state.status === "connecting") {
      await this.patience.pause(CAP, true);
    }
  }

  /** The connection of a consumer; `since` is where it starts if it is not known yet. */
  #link(consumer: string, since: string | undefined): Link {
    const terms = { consumer, device: this.#options.device, since };
    const found = this.#links.get(consumer) ?? link(this, this.#own, terms);
    this.#links.set(consumer, found);
    return found;
  }

  #acknowledger(consumer: string): Acknowledger {
    const acks =
      this.#acks.get(consumer) ??
      new Acknowledger(this.http, this.patience, consumer, (error) => this.failed(error));
    this.#acks.set(consumer, acks);
    return acks;
  }

  #ask<T>(path: string, query: Query, signal: AbortSignal | undefined): Promise<T> {
    const ask = () => this.http.call("GET", path, { query, signal }, json<T>);
    return this.patience.with(ask, WITHIN, signal);
  }

  /** @internal */
  override changed(): void {
    super.changed();
    if (this.state.status === "live") this.patience.wake();
  }

  // What is kept for the next visit

  #resumed(channel: string): string | undefined {
    const cursor = this.#kept[channel];
    delete this.#kept[channel]; // once: later subscriptions of this visit begin now
    return cursor;
  }

  /** @internal */
  override working(work: Promise<unknown>): void {
    this.#working++;
    work
      .catch((error) => this.failed(error))
      .finally(() => {
        if (--this.#working === 0) this.leaving();
      });
  }

  /** @internal */
  override moved(): void {
    if (this.#keptAs) this.#keeping ??= this.env.setTimeout(() => this.leaving(), KEEP_EVERY);
  }

  /** Keeps how far each channel has come, unless handlers are still at work. @internal */
  override leaving(): void {
    this.env.clearTimeout(this.#keeping);
    this.#keeping = undefined;
    if (!this.#keptAs || this.#working > 0) return;
    const cursors = { ...this.#kept };
    const { cursor } = this.main.position;
    for (const one of this.#subscriptions) {
      const at = one.place ?? cursor;
      if (at) cursors[one.channel] = at;
    }
    this.memory.write(this.#keptAs, cursors);
  }
}

function queryOf(fields: Record<string, unknown>): Query {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, String(value)] as const);
}
