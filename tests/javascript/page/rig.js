/** Clients in a page, driven by a test: `window.rig`. */

/** An environment whose clock goes so many times as fast, without a storage. */
function hasty(speed) {
  return {
    now: () => performance.now() * speed,
    setTimeout: (callback, ms) => setTimeout(callback, ms / speed),
    storage: undefined,
  };
}

/** An environment that tells what is waited for, in ms. */
function watched(waits) {
  return {
    setTimeout: (callback, ms) => {
      waits.push(ms);
      return setTimeout(callback, ms);
    },
  };
}

/** Notes a message where a reload of the page leaves it. */
function note(journal, message) {
  const all = JSON.parse(localStorage.getItem(journal) ?? "[]");
  localStorage.setItem(journal, JSON.stringify([...all, message]));
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
   * tabs; `journal` names an item of the storage in which messages are noted, too.
   */
  async start({ name, modules = "/client", url, channel, share, journal, ...settings }) {
    const { speed, random, ...options } = settings;
    const { connect } = await import(`${modules}/index.js`);
    const { connectShared } = await import(`${modules}/tabs.js`);
    const waits = [];
    const environment = speed ? hasty(speed) : watched(waits);
    if (random !== undefined) environment.random = () => random;
    const all = { ...options, environment };
    const client = share ? connectShared(url, { ...all, ...share }) : connect(url, all);
    const kept = { client, waits, got: [], gaps: [], errors: [], states: [] };
    this.clients.set(name, kept);
    client.on("gap", (gap) => kept.gaps.push(gap));
    client.on("error", (error) => kept.errors.push(String(error?.stack ?? error)));
    client.on("state", (state) => kept.states.push({ ...state, at: performance.now() }));
    client.subscribe(channel, (message) => {
      kept.got.push(plain(message));
      if (journal) note(journal, plain(message));
    });
  }

  state(name) {
    return this.clients.get(name).client.state;
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
