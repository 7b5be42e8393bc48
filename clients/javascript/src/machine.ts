/**
 * Which transport to use, and when to try again: a state machine without timers and without I/O.
 *
 * Events go in by `step`, effects come out; whoever drives it carries them out, and calls it with
 * `tick` when `wakeAt` has come. Times are ms of any clock that never goes back.
 *
 *     idle ──start──▶ racing ──first ready──▶ live
 *                      │  ▲                    │
 *               all lost  due, online,     ended, silent
 *                      ▼  visible              │
 *                     waiting ◀────────────────┘          any ──refused, stop──▶ ended
 *
 * *Racing*: the best transport is tried, the next one a head start later, or as soon as one has
 * failed. The first whose stream says `ready` is adopted; the others are closed. A socket that is
 * merely open proves nothing.
 *
 * *Live*: a *challenger* may be tried beside the adopted one: a better transport (climbing back), or
 * the same one with other channels. It resumes with the cursor. When it is ready it is adopted, and
 * only then is the old one closed, so nothing is missed; what both bring, the position drops.
 */
import { Backoff } from "./backoff.js";
import type { TidewireError } from "./errors.js";

/** Ms until the next transport is tried beside those that have not answered. */
export const HEAD_START = 1_500;
/** Ms within which a stream must say `ready`. */
export const READY_WITHIN = 15_000;
/** Ms of being connected after which the back-off begins anew. */
export const STABLE_AFTER = 60_000;
/** Breaks of young connections after which a transport is demoted. */
export const BREAKS = 2;
/** Ms for which it is, the first time; doubled each time up to `LONGEST_DEMOTION`. */
export const DEMOTION = 300_000;
export const LONGEST_DEMOTION = 3_600_000;
/** Ms until a better transport is tried that has not failed; up to half of it more. */
export const CLIMB_AFTER = 30_000;
/** Ms beyond two heartbeats until a stream is taken for dead. */
export const GRACE = 5_000;
/** Ms of silence after which a stream whose heartbeats cannot be heard is made anew. */
export const RENEW_AFTER = 60_000;
/** Ms between attempts that events of the page set off. */
export const SOONEST = 1_000;

/**
 * How a dead connection shows: it is `ask`ed when it is quiet; its heartbeats are heard (`listen`);
 * they come, but cannot be heard (`deaf`); or each of its requests has an end of its `own`.
 */
export type Watch = "ask" | "listen" | "deaf" | "own";

export interface Candidate {
  readonly name: string;
  readonly watch: Watch;
}

export type MachineEvent =
  | { readonly type: "start" | "stop" | "tick" }
  | { readonly type: "online" | "offline" | "visible" | "hidden" }
  /** The channels have changed: a stream that was opened before is out of date. */
  | { readonly type: "renew" }
  /** `heartbeat` and `timeout` in ms, as the server promises; 0: it does not. */
  | {
      readonly type: "ready";
      readonly id: number;
      readonly heartbeat: number;
      readonly timeout: number;
    }
  | { readonly type: "heard"; readonly id: number }
  | { readonly type: "ended"; readonly id: number; readonly failure: Failure };

export type Failure = Pick<TidewireError, "kind" | "message" | "code" | "retry">;

export type MachineEffect =
  | { readonly type: "open"; readonly id: number; readonly transport: string }
  /** From here on what this attempt brings counts, and nothing else does. */
  | { readonly type: "adopt"; readonly id: number; readonly transport: string }
  | { readonly type: "close"; readonly id: number }
  /** Ask the other side for a sign of life. */
  | { readonly type: "probe"; readonly id: number }
  /** What to begin with the next time; `null`: forget it. */
  | { readonly type: "remember"; readonly transport: string | null }
  | { readonly type: "state"; readonly state: MachineState }
  /** A challenger was refused, while the adopted one goes on. */
  | { readonly type: "declined"; readonly failure: Failure }
  | { readonly type: "fail"; readonly failure: Failure };

export interface MachineState {
  readonly status: "connecting" | "live" | "waiting" | "closed" | "failed";
  /** The transport in use, when live. */
  readonly transport?: string;
  /** Why there is no connection. */
  readonly reason?: string;
  /** Ms until the next attempt, when waiting. */
  readonly retryIn?: number;
}

interface Attempt {
  readonly id: number;
  readonly transport: Candidate;
  readonly openedAt: number;
  readyAt: number;
  heardAt: number;
  probedAt: number;
  heartbeat: number;
  timeout: number;
}

interface Record {
  breaks: number;
  demotions: number;
  demotedUntil: number;
}

type Phase = "idle" | "racing" | "waiting" | "live" | "ended";

const NEVER = Number.POSITIVE_INFINITY;

