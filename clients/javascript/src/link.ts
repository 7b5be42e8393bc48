import type { Query } from "./address.js";
import { closed } from "./closing.js";
import type { Envelope, Gap } from "./envelope.js";
import type { Environment, PageEvent } from "./environment.js";
import { failureOf, TidewireError } from "./errors.js";
import { Assembly } from "./fragments.js";
import type { Http } from "./http.js";
import { Machine, type MachineEffect, type MachineEvent, type MachineState } from "./machine.js";
import type { Memory } from "./memory.js";
import { Position } from "./position.js";
import type { Attempt, Transport } from "./transports/transport.js";

/** Ms that handing out may take until the page has a turn. */
const SLICE = 8;
/** Envelopes that wait to be handed out; above it a stream is read no further. */
const HIGH = 10_000;
/** Above this a stream that cannot be held up is ended, and made anew later. */
const OVERRUN = 50_000;
/** Ms for which a channel that nobody wants any more is kept, in case that somebody does. */
const LINGER = 1_000;
/** Ms between marks that something was heard: often enough for all that is decided by it. */
const HEARD_EVERY = 100;

/** Who wants the messages of a channel. */
export interface Follower {
  readonly channel: string;
  /** The channel comes from here on: everything that is accepted after this call. */
  begin(): void;
  message(envelope: Envelope): void;
  gap(gap: Gap): void;
  fail(error: TidewireError): void;
}

/** What a connection asks for, beside channels. */
export interface Terms {
  readonly consumer?: string;
  readonly policy?: string;
  readonly device?: string;
  /** Where a consumer starts that is not known yet. */
  readonly since?: string;
}

export interface LinkOptions {
  readonly env: Environment;
  readonly http: Http;
  readonly memory: Memory;
  /** Best first; only those that are there. */
  readonly transports: readonly Transport[];
  readonly terms: Terms;
  readonly events: readonly string[];
  onState(state: MachineState): void;
  /** Something has moved on. */
  onMove(): void;
  /** The page may be gone in a moment. */
  onLeave(): void;
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

/** What waits to be handed out. */
interface Item {
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

/**
 * One connection and what is followed over it: drives the machine, carries out its effects, and
 * brings each message once and in order to its followers. All channels share one cursor, so when
 * others are wanted a connection that has them takes over from it.
 */
export class Link {
  readonly position = new Position();

  readonly #options: LinkOptions;
  readonly #env: Environment;
  readonly #machine: Machine;
  readonly #trials = new Map<number, Trial>();
  readonly #followers = new Map<string, Set<Follower>>();
  /** Channels of which all is known to come. */
  readonly #confirmed = new Set<string>();
  readonly #stopListening: () => void;
  #adopted: Trial | undefined;
  #session: string | undefined;
  #timer: unknown;
  #refresh: unknown;
  #lingering: unknown;
  #syncing = false;
  #events: MachineEvent[] = [];
  #stepping = false;
  #queue: Item[] = [];
  #head = 0;
  #draining = false;
  #room: (() => void)[] = [];
  /** The message before which some were missing: when they are missing again, they are lost. */
  #hole = "";

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#env = options.env;
    this.#machine = new Machine(options.transports, options.memory.winner, options.env.random);
    this.#stopListening = this.#env.listen((event) => this.#page(event));
  }

  /** What the server calls this client; until it has, a name of the client's own. */
  get session(): string {
    const part = () => this.#env.random().toString(36).slice(2);
    this.#session ??= `${part()}${part()}`;
    return this.#session;
  }

  // What is followed

  follow(follower: Follower): void {
    const { channel } = follower;
    const followers = this.#followers.get(channel) ?? new Set();
    this.#followers.set(channel, followers.add(follower));
    if (this.#confirmed.has(channel)) queueMicrotask(() => follower.begin());
    else this.#syncSoon();
  }

  unfollow(follower: Follower): void {
    const { channel } = follower;
    const followers = this.#followers.get(channel);
    if (!followers?.delete(follower) || followers.size) return;
    this.#lingering ??= this.#env.setTimeout(() => {
      this.#lingering = undefined;
      for (const [name, { size }] of this.#followers) if (!size) this.#drop(name);
      this.#syncSoon();
    }, LINGER);
  }

