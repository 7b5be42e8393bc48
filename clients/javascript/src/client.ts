import { check } from "./aborting.js";
import { baseUrl } from "./address.js";
import { Credentials, type GetToken } from "./credentials.js";
import type { Gap, Message } from "./envelope.js";
import { type Environment, environment } from "./environment.js";
import { refused } from "./errors.js";
import { Http } from "./http.js";
import { type Link, type LinkHost, link } from "./link.js";
import { Memory } from "./memory.js";
import { type Handler, Subscription, type Watcher } from "./subscription.js";
import { longpoll } from "./transports/longpoll.js";
import { shortpoll } from "./transports/shortpoll.js";
import { sse } from "./transports/sse.js";
import type { Transport } from "./transports/transport.js";
import { websocket } from "./transports/websocket.js";

/** Those that a client uses if it is not told which, best first. */
export const TRANSPORTS: readonly Transport[] = [websocket, sse, longpoll, shortpoll];

export type TransportName = "websocket" | "sse" | "eventsource" | "longpoll" | "poll";

export interface CoreOptions {
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
  /** What is sent when this client is too slow: `catch_up`, `latest` or `disconnect`. */
  readonly policy?: string;
  /** Kept by the server with the connection. */
  readonly device?: string;
  readonly signal?: AbortSignal;
  readonly environment?: Partial<Environment>;
}

export interface FollowOptions {
  readonly signal?: AbortSignal;
}

export type ClientState = Link["state"];

export interface ClientEvents<M = Message> {
  state: ClientState;
  gap: Gap;
  message: M;
  /** A subscription was refused, an acknowledgement was not taken, or a handler has thrown. */
  error: unknown;
}

/** A client of one server. It connects when something is subscribed to. */
export class Client<M extends Message = Message> implements LinkHost, Watcher {
  /** What it uses of the world. @internal */
  readonly env: Environment;
  /** Requests with this client's credentials. @internal */
  readonly http: Http;
  /** @internal */
  readonly memory: Memory;

  /** The connection. @internal */
  readonly main: Link;

  protected readonly transports: readonly Transport[];
  protected closed = false;
  readonly #listeners: { [name: string]: Set<(value: never) => void> } = {};

  /** @internal use `connect` */
  constructor(url: string, options: CoreOptions, known = TRANSPORTS) {
    const { channels, signal, policy, device } = options;
    this.env = environment(options.environment);
    this.http = new Http(this.env, baseUrl(url), new Credentials(this.env, options));
    this.memory = new Memory(this.env, this.url);
    this.transports = chosen(this.env, known, options.transports);
    this.main = link(this, this.transports, { policy, device });
    signal?.addEventListener("abort", () => void this.close());
    // Not before whoever extends this class is whole.
    queueMicrotask(() => {
      if (signal?.aborted) void this.close();
      else if (!this.closed) {
        for (const channel of channels ?? []) {
          this.subscribe(channel, (message) => this.emit("message", message as M));
        }
      }
    });
  }

  /** The base URL of the server. */
  get url(): string {
    return this.http.base;
  }

  /** The state of the connection. */
  get state(): ClientState {
    return this.main.state;
  }

  /** Calls back at each event of this kind; returns how to stop. */
  on<K extends keyof ClientEvents>(
    name: K,
    callback: (value: ClientEvents<M>[K]) => void,
  ): () => void {
    this.#listeners[name] ??= new Set();
    const callbacks = this.#listeners[name].add(callback);
    return () => callbacks.delete(callback);
  }

  /** Calls `handler` with each message of the channel from now on, in order. */
  subscribe<T = unknown>(
    channel: string,
    handler: Handler<M & Message<T>>,
    { signal }: FollowOptions = {},
  ): Subscription {
    this.check(signal);
    return this.attach(new Subscription(channel, handler, this), this.main, signal);
  }

  /** Lets go of everything. */
  async close(): Promise<void> {
    this.closed = true;
    this.main.close();
    for (const transport of this.transports) transport.close?.();
  }

  // What extensions build on, and parts of the client call

  /**
   * @throws TidewireError if the client is closed, and what `signal` says
   * @internal
   */
  check(signal: AbortSignal | undefined): void {
    check(signal);
    if (this.closed) throw refused("the client is closed", "closed");
  }

  /** @internal */
  attach<S extends Subscription>(subscription: S, to: Link, signal?: AbortSignal): S {
    const stop = () => subscription.unsubscribe();
    signal?.addEventListener("abort", stop);
    subscription.leave = () => {
      to.unfollow(subscription);
      signal?.removeEventListener("abort", stop);
    };
    to.follow(subscription);
    return subscription;
  }

  /** @internal */
  emit<K extends keyof ClientEvents>(name: K, value: ClientEvents<M>[K]): void {
    const callbacks = this.#listeners[name] as Set<(value: ClientEvents<M>[K]) => void> | undefined;
    if (name === "error" && !callbacks?.size) {
      // Nobody listens: it is told as any error is that nobody has caught.
      this.env.defer(() => {
        throw value;
      });
    }
    for (const callback of callbacks ?? []) callback(value);
  }

  /** @internal */
  changed(): void {
    this.emit("state", this.state);
  }

  /** The messages of a channel have moved on. @internal */
  moved(): void {}

  /** The page may be gone in a moment. @internal */
  leaving(): void {}

  /** @internal */
  gap(gap: Gap): void {
    this.emit("gap", gap);
  }

  /** @internal */
  failed(error: unknown): void {
    this.emit("error", error);
  }

  /** @internal */
  working(work: Promise<unknown>): void {
    work.catch((error) => this.failed(error));
  }
}

/** The transports of these names, in this order, as far as they are there. */
export function chosen(
  env: Environment,
  known: readonly Transport[],
  names: readonly (TransportName | Transport)[] = TRANSPORTS,
): readonly Transport[] {
  return names
    .map((name) => {
      if (typeof name === "object") return name;
      const found = known.find((transport) => transport.name === name);
      if (!found) throw new TypeError(`${name} is none of the transports`);
      return found;
    })
    .filter((transport) => transport.isThere(env));
}
