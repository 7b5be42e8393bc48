/**
 * One connection for all tabs of an origin. One of them, or a SharedWorker, is the host: it has the
 * connection. To the others it is a transport like any other, so that resuming, order, gaps and the
 * change to another host are what they are everywhere.
 */
import type { Query } from "./address.js";
import type { Envelope, Gap } from "./envelope.js";
import { type FailureKind, failureOf, refused, TidewireError } from "./errors.js";
import { type ClientOptions, FullClient } from "./full/client.js";
import type { Follower } from "./inbox.js";
import { poll } from "./transports/polling.js";
import type { Attempt, Context, Sink, Transport } from "./transports/transport.js";

/** Ms of quiet after which a tab asks its host for a sign of life, and those it has to answer. */
const HEARTBEAT = 10_000;
const TIMEOUT = 5_000;
/** Envelopes that are kept for a tab that is catching up. */
const KEPT = 10_000;

export interface ShareOptions extends ClientOptions {
  /**
   * Address of `tidewire.js` on the page's own origin, to be the SharedWorker that has the
   * connection. Without it one of the tabs has it.
   */
  readonly worker?: string | URL;
  /** Tabs with the same name share; give each user one of its own. */
  readonly name?: string;
}

/** From a tab to its host. */
interface Up {
  readonly from: string;
  readonly id: number;
  readonly open?: { readonly channels: readonly string[]; readonly cursor?: string };
  readonly close?: true;
  readonly ping?: true;
  /** For a worker, which knows nothing yet. */
  readonly host?: { readonly url: string; readonly token?: string };
}

/** From the host to a tab, or to all. */
interface Down {
  readonly to?: string;
  readonly id?: number;
  readonly take?: readonly Envelope[];
  /** They are those of an answer to a poll, and this is where it has come. */
  readonly cursor?: string;
  readonly ended?: { readonly kind: FailureKind; readonly message: string; readonly code: string };
  readonly pong?: true;
  /** There is another host: what was open is not. */
  readonly hello?: true;
}

interface Wire {
  post(message: Up | Down): void;
  onmessage: (message: never) => void;
  /** Connects anew, where the other end may be gone. */
  renew?(): void;
  close(): void;
}

/** A client that shares its connection with the other tabs of its origin, where tabs can. */
export function connectShared(url: string, options: ShareOptions = {}): FullClient {
  const { worker, name = "", ...rest } = options;
  const shared = `tidewire:${url}:${name}`;
  const wire =
    // A function cannot be given to a worker.
    (worker && !rest.getToken && workerWire(worker, shared)) ||
    (typeof BroadcastChannel !== "undefined" &&
      globalThis.navigator?.locks &&
      electedWire(shared, url, rest));
  if (!wire) return new FullClient(url, options);
  const transport = new TabTransport(wire, url, rest.token);
  return new FullClient(url, {
    ...rest,
    transports: [transport],
    own: rest.transports ?? STANDARD,
  });
}

const STANDARD = ["websocket", "sse", "longpoll", "poll"] as const;

/**
 * The host is a SharedWorker, for as long as a tab is there. It dies with the process in which the
 * browser has put it, which may be that of another tab; to connect anew then starts another one.
 */
function workerWire(address: string | URL, name: string): Wire | undefined {
  if (typeof SharedWorker === "undefined") return undefined;
  const connected = () => {
    const made = portWire(new SharedWorker(address, { name }).port);
    made.onmessage = (message) => wire.onmessage(message);
    return made;
  };
  const wire: Wire = {
    post: (message) => port.post(message),
    onmessage: () => {},
    renew: () => {
      port.close();
      port = connected();
    },
    close: () => port.close(),
  };
  let port = connected();
  return wire;
}

function portWire(port: MessagePort): Wire {
  const wire: Wire = {
    post: (message) => port.postMessage(message),
    onmessage: () => {},
    close: () => port.close(),
  };
  port.onmessage = ({ data }) => wire.onmessage(data as never);
  return wire;
}

function broadcastWire(name: string): Wire {
  const channel = new BroadcastChannel(name);
  const wire: Wire = {
    post: (message) => channel.postMessage(message),
    onmessage: () => {},
    close: () => channel.close(),
  };
  channel.onmessage = ({ data }) => wire.onmessage(data as never);
  return wire;
}

