import { check, reasonOf } from "./aborting.js";
import { Acknowledger } from "./acknowledging.js";
import { baseUrl, type Query } from "./address.js";
import { CAP } from "./backoff.js";
import { Credentials, type GetToken } from "./credentials.js";
import type { Envelope, Gap, Message, Receipt } from "./envelope.js";
import { type Environment, environment } from "./environment.js";
import { refused, TidewireError } from "./errors.js";
import { Http, json } from "./http.js";
import { type Follower, Link, type Terms } from "./link.js";
import type { MachineState } from "./machine.js";
import { Memory } from "./memory.js";
import { Outbox, type PublishOptions } from "./outbox.js";
import { type Handler, messageOf, Subscription } from "./subscription.js";
import { eventsource } from "./transports/eventsource.js";
import { longpoll } from "./transports/longpoll.js";
import { shortpoll } from "./transports/shortpoll.js";
import { sse } from "./transports/sse.js";
import type { Transport } from "./transports/transport.js";
import { websocket } from "./transports/websocket.js";

const TRANSPORTS = [websocket, sse, eventsource, longpoll, shortpoll];
/** Messages that wait for a `for await`, at most, unless told otherwise. */
const BUFFER = 10_000;
/** Ms between looks at what is to be kept. */
const KEEP_EVERY = 500;
/** Ms for which a question is asked again while it has no answer. */
const WITHIN = 30_000;
/** Ms that closing waits for acknowledgements. */
const LAST = 5_000;

export type TransportName = "websocket" | "sse" | "eventsource" | "longpoll" | "poll";

export interface ClientOptions {
  /** A token of a user. */
  readonly token?: string;
  /** Gives a token that is good now, each time that one is needed. */
  readonly getToken?: GetToken;
  /** The key of a back end; never for a browser. */
  readonly apiKey?: string;
  /** Channels that are followed from the begin; `on("message")` hears them. */
  readonly channels?: readonly string[];
  /** Which transports may be used, best first; `websocket`, `sse`, `longpoll`, `poll` if not given. */
  readonly transports?: readonly (TransportName | Transport)[];
  /** Those of consumers, where the others are shared with other tabs. @internal */
  readonly own?: readonly (TransportName | Transport)[];
  /** The durable consumer of subscriptions that name no other. */
  readonly consumer?: string;
  /** What is sent when this client is too slow: `catch_up`, `latest` or `disconnect`. */
  readonly policy?: string;
  /** Kept by the server with the connection. */
  readonly device?: string;
  /** Keep the cursors in storage, under this name, so that a reload goes on. */
  readonly persist?: boolean | string;
  /** Publishes that wait for an answer, at most; 1,000 if not given. */
  readonly queue?: number;
  /** Names of events that the transport `eventsource` has to listen for. */
  readonly events?: readonly string[];
  readonly signal?: AbortSignal;
  readonly environment?: Partial<Environment>;
}

export interface SubscribeOptions {
  /** `now` (as if not given), `start`, `-N` for the last N, or a Unix time in ms. */
  readonly since?: string | number;
  /** Go on strictly after this message. */
  readonly cursor?: string;
  /** Read as this durable consumer, over a connection of its own. */
  readonly consumer?: string;
  readonly signal?: AbortSignal;
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
  readonly messages: Message[];
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

export type ClientState = MachineState | { readonly status: "idle" };

export interface ClientEvents {
  state: ClientState;
  gap: Gap;
  message: Message;
  /** A subscription was refused, an acknowledgement was not taken, or a handler has thrown. */
  error: unknown;
}

const IDLE: ClientState = { status: "idle" };
const CLOSED: ClientState = { status: "closed" };

interface Line {
  readonly link: Link;
  readonly acks: Acknowledger | undefined;
  readonly subscriptions: Set<Subscription>;
  state: ClientState;
}

/** A client of one server. It connects when something is subscribed to. */
export class Client {
  readonly #env: Environment;
  readonly #http: Http;
  readonly #memory: Memory;
  readonly #options: ClientOptions;
  readonly #transports: readonly Transport[];
  /** Those of consumers, of which each reads by itself. */
  readonly #own: readonly Transport[];
  readonly #outbox: Outbox;
  readonly #lines = new Map<string, Line>();
  readonly #listeners = new Map<string, Set<(value: never) => void>>();
  readonly #kept: Record<string, string>;
  #working = 0;
  #keeping: unknown;
  #closed = false;

