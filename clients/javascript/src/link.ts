import type { Query } from "./address.js";
import { type Close, closedBy } from "./closing.js";
import type { Envelope, Ready } from "./envelope.js";
import type { Environment, PageEvent } from "./environment.js";
import { alien, failureOf, TidewireError } from "./errors.js";
import { Assembly } from "./fragments.js";
import type { Http } from "./http.js";
import { type Follower, inbox } from "./inbox.js";
import { type MachineEffect, type MachineEvent, type MachineState, machine } from "./machine.js";
import type { Memory } from "./memory.js";
import { Position } from "./position.js";
import type { Attempt, Transport } from "./transports/transport.js";

/** Ms for which a channel that nobody wants any more is kept, in case that somebody does. */
const LINGER = 1_000;
/** Ms between marks that something was heard: often enough for all that is decided by it. */
const HEARD_EVERY = 100;

/** What a connection asks for, beside channels. */
export interface Terms {
  readonly consumer?: string;
  readonly policy?: string;
  readonly device?: string;
  /** Where a consumer starts that is not known yet. */
  readonly since?: string;
}

/** Whose link it is. */
export interface LinkHost {
  readonly env: Environment;
  readonly http: Http;
  readonly memory: Memory;
  /** The state of a link has changed. */
  changed(): void;
  /** Something was handed out. */
  moved(): void;
  /** The page may be gone in a moment. */
  leaving(): void;
}

interface Trial {
  readonly id: number;
  readonly transport: Transport;
  readonly channels: Set<string>;
  readonly assembly: Assembly;
  handle?: Attempt;
  ready?: boolean;
  /** What it has shown of who it is. */
  token?: string;
  heardAt: number;
}

/** One connection, and what is followed over it. */
export interface Link {
  readonly position: Position;
  readonly state: LinkState;
  /** What the server calls this client; until it has, a name of the client's own. */
  readonly session: string;
  follow(follower: Follower): void;
  unfollow(follower: Follower): void;
  close(): void;
}

export type LinkState = MachineState | { readonly status: "idle" };

/**
 * Drives the machine, carries out its effects, and brings each message once and in order to its
 * followers. All channels share one cursor, so when others are wanted a connection that has them
 * takes over from it.
 *
 * @param transports best first; only those that are there
 */