  close(): void {
    this.#stopListening();
    this.#step({ type: "stop" });
    this.#env.clearTimeout(this.#lingering);
  }

  #drop(channel: string): void {
    this.#followers.delete(channel);
    this.#confirmed.delete(channel);
    this.position.forget(channel);
  }

  /** Changes of one turn go together. */
  #syncSoon(): void {
    if (this.#syncing) return;
    this.#syncing = true;
    queueMicrotask(() => {
      this.#syncing = false;
      this.#sync();
    });
  }

  /** Makes the connection one that has the channels which are wanted. */
  #sync(): void {
    if (!this.#followers.size) {
      this.#step({ type: "stop" });
      // Whoever comes next has not been here before.
      this.position.cursor = this.#session = undefined;
      return;
    }
    const latest = [...this.#trials.values()].pop();
    const names = [...this.#followers.keys()];
    const channels = latest?.channels;
    if (
      channels &&
      (channels.size !== names.length || !names.every((name) => channels.has(name)))
    ) {
      this.#step({ type: "renew" });
    } else {
      this.#step({ type: "start" });
    }
  }

  /** The server wants no connection with these channels. */
  #refused({ message, code }: { message: string; code: string }, failed: boolean): void {
    const all = [...this.#followers.keys()];
    const fresh = all.filter((name) => !this.#confirmed.has(name));
    // It took the others before: without what is new it will again.
    const others = fresh.length < all.length;
    if (!failed && !(others && fresh.length)) return;
    const error = new TidewireError("refused", message, code);
    for (const name of others && fresh.length ? fresh : all) {
      const followers = this.#followers.get(name);
      this.#drop(name);
      for (const follower of followers ?? []) follower.fail(error);
    }
    if (this.#followers.size) this.#step({ type: failed ? "start" : "renew" });
  }

  // The machine

  #step(event: MachineEvent): void {
    this.#events.push(event);
    if (this.#stepping) return;
    this.#stepping = true;
    for (let next = this.#events.shift(); next; next = this.#events.shift()) {
      for (const effect of this.#machine.step(next, this.#env.now())) this.#do(effect);
    }
    this.#stepping = false;
    this.#env.clearTimeout(this.#timer);
    const wait = this.#machine.wakeAt - this.#env.now();
    if (wait < Number.POSITIVE_INFINITY) {
      const tick = () => this.#step({ type: "tick" });
      this.#timer = this.#env.setTimeout(tick, Math.max(Math.ceil(wait), 0));
    }
  }

  #do(effect: MachineEffect): void {
    switch (effect.type) {
      case "open":
        this.#open(effect.id, effect.transport);
        break;
      case "close":
        this.#close(this.#trials.get(effect.id));
        break;
      case "adopt":
        this.#adopt(this.#trials.get(effect.id)!);
        break;
      case "probe":
        this.#trials.get(effect.id)?.handle?.probe?.();
        break;
      case "remember":
        this.#options.memory.winner = effect.transport;
        break;
      case "state":
        this.#options.onState(effect.state);
        break;
      case "declined":
      case "fail":
        this.#refused(effect.failure, effect.type === "fail");
        break;
    }
  }

  #open(id: number, name: string): void {
    const { env, http, terms, events, transports } = this.#options;
    const transport = transports.find((one) => one.name === name)!;
    const channels = [...this.#followers.keys()];
    const trial: Trial = {
      id,
      transport,
      channels: new Set(channels),
      assembly: new Assembly(),
      heardAt: 0,
    };
    this.#trials.set(id, trial);
    trial.handle = transport.open(
      {
        env,
        http,
        query: () => this.#query(channels, transport),
        cursor: () => this.position.cursor,
        channels,
        consumer: terms.consumer,
        events,
      },
      {
        take: (envelopes, cursor) => this.#take(trial, envelopes, cursor),
        heard: () => this.#heard(trial),
        ended: (failure) => this.#ended(trial, failure),
      },
    );
  }

  #query(channels: readonly string[], { watch }: Transport): Query {
    const { since, ...terms } = this.#options.terms;
    const { cursor } = this.position;
    return Object.entries({
      channels: channels.join(),
      cursor,
      since: cursor ? "" : since,
      // Polls name one, too: by that they are known as the same client.
      session: watch === "own" ? this.session : this.#session,
      ...terms,
    }).filter((pair): pair is [string, string] => !!pair[1]);
  }

  #close(trial: Trial | undefined): void {
    if (!trial) return;
    this.#trials.delete(trial.id);
    trial.handle?.close();
    if (trial === this.#adopted) this.#letGo();
  }

  /** What the connection brought and was not handed out yet is brought again by the next. */
  #letGo(): void {
    this.#adopted = undefined;
    this.#queue = [];
    this.#head = 0;
    this.#makeRoom();
    this.#env.clearTimeout(this.#refresh);
  }

  #adopt(trial: Trial): void {
    this.#letGo();
    this.#adopted = trial;
    for (const name of trial.channels) {
      if (this.#confirmed.has(name)) continue;
      this.#confirmed.add(name);
      for (const follower of this.#followers.get(name) ?? []) follower.begin();
    }
    // Before its token ends a connection that shows the next one takes over.
    const due = this.#options.http.credentials.dueIn;
    if (due < 2 ** 31 && trial.transport.watch !== "own") {
      this.#refresh = this.#env.setTimeout(
        () => this.#step({ type: "renew" }),
        Math.max(due, 1_000),
      );
    }
    this.#syncSoon();
  }

  #page(event: PageEvent): void {
    if (event === "pagehide" || event === "hidden") this.#options.onLeave();
    if (event === "pagehide") return;
    if (event === "visible") this.#adopted?.handle?.wake?.();
    this.#step({ type: event });
  }