/** The host is the tab that holds a lock; when it goes, the next one gets it. */
function electedWire(name: string, url: string, options: ClientOptions): Wire {
  const abort = new AbortController();
  const candidate = { signal: abort.signal };
  navigator.locks
    .request(name, candidate, async () => {
      const down = broadcastWire(`${name}:up`);
      const up = broadcastWire(`${name}:down`);
      const host = new Host(new FullClient(url, options), (message) => up.post(message));
      down.onmessage = (message) => host.receive(message);
      up.post({ hello: true });
      await new Promise<void>((resolve) => abort.signal.addEventListener("abort", () => resolve()));
      host.close();
      down.close();
      up.close();
    })
    .catch(() => {}); // it was closed before it was its turn
  const up = broadcastWire(`${name}:up`);
  const down = broadcastWire(`${name}:down`);
  const wire: Wire = {
    post: (message) => up.post(message),
    onmessage: () => {},
    close: () => {
      abort.abort();
      up.close();
      down.close();
    },
  };
  down.onmessage = (message) => wire.onmessage(message);
  return wire;
}

// In a tab

interface Open {
  readonly sink: Sink;
  readonly request: Up;
  ready: boolean;
}

class TabTransport implements Transport {
  readonly name = "tabs";
  readonly watch = "ask";
  readonly #wire: Wire;
  readonly #from = `${Math.random().toString(36).slice(2)}${Date.now().toString(36)}`;
  readonly #host: Up["host"];
  readonly #open = new Map<number, Open>();
  #count = 0;
  /** Fulfilled when the host can see that this tab is there. */
  readonly #there: Promise<void>;
  #leave: () => void = () => {};
  /** The host owes a sign of life. */
  #asked = false;

  constructor(wire: Wire, url: string, token: string | undefined) {
    this.#wire = wire;
    this.#host = { url, token };
    wire.onmessage = (message) => this.#receive(message);
    // The host waits for this lock: it gets it when the tab is gone, however that was. So the tab
    // must have had it before the host knows its name.
    this.#there = new Promise((there) => {
      const { locks } = globalThis.navigator ?? {};
      const held = () => {
        there();
        return new Promise<void>((resolve) => {
          this.#leave = resolve;
        });
      };
      if (locks) locks.request(this.#from, held).catch(() => there());
      else there();
    });
  }

  isThere(): boolean {
    return true;
  }

  open({ channels, cursor }: Context, sink: Sink): Attempt {
    if (this.#asked) this.#wire.renew?.();
    const id = ++this.#count;
    const request = {
      from: this.#from,
      id,
      open: { channels, cursor: cursor() },
      host: this.#host,
    };
    this.#open.set(id, { sink, request, ready: false });
    this.#asked = true;
    void this.#there.then(() => this.#open.has(id) && this.#wire.post(request));
    return {
      close: () => {
        if (this.#open.delete(id)) this.#wire.post({ from: this.#from, id, close: true });
      },
      probe: () => {
        this.#asked = true;
        this.#wire.post({ from: this.#from, id, ping: true });
      },
    };
  }

  close(): void {
    this.#leave();
    this.#wire.close();
  }

  #receive({ to, id, take, cursor, ended, hello }: Down): void {
    if (hello) {
      for (const [key, open] of this.#open) {
        if (open.ready)
          this.#end(key, new TidewireError("cut", "another tab has the connection now"));
        else void this.#there.then(() => this.#open.has(key) && this.#wire.post(open.request));
      }
      return;
    }
    const open = to === this.#from ? this.#open.get(id!) : undefined;
    if (!open) return;
    open.ready = true;
    this.#asked = false;
    open.sink.heard();
    if (take) void open.sink.take(take, cursor);
    if (ended) this.#end(id!, new TidewireError(ended.kind, ended.message, ended.code));
  }

  #end(id: number, failure: TidewireError): void {
    const open = this.#open.get(id);
    this.#open.delete(id);
    open?.sink.ended(failure);
  }
}

// In the host

/** Serves tabs from one client. */
export class Host {
  readonly #client: FullClient;
  readonly #post: (message: Down) => void;
  readonly #feeds = new Map<string, Feed>();
  readonly #tabs = new Set<string>();

  constructor(client: FullClient, post: (message: Down) => void) {
    this.#client = client;
    this.#post = post;
    client.on("error", () => {}); // each tab is told of its own
  }

  receive({ from, id, open, close, ping }: Up): void {
    const key = `${from} ${id}`;
    const feed = this.#feeds.get(key);
    if (ping && feed) this.#post({ to: from, id, pong: true });
    if (close) this.#drop(key);
    if (!open || feed) return;
    this.#watch(from);
    const made = new Feed(this.#client, open.channels, open.cursor, (message) => {
      if (message.ended) this.#drop(key);
      this.#post({ to: from, id, ...message });
    });
    this.#feeds.set(key, made);
    made.begin();
  }

  close(): void {
    for (const key of this.#feeds.keys()) this.#drop(key);
    void this.#client.close();
  }

  #drop(key: string): void {
    this.#feeds.get(key)?.end();
    this.#feeds.delete(key);
  }

  /** Lets go of a tab's feeds when it is gone. */
  #watch(tab: string): void {
    if (this.#tabs.has(tab)) return;
    this.#tabs.add(tab);
    const gone = () => {
      this.#tabs.delete(tab);
      for (const key of this.#feeds.keys()) if (key.startsWith(`${tab} `)) this.#drop(key);
    };
    void globalThis.navigator?.locks?.request(tab, gone).catch(() => {});
  }
}