export class Machine {
  /** When it wants a `tick`; infinite: not by itself. */
  wakeAt = NEVER;

  readonly #candidates: readonly Candidate[];
  readonly #records = new Map<string, Record>();
  readonly #backoff: Backoff;
  readonly #draw: () => number;
  #effects: MachineEffect[] = [];
  #now = 0;
  #count = 0;
  #phase: Phase = "idle";
  #remembered: string | null;

  // Racing
  #racers: Attempt[] = [];
  #queue: Candidate[] = [];
  #failed: Candidate[] = [];
  #nextAt = NEVER;
  #beganAt = -NEVER;

  // Waiting
  #retryAt = NEVER;
  #asked = false;

  // Live
  #live: Attempt | null = null;
  #challenger: Attempt | null = null;
  #climbAt = NEVER;
  #renewAt = NEVER;
  #hidden = false;

  /**
   * @param candidates the transports that there are, best first
   * @param remembered the one that has won lately on this network
   * @param draw gives numbers from 0 to below 1
   */
  constructor(
    candidates: readonly Candidate[],
    remembered: string | null = null,
    draw: () => number = Math.random,
  ) {
    this.#candidates = candidates;
    this.#remembered = remembered;
    this.#draw = draw;
    this.#backoff = new Backoff(draw);
    for (const { name } of candidates) {
      this.#records.set(name, { breaks: 0, demotions: 0, demotedUntil: -NEVER });
    }
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** The name of the adopted transport, when live. */
  get transport(): string | undefined {
    return this.#live?.transport.name;
  }

  step(event: MachineEvent, now: number): MachineEffect[] {
    this.#now = now;
    this.#effects = [];
    this.#on(event);
    this.wakeAt = this.#wake();
    return this.#effects;
  }

  #on(event: MachineEvent): void {
    switch (event.type) {
      case "start":
        if (this.#phase === "idle" || this.#phase === "ended") {
          this.#backoff.reset();
          this.#race();
        }
        break;
      case "stop":
        if (this.#phase !== "ended") this.#end({ status: "closed" });
        break;
      case "tick":
        this.#tick();
        break;
      case "ready":
        this.#ready(event.id, event.heartbeat, event.timeout);
        break;
      case "heard":
        if (this.#live?.id === event.id) {
          this.#live.heardAt = this.#now;
          this.#live.probedAt = NEVER;
        }
        break;
      case "ended":
        this.#ended(event.id, event.failure);
        break;
      case "renew":
        this.#renew();
        break;
      case "hidden":
        this.#hidden = true;
        break;
      case "visible":
        this.#hidden = false;
        this.#awake(false);
        break;
      case "online":
        // It may be another network, where other transports get through.
        for (const record of this.#records.values()) record.demotedUntil = -NEVER;
        this.#remembered = null;
        this.#awake(true);
        break;
      case "offline":
        if (this.#live?.transport.watch === "ask") this.#check(this.#live);
        break;
    }
  }

  // Racing

  #race(): void {
    this.#phase = "racing";
    this.#beganAt = this.#now;
    this.#failed = [];
    this.#queue = this.#order();
    this.#say({ status: "connecting" });
    if (this.#queue.length === 0) {
      this.#fail({ kind: "refused", code: "no_transport", message: NONE, retry: undefined });
    } else {
      this.#openNext();
    }
  }

  /** All transports: the remembered one, those that are not demoted, and as a last resort those. */
  #order(): Candidate[] {
    const rank = (candidate: Candidate) =>
      this.#isDemoted(candidate) ? 2 : candidate.name === this.#remembered ? 0 : 1;
    return [...this.#candidates].sort((a, b) => rank(a) - rank(b));
  }

  #openNext(): void {
    const candidate = this.#queue.shift();
    if (candidate) this.#racers.push(this.#open(candidate));
    this.#nextAt = this.#queue.length > 0 ? this.#now + HEAD_START : NEVER;
  }

  #lost(racer: Attempt, failure: Failure): void {
    this.#racers = this.#racers.filter((one) => one !== racer);
    if (failure.kind === "refused") {
      this.#fail(failure);
    } else if (failure.kind === "later") {
      this.#wait(failure);
    } else {
      this.#failed.push(racer.transport);
      if (this.#queue.length > 0) this.#openNext();
      else if (this.#racers.length === 0) this.#wait(failure);
    }
  }

  #ready(id: number, heartbeat: number, timeout: number): void {
    const attempt =
      this.#challenger?.id === id ? this.#challenger : this.#racers.find((one) => one.id === id);
    if (!attempt) return;
    attempt.readyAt = attempt.heardAt = this.#now;
    attempt.heartbeat = heartbeat;
    attempt.timeout = timeout;
    const before = this.#live;
    this.#effect({ type: "adopt", id, transport: attempt.transport.name });
    if (before) this.#close(before);
    for (const racer of this.#racers) if (racer !== attempt) this.#close(racer);
    // The network is there, so what has failed in this race has failed by itself.
    for (const candidate of this.#failed) this.#demote(candidate);
    this.#racers = [];
    this.#failed = [];
    this.#challenger = null;
    this.#live = attempt;
    this.#phase = "live";
    // Spread out, because many clients may have fallen at the same moment.
    this.#climbAt = this.#now + CLIMB_AFTER * (1 + this.#draw() / 2);
    this.#remembered = attempt.transport.name;
    this.#effect({ type: "remember", transport: attempt.transport.name });
    this.#say({ status: "live", transport: attempt.transport.name });
  }

  // Waiting

  #wait(failure: Failure): void {
    this.#closeAll();
    this.#phase = "waiting";
    this.#asked = failure.retry !== undefined;
    const delay = this.#backoff.next(failure.retry);
    this.#retryAt = this.#now + delay;
    this.#say({ status: "waiting", reason: failure.message, retryIn: delay });
  }

  /** The page is seen again, or the network is there again. */
  #awake(online: boolean): void {
    if (this.#phase === "waiting") {
      // What the server has asked for counts more, and no event may be a reason for a loop.
      if (!this.#asked) {
        this.#retryAt = Math.min(this.#retryAt, Math.max(this.#now, this.#beganAt + SOONEST));
        if (this.#retryAt <= this.#now) this.#race();
      }
    } else if (this.#live) {
      const quiet = this.#live.heartbeat || RENEW_AFTER;
      if (online || this.#now - this.#live.heardAt > quiet) this.#check(this.#live);
    }
  }

  // Live

  #ended(id: number, failure: Failure): void {
    const racer = this.#racers.find((one) => one.id === id);
    if (racer) this.#lost(racer, failure);
    else if (this.#challenger?.id === id) this.#repelled(failure);
    else if (this.#live?.id === id) this.#broke(this.#live, failure);
  }

  #broke(live: Attempt, failure: Failure): void {
    this.#live = null;
    const record = this.#recordOf(live.transport);
    if (this.#now - live.readyAt >= STABLE_AFTER) {
      this.#backoff.reset();
      record.breaks = record.demotions = 0;
    } else if (failure.kind !== "later" && ++record.breaks >= BREAKS) {
      this.#demote(live.transport);
    }
    if (failure.kind === "refused") {
      this.#fail(failure);
    } else if (this.#challenger && failure.kind !== "later") {
      // It is under way already; the others follow if it does not get there.
      const challenger = this.#challenger;
      this.#challenger = null;
      this.#phase = "racing";
      this.#beganAt = this.#now;
      this.#racers = [challenger];
      this.#queue = this.#order().filter((one) => one !== challenger.transport);
      this.#nextAt = this.#now + HEAD_START;
      this.#say({ status: "connecting", reason: failure.message });
    } else {
      this.#wait(failure);
    }
  }

  /** A challenger has failed: the adopted one goes on. */
  #repelled(failure: Failure): void {
    const challenger = this.#challenger!;
    this.#challenger = null;
    if (challenger.transport !== this.#live?.transport) {
      this.#demote(challenger.transport);
      this.#climbAt = this.#now;
    } else {
      this.#renewAt = this.#now + this.#backoff.next(failure.retry);
    }
    if (failure.kind === "refused") this.#effect({ type: "declined", failure });
  }

  #renew(): void {
    if (this.#phase === "live") {
      if (this.#challenger) this.#close(this.#challenger);
      this.#renewAt = NEVER;
      this.#challenger = this.#open(this.#live!.transport);
    } else if (this.#phase === "racing") {
      this.#closeAll();
      this.#race();
    }
  }

  #check(live: Attempt): void {
    if (live.transport.watch === "ask") {
      if (live.probedAt === NEVER) this.#probe(live);
    } else if (!this.#challenger) {
      this.#renew();
    }
  }

  #probe(live: Attempt): void {
    live.probedAt = this.#now;
    this.#effect({ type: "probe", id: live.id });
  }

