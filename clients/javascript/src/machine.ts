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
import { backOff } from "./backoff.js";
import { refused, silent, type TidewireError } from "./errors.js";

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
  | { readonly type: "adopt"; readonly id: number }
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

/** A transport, and what is known of it. */
interface Way extends Candidate {
  breaks: number;
  demotions: number;
  demotedUntil: number;
}

interface Attempt {
  readonly id: number;
  readonly way: Way;
  readonly openedAt: number;
  readyAt: number;
  heardAt: number;
  /** When it was asked for a sign of life that has not come yet. */
  probedAt: number;
  heartbeat: number;
  timeout: number;
}

type Phase = "idle" | "racing" | "waiting" | "live" | "ended";

const NEVER = Number.POSITIVE_INFINITY;

export interface Machine {
  /** When it wants a `tick`; infinite: not by itself. */
  readonly wakeAt: number;
  step(event: MachineEvent, at: number): MachineEffect[];
}

/**
 * @param candidates the transports that there are, best first
 * @param remembered the one that has won lately on this network
 * @param draw gives numbers from 0 to below 1
 */
export function machine(
  candidates: readonly Candidate[],
  remembered: string | null = null,
  draw: () => number = Math.random,
): Machine {
  const ways: readonly Way[] = candidates.map(({ name, watch }) => ({
    name,
    watch,
    breaks: 0,
    demotions: 0,
    demotedUntil: 0,
  }));
  const backoff = backOff(draw);
  let effects: MachineEffect[] = [];
  let now = 0;
  let count = 0;
  let phase: Phase = "idle";
  /** Open and not adopted: when racing the racers, when live the challenger. */
  let trying: Attempt[] = [];

  // Racing
  let queue: Way[] = [];
  let failed: Way[] = [];
  let nextAt = NEVER;
  let beganAt = -NEVER;

  // Waiting
  let retryAt = NEVER;
  let asked = false;

  // Live
  let live: Attempt | undefined;
  let climbAt = NEVER;
  let renewAt = NEVER;
  let hidden = false;

  function on(event: MachineEvent): void {
    switch (event.type) {
      case "start":
        if (phase === "idle" || phase === "ended") {
          backoff.reset();
          race();
        }
        break;
      case "stop":
        if (phase !== "ended") end({ status: "closed" });
        break;
      case "tick":
        tick();
        break;
      case "ready":
        isReady(event);
        break;
      case "heard":
        if (live?.id === event.id) {
          live.heardAt = now;
          live.probedAt = NEVER;
        }
        break;
      case "ended": {
        const attempt = find(event.id);
        if (attempt) lost(attempt, event.failure);
        else if (live?.id === event.id) broke(live, event.failure);
        break;
      }
      case "renew":
        renew();
        break;
      case "hidden":
        hidden = true;
        break;
      case "visible":
        hidden = false;
        if (live && now - live.heardAt > Math.min(live.heartbeat, RENEW_AFTER)) check(live);
        awake();
        break;
      case "online":
        // It may be another network, where other transports get through.
        for (const way of ways) way.demotedUntil = 0;
        remembered = null;
        if (live) check(live);
        awake();
        break;
      case "offline":
        if (live?.way.watch === "ask") check(live);
        break;
    }
  }

  // Racing

  function race(): void {
    phase = "racing";
    beganAt = now;
    failed = [];
    queue = order();
    say({ status: "connecting" });
    if (queue.length) tryNext();
    else fail(refused("no transport is there: give WebSocket or fetch", "no_transport"));
  }

  /** All transports: the remembered one, those that are not demoted, and as a last resort those. */
  function order(): Way[] {
    const rank = (way: Way) => (isDemoted(way) ? 2 : +(way.name !== remembered));
    return [...ways].sort((a, b) => rank(a) - rank(b));
  }

  /** Tries the next one. */
  function tryNext(): void {
    const way = queue.shift();
    if (way) open(way);
    nextAt = queue.length ? now + HEAD_START : NEVER;
  }

  function lost(attempt: Attempt, failure: Failure): void {
    const { way } = attempt;
    trying = trying.filter((one) => one !== attempt);
    if (live) {
      // It was a challenger: the adopted one goes on.
      if (way === live.way) {
        renewAt = now + backoff.next(failure.retry);
      } else {
        demote(way);
        climbAt = now;
      }
      if (failure.kind === "refused") effect({ type: "declined", failure });
    } else if (failure.kind === "refused") {
      fail(failure);
    } else if (failure.kind === "later") {
      wait(failure);
    } else {
      failed.push(way);
      if (queue.length) tryNext();
      else if (!trying.length) wait(failure);
    }
  }

  function isReady({ id, heartbeat, timeout }: MachineEvent & { type: "ready" }): void {
    const attempt = find(id);
    if (!attempt) return;
    attempt.readyAt = attempt.heardAt = now;
    attempt.heartbeat = heartbeat || NEVER;
    attempt.timeout = timeout || 2 * GRACE;
    effect({ type: "adopt", id });
    trying = trying.filter((one) => one !== attempt);
    closeAll();
    // The network is there, so what has failed in this race has failed by itself.
    for (const way of failed.splice(0)) demote(way);
    live = attempt;
    phase = "live";
    // Spread out, because many clients may have fallen at the same moment.
    climbAt = now + CLIMB_AFTER * (1 + draw() / 2);
    const { name } = attempt.way;
    remember(name);
    say({ status: "live", transport: name });
  }

  // Waiting

  function wait(failure: Failure): void {
    closeAll();
    phase = "waiting";
    asked = failure.retry !== undefined;
    const retryIn = backoff.next(failure.retry);
    retryAt = now + retryIn;
    say({ status: "waiting", reason: failure.message, retryIn });
  }

  /** The page is seen again, or the network is there again. */
  function awake(): void {
    // What the server has asked for counts more, and no event may be a reason for a loop.
    if (phase !== "waiting" || asked) return;
    retryAt = Math.min(retryAt, Math.max(now, beganAt + SOONEST));
    if (now >= retryAt) race();
  }

  // Live

  function broke({ way, readyAt }: Attempt, failure: Failure): void {
    const later = failure.kind === "later";
    live = undefined;
    if (now - readyAt >= STABLE_AFTER) {
      backoff.reset();
      way.breaks = way.demotions = 0;
    } else if (!later && ++way.breaks >= BREAKS) {
      demote(way);
    }
    if (failure.kind === "refused") {
      fail(failure);
    } else if (trying.length && !later) {
      // The challenger is under way already; the others follow if it does not get there.
      phase = "racing";
      beganAt = now;
      queue = order().filter((one) => one !== trying[0]!.way);
      nextAt = now + HEAD_START;
      say({ status: "connecting", reason: failure.message });
    } else {
      wait(failure);
    }
  }

  function renew(): void {
    if (live) {
      for (const attempt of trying.splice(0)) close(attempt);
      renewAt = NEVER;
      open(live.way);
    } else if (phase === "racing") {
      closeAll();
      race();
    }
  }

  /** Finds out whether it is still there. */
  function check(live: Attempt): void {
    if (live.way.watch !== "ask") {
      if (!trying.length) renew();
    } else if (live.probedAt === NEVER) {
      live.probedAt = now;
      effect({ type: "probe", id: live.id });
    }
  }

  function tick(): void {
    for (const attempt of trying) {
      // The loss of one may have ended the race for all.
      if (now >= deadline(attempt) && trying.includes(attempt)) {
        close(attempt);
        lost(attempt, silent());
      }
    }
    if (phase === "racing" && now >= nextAt) tryNext();
    if (phase === "waiting" && now >= retryAt) race();
    if (!live) return;
    if (now >= silentAt(live)) {
      if (live.way.watch === "deaf") live.heardAt = now;
      else if (live.way.watch === "listen" || live.probedAt !== NEVER) {
        close(live);
        broke(live, silent());
        return;
      }
      check(live);
    }
    if (now >= renewAt) renew();
    if (now >= climbAt && !trying.length) climb(live);
  }

  function climb(live: Attempt): void {
    const better = ways.slice(0, ways.indexOf(live.way));
    const next = better.find((way) => !isDemoted(way));
    if (hidden) climbAt = now + CLIMB_AFTER;
    else {
      climbAt = next ? NEVER : Math.min(...better.map((way) => way.demotedUntil));
      if (next) open(next);
    }
  }

  // What is known of the transports

  function isDemoted(way: Way): boolean {
    return way.demotedUntil > now;
  }

  function demote(way: Way): void {
    way.demotedUntil = now + Math.min(DEMOTION * 2 ** way.demotions++, LONGEST_DEMOTION);
    way.breaks = 0;
    if (remembered === way.name) remember(null);
  }

  function remember(transport: string | null): void {
    remembered = transport;
    effect({ type: "remember", transport });
  }

  // Attempts

  function find(id: number): Attempt | undefined {
    return trying.find((one) => one.id === id);
  }

  function open(way: Way): void {
    const id = ++count;
    effect({ type: "open", id, transport: way.name });
    trying.push({
      id,
      way,
      openedAt: now,
      readyAt: now,
      heardAt: now,
      probedAt: NEVER,
      heartbeat: NEVER,
      timeout: 0,
    });
  }

  function close({ id }: Attempt): void {
    effect({ type: "close", id });
  }

  function closeAll(): void {
    for (const attempt of trying.splice(0)) close(attempt);
    if (live) close(live);
    queue = [];
    live = undefined;
    renewAt = NEVER;
  }

  // Ends

  function fail(failure: Failure): void {
    end({ status: "failed", reason: failure.message });
    effect({ type: "fail", failure });
  }

  function end(state: MachineState): void {
    closeAll();
    phase = "ended";
    say(state);
  }

  function say(state: MachineState): void {
    effect({ type: "state", state });
  }

  function effect(one: MachineEffect): void {
    effects.push(one);
  }

  return {
    get wakeAt() {
      return Math.min(
        ...trying.map(deadline),
        phase === "racing"
          ? nextAt
          : phase === "waiting"
            ? retryAt
            : live
              ? Math.min(silentAt(live), renewAt, trying.length ? NEVER : climbAt)
              : NEVER,
      );
    },

    step(event, at) {
      now = at;
      effects = [];
      on(event);
      return effects;
    },
  };
}

/** Until when an attempt must be ready. */
function deadline({ openedAt }: Attempt): number {
  return openedAt + READY_WITHIN;
}

/** When something is to be done about it if nothing is heard until then. */
function silentAt({ way: { watch }, heartbeat, timeout, heardAt, probedAt }: Attempt): number {
  if (watch === "deaf") return heardAt + RENEW_AFTER;
  if (watch === "listen") return heardAt + 2 * heartbeat + GRACE;
  if (watch === "own") return NEVER;
  return probedAt === NEVER ? heardAt + heartbeat : probedAt + timeout;
}
