/** What the server sends: the same JSON objects on all transports. */
export interface Envelope {
  readonly type: string;
  readonly id?: string;
  readonly channel?: string;
  readonly [field: string]: unknown;
}

/** A message as the application gets it. */
export interface Message<T = unknown> {
  /** The cursor after it. */
  readonly id: string;
  readonly channel: string;
  /** Its place in its channel: 1, 2, 3 … */
  readonly seq: number;
  /** When the server accepted it, Unix time in ms. */
  readonly time: number;
  readonly event?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What was published; a `Uint8Array` if it is binary. */
  readonly data: T;
}

/** A message that a consumer acknowledges. */
export interface Delivery<T = unknown> extends Message<T> {
  /** How often it was sent to this consumer, this time included. */
  readonly deliveries: number;
  /** It needs not come again. The server is told within 0.1 s, together with others. */
  ack(): void;
  /** Have it sent again at once or after `delay` ms, or with `reject` never. */
  nack(options?: { delay?: number; reject?: boolean }): Promise<void>;
}

/** Messages of a channel that should have come do not. */
export interface Gap {
  readonly channel: string;
  /** A right cursor after the gap. */
  readonly id: string;
  /**
   * `expired`: discarded; `reset`: the log is another one; `slow`: this client was too slow; `lost`:
   * the server left them out twice, and said nothing.
   */
  readonly reason: "expired" | "reset" | "slow" | "lost";
  /** How many, where that is known. */
  readonly skipped?: number;
}

/** Where a published message is. */
export interface Receipt {
  readonly channel: string;
  readonly id: string;
  readonly seq: number;
}

export interface Ready extends Envelope {
  readonly id: string;
  readonly session?: string;
  readonly heartbeat?: number;
  readonly timeout?: number;
}

export function isEnvelope(value: unknown): value is Envelope {
  return typeof (value as Envelope | null)?.type === "string";
}
