import type { Envelope } from "./envelope.js";

const MOST_GAPS = 64;

/** What is to be done with a message: it is the `next` one, came `again`, or some before it are missing. */
export type Verdict = "next" | "again" | "hole";

/**
 * How far one connection has come: the cursor, which is one for all its channels because a stream
 * has them in the order of their ids, and the `seq` of the newest message of each.
 */
export class Position {
  cursor: string | undefined;

  readonly #seqs = new Map<string, number>();
  /** Channels in which the next message need not be the next in number. */
  readonly #excused = new Set<string>();
  readonly #gaps = new Set<string>();

  /** The newest `seq` of a channel, if there is one. */
  seq(channel: string): number | undefined {
    return this.#seqs.get(channel);
  }

  judge(channel: string, seq: number): Verdict {
    const last = this.#seqs.get(channel);
    if (last === undefined || seq === last + 1) return "next";
    if (seq <= last) return "again";
    return this.#excused.has(channel) ? "next" : "hole";
  }

  /** The message was taken. `moves`: what stands before it in the log has come before it. */
  passed(envelope: Envelope, moves: boolean): void {
    const channel = envelope.channel as string;
    this.#seqs.set(channel, envelope.seq as number);
    if (moves) {
      // An answer to a poll tells its gaps first, so there they may excuse messages further on.
      this.#excused.delete(channel);
      this.cursor = envelope.id;
    }
  }

  /** Whether the gap is one that was not told before. */
  gap(envelope: Envelope, moves: boolean): boolean {
    const channel = envelope.channel as string;
    const name = `${envelope.id} ${channel}`;
    if (this.#gaps.has(name)) return false;
    this.#gaps.add(name);
    if (this.#gaps.size > MOST_GAPS) this.#gaps.delete(this.#gaps.values().next().value as string);
    if (envelope.reason === "reset") this.#seqs.delete(channel);
    else this.#excused.add(channel);
    if (moves) this.cursor = envelope.id;
    return true;
  }

  /** The channel is not followed any more. */
  forget(channel: string): void {
    this.#seqs.delete(channel);
    this.#excused.delete(channel);
  }
}
