/** Clients in a page, driven by a test: `window.rig`. */

/** An environment whose clock goes `speed` times as fast, and that tells in ms what is waited for. */
class Timed {
  waits = [];
  #speed;
  #ahead = 0;

  constructor(speed) {
    this.#speed = speed;
  }

  now = () => performance.now() * this.#speed + this.#ahead;

  setTimeout = (callback, ms) => {
    this.waits.push(ms);
    return setTimeout(callback, ms / this.#speed);
  };

  /** Sets the clock forward. Timers go on as they were begun, as those of requests must. */
  skip(ms) {
    this.#ahead += ms;
  }
}

/** Notes a message where a reload of the page leaves it: each by itself, however many there are. */
function note(journal, message) {
  const count = Number(localStorage.getItem(journal) ?? 0);
  localStorage.setItem(`${journal} ${count}`, JSON.stringify(message));
  localStorage.setItem(journal, count + 1);
}

/** A message as JSON, in the form of an envelope. */
function plain({ data, ack, nack, ...message }) {
  if (!(data instanceof Uint8Array)) return { ...message, data };
  return { ...message, data: btoa(String.fromCharCode(...data)), encoding: "base64" };
}

class Rig {
  clients = new Map();

  /**
   * Starts a client called `name` from the modules at `modules`. `speed` is that of its clock,
   * `random` all that it gets as random numbers; `share` has it share its connection with other
   * tabs; `journal` names items of the storage in which messages are noted, too.
   */
  async start({ name, modules = "/client", url, channel, share, journal, ...settings }) {
    const { speed = 1, random, ...options } = settings;
    const { connect } = await import(`${modules}/index.js`);
    const { connectShared } = await import(`${modules}/tabs.js`);
    const environment = new Timed(speed);
    if (random !== undefined) environment.random = () => random;
    const all = { ...options, environment };
    const client = share ? connectShared(url, { ...all, ...share }) : connect(url, all);
    const kept = { client, environment, got: [], gaps: [], errors: [], states: [] };
    this.clients.set(name, kept);
    client.on("gap", (gap) => kept.gaps.push(gap));
    client.on("error", (error) => kept.errors.push(String(error?.stack ?? error)));
    client.on("state", (state) => kept.states.push({ ...state, at: environment.now() }));
    client.subscribe(channel, (message) => {
      kept.got.push(plain(message));
      if (journal) note(journal, plain(message));
    });
  }

  state(name) {
    return this.clients.get(name).client.state;
  }

  /** Sets a client's clock forward, and has it look at it, as it does at any event of the page. */
  skip(name, ms) {
    this.clients.get(name).environment.skip(ms);
    dispatchEvent(new Event("offline"));
  }

  /** What a client has waited for since it was asked last, in ms. */
  waits(name) {
    return this.clients.get(name).environment.waits.splice(0);
  }

  /** What was noted in a journal, by this page and by those before it. */
  noted(journal) {
    const length = Number(localStorage.getItem(journal));
    return Array.from({ length }, (_, i) => JSON.parse(localStorage.getItem(`${journal} ${i}`)));
  }

  /** All that a client has seen. */
  seen(name) {
    const { got, gaps, errors, states } = this.clients.get(name);
    return { got, gaps, errors, states };
  }

  allSeen() {
    return Object.fromEntries([...this.clients.keys()].map((name) => [name, this.seen(name)]));
  }

  async close() {
    await Promise.all([...this.clients.values()].map(({ client }) => client.close()));
    this.clients.clear();
  }
}

window.rig = new Rig();
