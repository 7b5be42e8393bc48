/**
 * All that is known about one transport's stream: its state, its numbers, its newest messages.
 * It is told what happens and never acts itself; the time is always passed in (Unix ms).
 */

import { left, messages } from "./format.js";
import { LatencyWindow, SequenceCheck, ServerClock } from "./statistics.js";

/** How many of the newest messages are kept. */
export const KEPT = 40;
/** What may be wrong when a request is neither answered nor refused. */
export const NO_ANSWER =
  "No answer yet. Browsers allow six HTTP/1.1 connections to a server: other tabs may hold them.";
const SETTLED = 400; // ms without a missed message until a stream counts as caught up
const LONG_WAIT = 6000; // ms of connecting after which the page says what may be wrong
const REPORTED = 10_000; // ms for which a recovery stays in the note

export class Feed {
  /** "connecting", "catching-up", "live", "cut" or "stopped" (the server said no) */
  state = "connecting";
  /** Where to resume: the id of the newest message, or the starting point (null: the start). */
  cursor;
  /** The newest message's id and seq; null before the first. */
  lastId = null;
  lastSeq = null;
  received = 0;
  /** Bytes of payloads and bodies, without HTTP heads and frame heads. */
  bytes = 0;
  /** Connections opened, or polls sent. */
  requests = 0;
  /** Polls answered with 304. */
  unchanged = 0;
  /** Messages that the last resumption brought back; null while nothing was interrupted. */
  recovered = null;
  /** Gaps that the server itself announced: {channel, reason}. */
  announced = [];
  latency = new LatencyWindow();
  /** The newest messages, newest first: {envelope, delay, recovered}. */
  messages = [];
  sequence;

  #clock;
  #since = 0; // when this state began
  #liveFrom = Infinity; // a message sent before this was waiting for us
  #lastMissed = 0; // when the newest of those came
  #interrupted = false;
  #retryAt = null;
  #reason = "";
  #nextAt = null;

  /**
   * @param {object} start
   * @param {string | null} start.cursor where the stream starts; null: at the oldest message kept
   * @param {number | null} [start.seq] the seq just before the first message, if it is known
   * @param {ServerClock} [start.clock]
   */
  constructor({ cursor, seq = null, clock = new ServerClock() }) {
    this.cursor = cursor;
    this.sequence = new SequenceCheck(seq);
    this.#clock = clock;
  }

  /** An attempt to connect begins. */
  connecting(now) {
    this.#retryAt = null;
    this.#enter("connecting", now);
  }

  /** A connection was opened or a poll sent. */
  asked() {
    this.requests += 1;
  }

  /** The server answers; messages that it accepted before `at` were missed, later ones are live. */
  opened(at, now) {
    this.#liveFrom = at;
    this.#lastMissed = now;
    if (this.#interrupted) this.recovered = 0;
    this.#enter("catching-up", now);
  }

  /** The cursor moved on without a message. */
  moved(cursor) {
    this.cursor = cursor;
  }

  /** @param {number} n bytes that came */
  took(n) {
    this.bytes += n;
  }

  /** A message came. */
  accept(envelope, now) {
    const sent = this.#clock.local(envelope.time, now);
    const missed = sent < this.#liveFrom;
    this.cursor = this.lastId = envelope.id;
    this.lastSeq = envelope.seq;
    this.received += 1;
    this.sequence.add(envelope.seq);
    if (missed) {
      this.#lastMissed = now;
      if (this.#interrupted) this.recovered += 1;
    } else {
      this.latency.add(now - sent);
      if (this.state === "catching-up") this.#settle(now);
    }
    const row = {
      envelope,
      delay: missed ? null : now - sent,
      recovered: missed && this.#interrupted,
    };
    this.messages.unshift(row);
    if (this.messages.length > KEPT) this.messages.pop();
  }

  /** The server says that messages are gone from here to the next one. */
  gap(gap) {
    this.announced.push(gap);
    this.sequence.restart();
    if (gap.id) this.cursor = gap.id;
  }

  /** The connection is lost; the next attempt is at `retryAt`. */
  lost(reason, retryAt, now) {
    this.#interrupted = true;
    this.#reason = reason;
    this.#enter("connecting", now);
    this.#retryAt = retryAt;
  }

  /** The next poll is at `at`; null while one is under way. */
  resting(at) {
    this.#nextAt = at;
  }

  /** The user has cut the connection. */
  cut(now) {
    this.#interrupted = true;
    this.#nextAt = null;
    this.#enter("cut", now);
  }

  /** The server said no, for good. */
  stopped(reason, now) {
    this.#reason = reason;
    this.#enter("stopped", now);
  }

  /** Time passes. */
  tick(now) {
    if (this.state === "catching-up" && now - this.#lastMissed >= SETTLED) this.#settle(now);
  }

  /**
   * One line on what is happening, or "".
   * @param {number} now
   * @param {number} behind how many messages the furthest transport is ahead
   */
  note(now, behind) {
    switch (this.state) {
      case "cut":
        return behind ? `${messages(behind)} waiting in the log.` : "Whatever comes now waits in the log.";
      case "stopped":
        return this.#reason;
      case "catching-up":
        return this.#interrupted ? "Resuming after the last id it had." : "";
      case "connecting":
        if (this.#retryAt !== null) return `${this.#reason} Next try in ${left(this.#retryAt - now)}.`;
        if (now - this.#since < LONG_WAIT) return "";
        return NO_ANSWER;
      default:
        return this.#liveNote(now);
    }
  }

  #liveNote(now) {
    const gone = this.announced.at(-1);
    if (gone) return `The server announced a gap (${gone.reason}): older messages are no longer kept.`;
    if (this.recovered && now - this.#since < REPORTED) {
      return `Back: ${messages(this.recovered)} recovered.`;
    }
    return this.#nextAt === null ? "" : `Next poll in ${left(this.#nextAt - now)}.`;
  }

  #settle(now) {
    this.#enter("live", now);
  }

  #enter(state, now) {
    if (state !== this.state) this.#since = now;
    this.state = state;
  }
}