  // What comes

  #heard(trial: Trial): void {
    const now = this.#env.now();
    if (now - trial.heardAt < HEARD_EVERY) return;
    trial.heardAt = now;
    this.#step({ type: "heard", id: trial.id });
  }

  #ended(trial: Trial, failure: TidewireError): void {
    if (!this.#trials.has(trial.id)) return;
    // What came before the end is handed out before it.
    if (trial === this.#adopted && this.#head < this.#queue.length) this.#queue.push({ failure });
    else this.#finish(trial, failure);
  }

  #finish(trial: Trial, failure: TidewireError): void {
    this.#close(trial);
    this.#step({ type: "ended", id: trial.id, failure });
  }

  #take(trial: Trial, envelopes: readonly Envelope[], cursor?: string): Promise<void> | undefined {
    const polled = cursor !== undefined;
    const resets = new Set<unknown>();
    for (const part of envelopes) {
      if (!this.#trials.has(trial.id)) return undefined;
      let envelope: Envelope | undefined;
      try {
        envelope = trial.assembly.take(part);
      } catch (error) {
        this.#ended(trial, failureOf(error));
        return undefined;
      }
      if (!envelope) continue;
      if (!trial.ready) this.#readied(trial, envelope);
      if (trial !== this.#adopted) continue;
      if (polled && envelope.reason === "reset") resets.add(envelope.channel);
      this.#queue.push({ envelope, polled, free: resets.has(envelope.channel) });
    }
    if (trial !== this.#adopted) return undefined;
    if (cursor) this.#queue.push({ cursor });
    this.#drain();
    const waiting = this.#queue.length - this.#head;
    if (waiting < HIGH) return undefined;
    if (waiting > OVERRUN) {
      trial.handle?.close();
      this.#queue.push({
        failure: new TidewireError("later", "messages come faster than they are handled"),
      });
    }
    return new Promise((resolve) => this.#room.push(resolve));
  }

  #readied(trial: Trial, envelope: Envelope): void {
    if (envelope.type === "close") {
      this.#finish(trial, this.#closed(trial, envelope));
    } else if (envelope.type !== "ready") {
      this.#finish(trial, new TidewireError("alien", "a stream without ready"));
    } else {
      trial.ready = true;
      trial.token = this.#options.http.credentials.shown;
      const {
        id,
        session = this.#session,
        heartbeat = 0,
        timeout = 0,
      } = envelope as unknown as ReadyFields;
      // A stream that goes on from a cursor is not behind what another one has brought meanwhile.
      this.position.cursor ??= id;
      this.#session = session;
      this.#step({ type: "ready", id: trial.id, heartbeat, timeout });
    }
  }

  #makeRoom(): void {
    for (const resolve of this.#room.splice(0)) resolve();
  }

  /** Hands out what waits, with pauses in which the page does other things. */
  #drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    const end = this.#env.now() + SLICE;
    for (let count = 1; this.#head < this.#queue.length; count++) {
      if (count % 16 === 0 && this.#env.now() > end) {
        this.#env.defer(() => {
          this.#draining = false;
          this.#drain();
        });
        return;
      }
      this.#handle(this.#queue[this.#head++]!, this.#adopted!);
    }
    this.#queue = [];
    this.#head = 0;
    this.#draining = false;
    this.#makeRoom();
    this.#options.onMove();
  }

  #handle({ envelope, polled, free, cursor, failure }: Item, from: Trial): void {
    if (cursor) this.position.cursor = cursor;
    if (failure) this.#finish(from, failure);
    if (envelope?.type === "message") {
      this.#message(from, envelope, !polled, free);
    } else if (envelope?.type === "gap") {
      if (this.position.gap(envelope, !polled)) this.#tell(envelope as unknown as Gap);
    } else if (envelope?.type === "close") {
      this.#finish(from, this.#closed(from, envelope));
    }
  }

  #message(from: Trial, envelope: Envelope, moves: boolean, free: boolean | undefined): void {
    const { channel, seq, deliveries } = envelope as unknown as Numbered;
    // What a consumer is sent again has come before: it moves nothing.
    if (!(deliveries && deliveries > 1)) {
      const verdict = free ? "next" : this.position.judge(channel, seq);
      if (verdict === "again") return;
      if (verdict === "hole") {
        // They are asked for once more. If they do not come they are lost.
        const place = `${channel} ${seq}`;
        if (this.#hole !== place) {
          this.#hole = place;
          this.#finish(from, new TidewireError("cut", "a message is missing", "hole"));
          return;
        }
        const skipped = seq - this.position.seq(channel)! - 1;
        this.#tell({ channel, id: this.position.cursor!, reason: "lost", skipped });
      }
      this.position.passed(envelope, moves);
    }
    for (const follower of this.#followersOf(channel)) follower.message(envelope);
  }

  #tell(gap: Gap): void {
    for (const follower of this.#followersOf(gap.channel)) follower.gap(gap);
  }

  /** The user's own channels come under their names to who has asked for `@me`. */
  #followersOf(channel: string): Iterable<Follower> {
    return this.#followers.get(channel) ?? this.#followers.get("@me") ?? [];
  }

  #closed({ token }: Trial, { code, reason, retry }: Envelope): TidewireError {
    const end = closed(code as number, reason as string, retry as number | undefined);
    // Without a time after which to come back, the server does not want that.
    const failure = retry === undefined ? new TidewireError("refused", end.message, end.code) : end;
    return this.#options.http.credentials.after(failure, token);
  }
}

type ReadyFields = { id: string; session?: string; heartbeat?: number; timeout?: number };
type Numbered = { channel: string; seq: number; deliveries?: number };
