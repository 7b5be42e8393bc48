import type { Envelope, Gap } from "./envelope.js";
import type { Environment } from "./environment.js";
import { TidewireError } from "./errors.js";
import type { Position } from "./position.js";

/** Ms that handing out may take until the page has a turn. */
const SLICE = 8;
/** Envelopes that wait to be handed out; above it a stream is read no further. */
const HIGH = 10_000;
/** Above this a stream that cannot be held up is ended, and made anew later. */
const OVERRUN = 50_000;

/** Who wants the messages of a channel. */
export interface Follower {
  readonly channel: string;
  /** The channel comes from here on: everything that is accepted after this call. */
  begin(): void;
  message(envelope: Envelope): void;
  gap(gap: Gap): void;
  fail(error: TidewireError): void;
}

/** What waits to be handed out. */
export interface Item {
  readonly envelope?: Envelope;
  /** The answer to a poll: its gaps come first, whatever their place among its messages. */
  readonly polled?: boolean;
  /** Its number says nothing: its channel began anew in the same answer. */
  readonly free?: boolean;
  /** All up to here has come. */
  readonly cursor?: string;
  /** The end. */
  readonly failure?: TidewireError;
}

/** Where it goes. */
export interface Outlet {
  followersOf(channel: string): Iterable<Follower>;
  /** The connection is at its end: by this envelope, or by a failure. */
  ended(how: Envelope | TidewireError): void;
  /** Much more waits than may: nothing is to come any more. */
  overrun(): void;
  /** All that waited is handed out. */
  moved(): void;
}

/** What the adopted connection has brought, on its way to the followers. */
export interface Inbox {
  /** Whether nothing waits. */
  readonly isEmpty: boolean;
  put(item: Item): void;
  /**
   * Hands out what waits, with pauses in which the page does other things. When it returns a
   * promise, there is room again once that is fulfilled.
   */
  drain(): Promise<void> | undefined;
  /** What the connection brought and was not handed out yet is brought again by the next. */
  clear(): void;
}

/** Hands out each message once and in order, and moves the position with it. */
export function inbox(env: Environment, position: Position, outlet: Outlet): Inbox {
  let queue: Item[] = [];
  let head = 0;
  let draining = false;
  const room: (() => void)[] = [];
  /** The message before which some were missing: when they are missing again, they are lost. */
  let hole = "";

  function clear(): void {
    queue = [];
    head = 0;
    for (const resolve of room.splice(0)) resolve();
  }

  function handOut(): void {
    if (draining) return;
    draining = true;
    const end = env.now() + SLICE;
    for (let count = 1; head < queue.length; count++) {
      if (count % 16 === 0 && env.now() > end) {
        env.defer(() => {
          draining = false;
          handOut();
        });
        return;
      }
      handle(queue[head++]!);
    }
    draining = false;
    clear();
    outlet.moved();
  }

  function handle({ envelope, polled, free, cursor, failure }: Item): void {
    if (cursor) position.cursor = cursor;
    if (failure) outlet.ended(failure);
    if (!envelope) return;
    const { type } = envelope;
    if (type === "message") message(envelope, !polled, free);
    else if (type === "close") outlet.ended(envelope);
    else if (type === "gap" && position.gap(envelope, !polled)) tell(envelope as unknown as Gap);
  }

  function message(envelope: Envelope, moves: boolean, free: boolean | undefined): void {
    const { channel, seq, deliveries } = envelope as unknown as Numbered;
    // What a consumer is sent again has come before: it moves nothing.
    if (!(deliveries && deliveries > 1)) {
      const verdict = free ? "next" : position.judge(channel, seq);
      if (verdict === "again") return;
      if (verdict === "hole") {
        // They are asked for once more. If they do not come they are lost.
        const place = `${channel} ${seq}`;
        if (hole !== place) {
          hole = place;
          outlet.ended(new TidewireError("cut", "a message is missing", "hole"));
          return;
        }
        const skipped = seq - position.seq(channel)! - 1;
        tell({ channel, id: position.cursor!, reason: "lost", skipped });
      }
      position.passed(envelope, moves);
    }
    for (const follower of outlet.followersOf(channel)) follower.message(envelope);
  }

  function tell(gap: Gap): void {
    for (const follower of outlet.followersOf(gap.channel)) follower.gap(gap);
  }

  return {
    get isEmpty() {
      return head === queue.length;
    },
    put: (item) => queue.push(item),
    drain() {
      handOut();
      const waiting = queue.length - head;
      if (waiting > OVERRUN) {
        outlet.overrun();
        const message = "messages come faster than they are handled";
        queue.push({ failure: new TidewireError("later", message) });
      }
      return waiting < HIGH ? undefined : new Promise((resolve) => room.push(resolve));
    },
    clear,
  };
}

type Numbered = { channel: string; seq: number; deliveries?: number };
