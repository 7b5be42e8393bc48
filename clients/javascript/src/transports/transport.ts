import type { Query } from "../address.js";
import type { Envelope } from "../envelope.js";
import type { Environment } from "../environment.js";
import type { TidewireError } from "../errors.js";
import type { Http } from "../http.js";
import type { Watch } from "../machine.js";

/** One way to subscribe. It keeps no position and never reconnects by itself. */
export interface Transport {
  readonly name: string;
  /** How a dead connection of this kind shows. */
  readonly watch: Watch;
  /** Whether it can be had here. */
  isThere(env: Environment): boolean;
  /**
   * Connects once. Nothing is told to the sink before this returns, and nothing after `ended`, or
   * after the attempt was closed. The first that is told is a `ready`.
   */
  open(context: Context, sink: Sink): Attempt;
  /** The client is closed. */
  close?(): void;
}

export interface Attempt {
  close(): void;
  /** Asks for a sign of life. */
  probe?(): unknown;
  /** The page is seen again. */
  wake?(): void;
}

/** What a transport may know. */
export interface Context {
  readonly env: Environment;
  readonly http: Http;
  /** The parameters of a subscription that goes on from where it is now. */
  query(): Query;
  /** Where it is now; `undefined`: the server has not said yet. */
  cursor(): string | undefined;
  readonly channels: readonly string[];
  readonly consumer: string | undefined;
}

/** Where an attempt brings what it gets. */
export interface Sink {
  /**
   * Envelopes in their order; they are those of an answer to a poll if `cursor` is given. When it
   * returns a promise, wait for that before more is fetched.
   */
  take(envelopes: readonly Envelope[], cursor?: string): Promise<void> | undefined;
  /** Bytes have come. */
  heard(): void;
  ended(failure: TidewireError): void;
}

/** Lets the server send large messages in parts. */
export const FRAGMENTS = ["fragments", "true"] as const;