  #tick(): void {
    for (const racer of [...this.#racers]) {
      // The loss of one may have ended the race for all.
      if (this.#now >= racer.openedAt + READY_WITHIN && this.#racers.includes(racer)) {
        this.#close(racer);
        this.#lost(racer, silence(UNREADY));
      }
    }
    if (this.#phase === "racing" && this.#now >= this.#nextAt) this.#openNext();
    if (this.#phase === "waiting" && this.#now >= this.#retryAt) this.#race();
    if (this.#phase === "live") this.#tickLive(this.#live!);
  }

  #tickLive(live: Attempt): void {
    const challenger = this.#challenger;
    if (challenger && this.#now >= challenger.openedAt + READY_WITHIN) {
      this.#close(challenger);
      this.#repelled(silence(UNREADY));
    }
    if (this.#now >= this.#silentAt(live)) {
      if (live.transport.watch === "deaf") {
        live.heardAt = this.#now;
        if (!this.#challenger) this.#renew();
      } else if (live.transport.watch === "ask" && live.probedAt === NEVER) {
        this.#probe(live);
      } else {
        this.#close(live);
        this.#broke(live, silence(SILENT));
        return;
      }
    }
    if (this.#now >= this.#renewAt) this.#renew();
    if (this.#now >= this.#climbAt && !this.#challenger) this.#climb(live);
  }

  /** When something is to be done if nothing is heard until then. */
  #silentAt({ transport, heartbeat, timeout, heardAt, probedAt }: Attempt): number {
    switch (transport.watch) {
      case "ask":
        if (probedAt !== NEVER) return probedAt + (timeout || GRACE * 2);
        return heartbeat ? heardAt + heartbeat : NEVER;
      case "listen":
        return heartbeat ? heardAt + 2 * heartbeat + GRACE : NEVER;
      case "deaf":
        return heardAt + RENEW_AFTER;
      case "own":
        return NEVER;
    }
  }

  #climb(live: Attempt): void {
    this.#climbAt = NEVER;
    if (this.#hidden) {
      this.#climbAt = this.#now + CLIMB_AFTER;
      return;
    }
    const better = this.#candidates.slice(0, this.#rank(live.transport));
    const next = better.find((one) => !this.#isDemoted(one));
    if (next) {
      this.#challenger = this.#open(next);
    } else if (better.length > 0) {
      const until = better.map((one) => this.#recordOf(one).demotedUntil);
      this.#climbAt = Math.min(...until);
    }
  }

  // What is known of the transports

  #rank(candidate: Candidate): number {
    return this.#candidates.indexOf(candidate);
  }

  #recordOf(candidate: Candidate): Record {
    return this.#records.get(candidate.name)!;
  }

  #isDemoted(candidate: Candidate): boolean {
    return this.#recordOf(candidate).demotedUntil > this.#now;
  }

  #demote(candidate: Candidate): void {
    const record = this.#recordOf(candidate);
    const time = Math.min(DEMOTION * 2 ** record.demotions++, LONGEST_DEMOTION);
    record.demotedUntil = this.#now + time;
    record.breaks = 0;
    if (this.#remembered === candidate.name) {
      this.#remembered = null;
      this.#effect({ type: "remember", transport: null });
    }
  }

  // Attempts

  #open(transport: Candidate): Attempt {
    const id = ++this.#count;
    this.#effect({ type: "open", id, transport: transport.name });
    const now = this.#now;
    return {
      id,
      transport,
      openedAt: now,
      readyAt: now,
      heardAt: now,
      probedAt: NEVER,
      heartbeat: 0,
      timeout: 0,
    };
  }

