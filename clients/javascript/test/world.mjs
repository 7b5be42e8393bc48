/** An environment with a clock, a storage and events of its own, and transports that do as they are told. */

export class World {
  time = 0;
  storage = new Map();
  isHidden = false;
  #timers = new Map();
  #count = 0;
  #listeners = new Set();

  environment(more = {}) {
    return {
      now: () => this.time,
      wall: () => 1_795_392_000_000 + this.time,
      random: () => 0.5,
      setTimeout: (callback, ms = 0) => {
        this.#timers.set(++this.#count, { callback, at: this.time + ms });
        return this.#count;
      },
      clearTimeout: (timer) => this.#timers.delete(timer),
      defer: (callback) => setImmediate(callback),
      storage: {
        getItem: (key) => this.storage.get(key) ?? null,
        setItem: (key, value) => this.storage.set(key, value),
        removeItem: (key) => this.storage.delete(key),
      },
      hidden: () => this.isHidden,
      network: () => "wifi",
      listen: (callback) => {
        this.#listeners.add(callback);
        return () => this.#listeners.delete(callback);
      },
      fetch: () => Promise.reject(new TypeError("no network")),
      ...more,
    };
  }

  get timers() {
    return this.#timers.size;
  }

  get listeners() {
    return this.#listeners.size;
  }

  /** The page is told. */
  tell(event) {
    for (const callback of this.#listeners) callback(event);
  }

  /** Lets time pass, and everything happen that is due meanwhile. */
  async pass(ms) {
    const end = this.time + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end);
      if (due.length === 0) break;
      const [id, { callback, at }] = due.reduce((a, b) => (b[1].at < a[1].at ? b : a));
      this.#timers.delete(id);
      this.time = Math.max(this.time, at);
      callback();
      await settle();
    }
    this.time = end;
  }
}

/** Ends when everything that can happen without time has happened. */
export async function settle() {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** A transport whose attempts are written down, to be played by the test. */
export class Scripted {
  attempts = [];

  constructor(name, watch = "listen") {
    this.name = name;
    this.watch = watch;
  }

  isThere() {
    return true;
  }

  open(context, sink) {
    const attempt = new ScriptedAttempt(context, sink);
    this.attempts.push(attempt);
    return attempt;
  }

  get last() {
    return this.attempts.at(-1);
  }
}

class ScriptedAttempt {
  closed = false;
  woken = 0;

  constructor(context, sink) {
    this.sink = sink;
    this.query = Object.fromEntries(context.query());
  }

  close() {
    this.closed = true;
  }

  wake() {
    this.woken++;
  }

  take(...envelopes) {
    return this.sink.take(envelopes);
  }

  ready(id = "c0", more = {}) {
    return this.take({ type: "ready", id, heartbeat: 0, session: "s", ...more });
  }
}

/** A message whose id is its place in the log. */
export function message(seq, { channel = "news", id = `c${seq}`, ...more } = {}) {
  return { type: "message", id, channel, seq, time: 0, data: seq, ...more };
}

/** An answer as `fetch` gives it. */
export function answer(status, body, headers = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const type = typeof body === "string" ? "text/html" : "application/json";
  return new Response(status === 204 || status === 304 ? null : text, {
    status,
    headers: { "Content-Type": type, ...headers },
  });
}
