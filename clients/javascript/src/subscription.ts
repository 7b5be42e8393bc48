import { fromBase64 } from "./binary.js";
import type { Envelope, Gap, Message } from "./envelope.js";
import type { TidewireError } from "./errors.js";
import type { Follower } from "./inbox.js";

/** Called with each message, in order. A promise that it returns holds back the kept cursor. */
export type Handler<M = Message> = (message: M) => unknown;

/** What happens to one subscription. */
export interface Watcher {
  gap(gap: Gap): void;
  /** It was refused, or the application's code has thrown. */
  failed(error: unknown): void;
  /** A handler is still at work with what it was given. */
  working(work: Promise<unknown>): void;
}

/** One handler of a channel. */
export class Subscription implements Follower {
  readonly channel: string;
  /** Fulfilled when the channel comes, rejected if the server does not let it. */
  readonly ready: Promise<void>;

  /** Who lets go of it; nobody once that is done. @internal */
  leave: (() => void) | undefined;
  protected live = false;
  protected readonly watcher: Watcher;
  protected admit!: () => void;
  readonly #handler: Handler<never>;
  #reject!: (error: unknown) => void;

  /** @internal */
  constructor(channel: string, handler: Handler<never>, watcher: Watcher) {
    this.channel = channel;
    this.watcher = watcher;
    this.#handler = handler;
    this.ready = new Promise((resolve, reject) => {
      this.admit = resolve;
      this.#reject = reject;
    });
    this.ready.catch(() => {}); // whoever does not look at it is told by `failed`
  }

  /** Nothing comes after this. */
  unsubscribe(): void {
    const { leave } = this;
    this.live = false;
    this.leave = undefined;
    leave?.();
  }

  /** @internal */
  begin(): void {
    this.live = true;
    this.admit();
  }

  /** @internal */
  fail(error: TidewireError): void {
    this.#reject(error);
    this.unsubscribe();
    this.watcher.failed(error);
  }

  /** @internal */
  message(envelope: Envelope): void {
    if (this.live) this.hand(envelope);
  }

  /** @internal */
  gap(gap: Gap): void {
    if (this.live) this.watcher.gap(gap);
  }

  protected hand(envelope: Envelope): void {
    try {
      const message = this.made(envelope);
      const work = message && this.#handler(message as never);
      if (work instanceof Promise) this.watcher.working(work);
    } catch (error) {
      this.watcher.failed(error);
    }
  }

  /** What the handler gets; `undefined`: it is not called. */
  protected made(envelope: Envelope): Message | undefined {
    return messageOf(envelope);
  }
}

/** The message that an envelope holds. */
export function messageOf({ type: _, encoding, ...message }: Envelope): Message {
  const { data } = message;
  return {
    ...(message as unknown as Message),
    data: encoding === "base64" ? fromBase64(data as string) : data,
  };
}