/** What one attempt of a tab gets: all after its cursor, in order, for all its channels together. */
class Feed {
  readonly #client: FullClient;
  readonly #channels: readonly string[];
  readonly #send: (message: Pick<Down, "take" | "cursor" | "ended">) => void;
  readonly #abort = new AbortController();
  readonly #seqs = new Map<string, number>();
  readonly #leave: (() => void)[] = [];
  #cursor: string | undefined;
  #missing: number;
  #kept: Envelope[] | undefined = [];
  #waiting: Envelope[] = [];

  constructor(
    client: FullClient,
    channels: readonly string[],
    cursor: string | undefined,
    send: (message: Pick<Down, "take" | "cursor" | "ended">) => void,
  ) {
    this.#client = client;
    this.#channels = channels;
    this.#cursor = cursor;
    this.#send = send;
    this.#missing = channels.length;
  }

  begin(): void {
    for (const channel of this.#channels) {
      const follower: Follower = {
        channel,
        begin: () => {
          if (--this.#missing === 0) void this.#start();
        },
        message: (envelope) => this.#live(envelope),
        gap: (gap: Gap) => this.#live(gap as unknown as Envelope),
        fail: ({ kind, message, code }) => this.#send({ ended: { kind, message, code } }),
      };
      const link = this.#client.main;
      link.follow(follower);
      this.#leave.push(() => link.unfollow(follower));
    }
  }

  end(): void {
    this.#abort.abort();
    for (const leave of this.#leave) leave();
  }

  async #start(): Promise<void> {
    const id = this.#cursor ?? this.#client.main.position.cursor;
    this.#send({ take: [{ type: "ready", id, heartbeat: HEARTBEAT, timeout: TIMEOUT }] });
    try {
      if (this.#cursor) await this.#catchUp();
    } catch (error) {
      const { kind, message, code } = failureOf(error);
      if (!this.#abort.signal.aborted) this.#send({ ended: { kind, message, code } });
      return;
    }
    const kept = this.#kept!;
    this.#kept = undefined;
    for (const envelope of kept) this.#live(envelope);
  }

  /** All channels in one poll, so that the order is that of the log. */
  async #catchUp(): Promise<void> {
    const { http, patience } = this.#client;
    const { signal } = this.#abort;
    for (let more: boolean | undefined = true; more; ) {
      const query = (): Query => [
        ["channels", this.#channels.join()],
        ["cursor", this.#cursor!],
        ["beside", this.#client.main.session],
      ];
      const answer = await patience.with(
        () => poll({ http, query }, "/poll", { signal }),
        undefined,
        signal,
      );
      for (const { channel, seq } of answer.messages) {
        if (typeof seq === "number") this.#seqs.set(channel!, seq);
      }
      const envelopes = [...answer.gaps, ...answer.messages];
      this.#cursor = answer.cursor ?? this.#cursor;
      if (signal.aborted) return;
      this.#send({ take: envelopes, cursor: this.#cursor });
      more = answer.more;
    }
  }

  #live(envelope: Envelope): void {
    if (this.#kept) {
      if (this.#kept.push(envelope) > KEPT) {
        const { kind, message, code } = new TidewireError("later", "too far behind");
        this.#send({ ended: { kind, message, code } });
      }
      return;
    }
    const seq = envelope.seq as number | undefined;
    if (seq !== undefined && seq <= (this.#seqs.get(envelope.channel!) ?? 0)) return;
    if (envelope.reason === "reset") this.#seqs.delete(envelope.channel!);
    // Those of one turn go together.
    if (this.#waiting.push(envelope) === 1) {
      queueMicrotask(() => {
        const take = this.#waiting;
        this.#waiting = [];
        this.#send({ take });
      });
    }
  }
}

/** Makes this SharedWorker the host of the tabs that connect to it. */
export function serveTabs(scope: { onconnect: ((event: MessageEvent) => void) | null }): void {
  let client: FullClient | undefined;
  scope.onconnect = ({ ports }) => {
    const wire = portWire(ports[0]!);
    let host: Host | undefined;
    wire.onmessage = (message: Up) => {
      const { host: given } = message;
      if (!given && !client) throw refused("a tab has to say which server");
      client ??= new FullClient(given!.url, { token: given!.token });
      host ??= new Host(client, (down) => wire.post(down));
      host.receive(message);
    };
  };
}