  /** @internal use `connect` */
  constructor(url: string, options: ClientOptions) {
    this.#options = options;
    this.#env = environment(options.environment);
    this.#http = new Http(this.#env, baseUrl(url), new Credentials(this.#env, options));
    this.#memory = new Memory(this.#env, this.#http.base);
    this.#transports = chosen(this.#env, options.transports);
    this.#own = options.own ? chosen(this.#env, options.own) : this.#transports;
    this.#outbox = new Outbox(this.#env, this.#http, () => this.#connected(), options.queue);
    this.#kept = this.#keptAs ? this.#memory.cursors(this.#keptAs) : {};
    for (const channel of options.channels ?? []) {
      this.subscribe(channel, (message) => this.#emit("message", message));
    }
    options.signal?.addEventListener("abort", () => void this.close());
    if (options.signal?.aborted) void this.close();
  }

  /** The base URL of the server. */
  get url(): string {
    return this.#http.base;
  }

  /** Requests with this client's credentials. @internal */
  get http(): Http {
    return this.#http;
  }

  /** What it uses of the world. @internal */
  get environment(): Environment {
    return this.#env;
  }

  /** The state of the connection; of that which is not live, if there are several. */
  get state(): ClientState {
    const states = [...this.#lines.values()].map(({ state }) => state);
    return (
      states.find(({ status }) => status !== "live") ?? states[0] ?? (this.#closed ? CLOSED : IDLE)
    );
  }

  /** Follows a channel without a handler; returns how to leave it. @internal */
  follow(follower: Follower): () => void {
    const { link } = this.#line(undefined, undefined);
    link.follow(follower);
    return () => link.unfollow(follower);
  }

  /** By which the server knows this client. @internal */
  get session(): string {
    return this.#line(undefined, undefined).link.session;
  }

  /** Where the connection is. @internal */
  get cursor(): string | undefined {
    return this.#lines.get("")?.link.position.cursor;
  }

  /** Calls back at each event of this kind; returns how to stop. */
  on<K extends keyof ClientEvents>(
    name: K,
    callback: (value: ClientEvents[K]) => void,
  ): () => void {
    const callbacks = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, callbacks.add(callback));
    return () => callbacks.delete(callback);
  }

  /** Calls `handler` with each message of the channel, in order. */
  subscribe<T = unknown>(
    channel: string,
    handler: Handler<T>,
    { since, cursor, consumer = this.#options.consumer, signal }: SubscribeOptions = {},
  ): Subscription {
    check(signal);
    if (this.#closed) throw refused("the client is closed", "closed");
    const from = since === undefined || since === "now" ? undefined : String(since);
    const line = this.#line(consumer, from);
    const start = consumer ? {} : { since: from, cursor: cursor ?? this.#resumed(channel) };
    const subscription = new Subscription(
      channel,
      start,
      handler as Handler<never>,
      {
        http: this.#http,
        acks: line.acks,
        session: () => line.link.session,
        watcher: {
          gap: (gap) => this.#emit("gap", gap),
          failed: (error) => this.#emit("error", error),
          threw: (error) => this.#emit("error", error),
          working: (work) => this.#wait(work),
        },
      },
      (left) => {
        line.subscriptions.delete(left);
        line.link.unfollow(left);
        signal?.removeEventListener("abort", stop);
      },
    );
    const stop = () => subscription.unsubscribe();
    signal?.addEventListener("abort", stop);
    // A consumer goes on by itself, unless its first subscription says from where.
    if (consumer && cursor) line.link.position.cursor ??= cursor;
    line.subscriptions.add(subscription);
    line.link.follow(subscription);
    return subscription;
  }

  /**
   * The messages of a channel, one after the other; leaving the loop unsubscribes.
   *
   * @throws TidewireError if the channel is refused, or more messages wait than may
   */
  async *channel<T = unknown>(
    name: string,
    { buffer = BUFFER, signal, ...options }: IterateOptions = {},
  ): AsyncGenerator<Message<T>, void, undefined> {
    let waiting: Message<T>[] = [];
    let end: (() => never) | undefined;
    let wake = () => {};
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
    subscription.ready.catch(stop);
    try {
      for (;;) {
        const batch = waiting;
        waiting = [];
        for (const message of batch) {
          end?.();
          yield message;
        }
        end?.();
        if (waiting.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
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
    if (this.#closed) return Promise.reject(refused("the client is closed", "closed"));
    return this.#outbox.publish(channel, data, options);
  }

  /** These need not come again. */
  ack(...messages: readonly Message<unknown>[]): void {
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
    return { ...page, messages: page.messages.map((envelope) => messageOf(envelope)) };
  }

  /** How many are on a channel, and with `members` who. */
  presence(channel: string, { signal, ...more }: PresenceOptions = {}): Promise<Presence> {
    return this.#ask("/presence", queryOf({ channel, ...more }), signal);
  }

  /** Lets go of everything. What was acknowledged is told first; publishes without answer fail. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#keep();
    this.#outbox.close(new TidewireError("cut", "the client was closed", "closed"));
    const lines = [...this.#lines.values()];
    this.#http.wake(); // whoever waits to tell it together with more
    const told = Promise.all(lines.map(({ acks }) => acks?.flush(0)));
    await Promise.race([told, this.#http.pause(LAST, true)]);
    this.#http.wake(); // which ends that pause, too
    for (const { link } of lines) link.close();
    for (const transport of this.#transports) transport.close?.();
    this.#lines.clear();
  }

  /** Ends when there is a connection, if there is to be one. */
  async #connected(): Promise<void> {
    await null;
    while (this.state.status === "waiting" || this.state.status === "connecting") {
      await this.#http.pause(CAP, true);
    }
  }

  #line(consumer: string | undefined, since: string | undefined): Line {
    const name = consumer ?? "";
    const known = this.#lines.get(name);
    if (known) return known;
    const { policy, device, events = [] } = this.#options;
    const terms: Terms = {
      consumer,
      policy: consumer ? undefined : policy,
      device,
      since: consumer && since,
    };
    const link = new Link({
      env: this.#env,
      http: this.#http,
      memory: this.#memory,
      transports: consumer ? this.#own : this.#transports,
      terms,
      events,
      onState: (state) => {
        line.state = state;
        this.#emit("state", this.state);
        if (state.status === "live") this.#http.wake();
      },
      onMove: () => {
        if (this.#keptAs) this.#keeping ??= this.#env.setTimeout(() => this.#keep(), KEEP_EVERY);
      },
      onLeave: () => this.#keep(),
    });
    const failed = (error: TidewireError) => this.#emit("error", error);
    const acks = consumer ? new Acknowledger(this.#http, consumer, failed) : undefined;
    const line: Line = { link, acks, subscriptions: new Set(), state: IDLE };
    this.#lines.set(name, line);
    return line;
  }

  #ask<T>(path: string, query: Query, signal: AbortSignal | undefined): Promise<T> {
    const ask = () => this.#http.call("GET", path, { query, signal }, json<T>);
    return this.#http.patiently(ask, WITHIN, signal);
  }

  // What is kept for the next visit

  get #keptAs(): string {
    const { persist } = this.#options;
    return persist === true ? "default" : persist || "";
  }

  #resumed(channel: string): string | undefined {
    const cursor = this.#kept[channel];
    delete this.#kept[channel]; // once: later subscriptions of this visit begin now
    return cursor;
  }

  #wait(work: Promise<unknown>): void {
    this.#working++;
    work
      .catch((error) => this.#emit("error", error))
      .finally(() => {
        if (--this.#working === 0) this.#keep();
      });
  }

  /** Keeps how far each channel has come, unless handlers are still at work. */
  #keep(): void {
    this.#env.clearTimeout(this.#keeping);
    this.#keeping = undefined;
    const line = this.#lines.get("");
    if (!this.#keptAs || this.#working > 0 || !line) return;
    const cursors = { ...this.#kept };
    const { cursor } = line.link.position;
    for (const one of line.subscriptions) {
      const at = one.place ?? cursor;
      if (at) cursors[one.channel] = at;
    }
    this.#memory.keepCursors(this.#keptAs, cursors);
  }

  #emit<K extends keyof ClientEvents>(name: K, value: ClientEvents[K]): void {
    const callbacks = this.#listeners.get(name) as
      | Set<(value: ClientEvents[K]) => void>
      | undefined;
    if (name === "error" && !callbacks?.size) {
      // Nobody listens: it is told as any error is that nobody has caught.
      this.#env.defer(() => {
        throw value;
      });
    }
    for (const callback of callbacks ?? []) callback(value);
  }
}

function queryOf(fields: Record<string, unknown>): Query {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, String(value)] as const);
}

/** The transports of these names, in this order, as far as they are there. */
function chosen(
  env: Environment,
  names: readonly (TransportName | Transport)[] = ["websocket", "sse", "longpoll", "poll"],
): readonly Transport[] {
  return names
    .map((name) => {
      if (typeof name === "object") return name;
      const found = TRANSPORTS.find((transport) => transport.name === name);
      if (!found) throw new TypeError(`${name} is none of the transports`);
      return found;
    })
    .filter((transport) => transport.isThere(env));
}