export function link(host: LinkHost, transports: readonly Transport[], terms: Terms): Link {
  const { env, http, memory } = host;
  const position = new Position();
  const choice = machine(transports, memory.winner, env.random);
  const trials = new Map<number, Trial>();
  const followed = new Map<string, Set<Follower>>();
  /** Channels of which all is known to come. */
  const confirmed = new Set<string>();
  const stopListening = env.listen(page);
  let state: LinkState = { status: "idle" };
  let adopted: Trial | undefined;
  let session: string | undefined;
  let timer: unknown;
  let refresh: unknown;
  let lingering: unknown;
  let syncing = false;
  const events: MachineEvent[] = [];
  let stepping = false;
  const incoming = inbox(env, position, {
    // The user's own channels come under their names to who has asked for `@me`.
    followersOf: (channel) => followed.get(channel) ?? followed.get("@me") ?? [],
    ended: (how) => finish(adopted!, how),
    overrun: () => adopted!.handle!.close(),
    moved: () => host.moved(),
  });

  // What is followed

  function follow(follower: Follower): void {
    const { channel } = follower;
    const followers = followed.get(channel) ?? new Set();
    followed.set(channel, followers.add(follower));
    if (confirmed.has(channel)) queueMicrotask(() => follower.begin());
    else syncSoon();
  }

  function unfollow(follower: Follower): void {
    const followers = followed.get(follower.channel);
    if (!followers?.delete(follower) || followers.size) return;
    lingering ??= env.setTimeout(sync, LINGER);
  }

  function drop(channel: string): void {
    followed.delete(channel);
    confirmed.delete(channel);
    position.forget(channel);
  }

  /** Changes of one turn go together. */
  function syncSoon(): void {
    if (syncing) return;
    syncing = true;
    queueMicrotask(() => {
      syncing = false;
      sync();
    });
  }

  /** Makes the connection one that has the channels which are wanted. */
  function sync(): void {
    env.clearTimeout(lingering);
    lingering = undefined;
    for (const [name, { size }] of followed) if (!size) drop(name);
    if (!followed.size) {
      step({ type: "stop" });
      // Whoever comes next has not been here before.
      position.cursor = session = undefined;
      return;
    }
    const channels = [...trials.values()].pop()?.channels;
    const names = [...followed.keys()];
    const fits = names.length === channels?.size && names.every((name) => channels.has(name));
    step({ type: channels && !fits ? "renew" : "start" });
  }

  /** The server wants no connection with these channels. */
  function declined({ message, code }: { message: string; code: string }, failed: boolean): void {
    const all = [...followed.keys()];
    const fresh = all.filter((name) => !confirmed.has(name));
    if (!failed && !fresh.length) return;
    const error = new TidewireError("refused", message, code);
    // It took the others before: without what is new it will again.
    for (const name of fresh.length ? fresh : all) {
      const followers = followed.get(name);
      drop(name);
      for (const follower of followers ?? []) follower.fail(error);
    }
    sync();
  }

  // The machine

  function step(event: MachineEvent): void {
    events.push(event);
    if (stepping) return;
    stepping = true;
    for (let next = events.shift(); next; next = events.shift()) {
      for (const effect of choice.step(next, env.now())) carryOut(effect);
    }
    stepping = false;
    env.clearTimeout(timer);
    const wait = choice.wakeAt - env.now();
    if (wait < Number.POSITIVE_INFINITY) {
      const tick = () => step({ type: "tick" });
      timer = env.setTimeout(tick, Math.max(Math.ceil(wait), 0));
    }
  }

  function carryOut(effect: MachineEffect): void {
    switch (effect.type) {
      case "open":
        open(effect.id, effect.transport);
        break;
      case "close":
        close(trials.get(effect.id));
        break;
      case "adopt":
        adopt(trials.get(effect.id)!);
        break;
      case "probe":
        trials.get(effect.id)?.handle?.probe?.();
        break;
      case "remember":
        memory.winner = effect.transport;
        break;
      case "state":
        state = effect.state;
        host.changed();
        break;
      case "declined":
      case "fail":
        declined(effect.failure, effect.type === "fail");
        break;
    }
  }

  function open(id: number, name: string): void {
    const transport = transports.find((one) => one.name === name)!;
    const channels = [...followed.keys()];
    const trial: Trial = {
      id,
      transport,
      channels: new Set(channels),
      assembly: new Assembly(),
      heardAt: 0,
    };
    trials.set(id, trial);
    trial.handle = transport.open(
      {
        env,
        http,
        query: () => query(channels, transport),
        cursor: () => position.cursor,
        channels,
        consumer: terms.consumer,
      },
      {
        take: (envelopes, cursor) => take(trial, envelopes, cursor),
        heard: () => heard(trial),
        ended: (failure) => ended(trial, failure),
      },
    );
  }

  function query(channels: readonly string[], { watch }: Transport): Query {
    const { since, ...fixed } = terms;
    const { cursor } = position;
    return Object.entries({
      channels: channels.join(),
      cursor,
      since: cursor ? "" : since,
      // Polls name one, too: by that they are known as the same client.
      session: watch === "own" ? name() : session,
      ...fixed,
    }).filter((pair): pair is [string, string] => !!pair[1]);
  }

  function close(trial: Trial | undefined): void {
    if (!trial) return;
    trials.delete(trial.id);
    trial.handle?.close();
    if (trial === adopted) letGo();
  }

  function letGo(): void {
    adopted = undefined;
    incoming.clear();
    env.clearTimeout(refresh);
  }

  function adopt(trial: Trial): void {
    letGo();
    adopted = trial;
    for (const name of trial.channels) {
      if (confirmed.has(name)) continue;
      confirmed.add(name);
      for (const follower of followed.get(name) ?? []) follower.begin();
    }
    // Before its token ends a connection that shows the next one takes over.
    const due = http.credentials.dueIn;
    if (due < 2 ** 31 && trial.transport.watch !== "own") {
      refresh = env.setTimeout(() => step({ type: "renew" }), Math.max(due, 1_000));
    }
    syncSoon();
  }

  function page(event: PageEvent): void {
    if (event === "pagehide" || event === "hidden") host.leaving();
    if (event === "pagehide") return;
    if (event === "visible") adopted?.handle?.wake?.();
    step({ type: event });
  }

  // What comes

  function heard(trial: Trial): void {
    const now = env.now();
    if (now - trial.heardAt < HEARD_EVERY) return;
    trial.heardAt = now;
    step({ type: "heard", id: trial.id });
  }

  function ended(trial: Trial, failure: TidewireError): void {
    if (!trials.has(trial.id)) return;
    // What came before the end is handed out before it.
    if (trial === adopted && !incoming.isEmpty) incoming.put({ failure });
    else finish(trial, failure);
  }

  function finish(trial: Trial, how: Envelope | TidewireError): void {
    const { id, token } = trial;
    const failure =
      how instanceof TidewireError
        ? how
        : http.credentials.after(closedBy(how as unknown as Close), token);
    close(trial);
    step({ type: "ended", id, failure });
  }

  function take(
    trial: Trial,
    envelopes: readonly Envelope[],
    cursor?: string,
  ): Promise<void> | undefined {
    const polled = cursor !== undefined;
    const resets = new Set<unknown>();
    for (const part of envelopes) {
      if (!trials.has(trial.id)) return undefined;
      let envelope: Envelope | undefined;
      try {
        envelope = trial.assembly.take(part);
      } catch (error) {
        ended(trial, failureOf(error));
        return undefined;
      }
      if (!envelope) continue;
      if (!trial.ready) readied(trial, envelope);
      if (trial !== adopted) continue;
      if (polled && envelope.reason === "reset") resets.add(envelope.channel);
      incoming.put({ envelope, polled, free: resets.has(envelope.channel) });
    }
    if (trial !== adopted) return undefined;
    if (cursor) incoming.put({ cursor });
    return incoming.drain();
  }

  function readied(trial: Trial, envelope: Envelope): void {
    if (envelope.type === "close") {
      finish(trial, envelope);
    } else if (envelope.type !== "ready") {
      finish(trial, alien(`${envelope.type} before ready`));
    } else {
      trial.ready = true;
      trial.token = http.credentials.shown;
      const ready = envelope as Ready;
      // A stream that goes on from a cursor is not behind what another one has brought meanwhile.
      position.cursor ??= ready.id;
      session = ready.session ?? session;
      const { heartbeat = 0, timeout = 0 } = ready;
      step({ type: "ready", id: trial.id, heartbeat, timeout });
    }
  }

  /** What the server calls this client; until it has, a name of the client's own. */
  function name(): string {
    const part = () => env.random().toString(36).slice(2);
    session ??= `${part()}${part()}`;
    return session;
  }

  return {
    position,
    get state() {
      return state;
    },
    get session() {
      return name();
    },
    follow,
    unfollow,
    close() {
      stopListening();
      followed.clear();
      sync();
    },
  };
}