  #close({ id }: Attempt): void {
    this.#effect({ type: "close", id });
  }

  #closeAll(): void {
    for (const attempt of [...this.#racers, this.#challenger, this.#live]) {
      if (attempt) this.#close(attempt);
    }
    this.#racers = [];
    this.#queue = [];
    this.#challenger = this.#live = null;
    this.#renewAt = NEVER;
  }

  // Ends

  #fail(failure: Failure): void {
    this.#end({ status: "failed", reason: failure.message });
    this.#effect({ type: "fail", failure });
  }

  #end(state: MachineState): void {
    this.#closeAll();
    this.#phase = "ended";
    this.#say(state);
  }

  #say(state: MachineState): void {
    this.#effect({ type: "state", state });
  }

  #effect(effect: MachineEffect): void {
    this.#effects.push(effect);
  }

  #wake(): number {
    switch (this.#phase) {
      case "racing":
        return Math.min(this.#nextAt, ...this.#racers.map((one) => one.openedAt + READY_WITHIN));
      case "waiting":
        return this.#retryAt;
      case "live":
        return Math.min(
          this.#silentAt(this.#live!),
          this.#renewAt,
          this.#challenger ? this.#challenger.openedAt + READY_WITHIN : this.#climbAt,
        );
      default:
        return NEVER;
    }
  }
}

const NONE = "no transport is there: give a WebSocket, or a fetch, in the environment";
const UNREADY = "it was opened, and nothing came";
const SILENT = "nothing was heard for longer than the server promises";

function silence(message: string): Failure {
  return { kind: "silent", code: "silent", message, retry: undefined };
}
