/** Clients in a page, driven by a test: `window.rig`. */

/** An environment whose clock goes so many times as fast, without a storage of its own. */
function hasty(speed) {
  return {
    now: () => performance.now() * speed,
    setTimeout: (callback, ms) => setTimeout(callback, ms / speed),
    storage: undefined,
  };
}

/** A message as JSON, in the form of an envelope. */
function plain({ data, ack, nack, ...message }) {
  if (!(data instanceof Uint8Array)) return { ...message, data };
  return { ...message, data: btoa(String.fromCharCode(...data)), encoding: "base64" };
}

class Rig {
  clients = new Map();

  /**
   * Starts a client called `name` from the modules at `modules`. `speed` is that of its clock;
   * `share` has it share its connection with other tabs.
   */
  async start({ name, modules = "/client", url, channel, speed = 0, share, since, ...options }) {
    const { connect } = await import(`${modules}/index.js`);
    const { connectShared } = await import(`${modules}/tabs.js`);
    const all = speed ? { ...options, environment: hasty(speed) } : options;
    const client = share ? connectShared(url, { ...all, ...share }) : connect(url, all);
    const kept = { client, got: [], gaps: [], errors: [], states: [] };
    this.clients.set(name, kept);
    client.on("gap", (gap) => kept.gaps.push(gap));
    client.on("error", (error) => kept.errors.push(String(error?.stack ?? error)));
    client.on("state", (state) => kept.states.push({ ...state, at: performance.now() }));
    const take = (message) => kept.got.push(plain(message));
    const subscription = client.subscribe(channel, take, since ? { since } : {});
    await subscription.ready;
  }

  /** Starts all; they are ready when this ends. */
  async startAll(all) {
    await Promise.all(all.map((one) => this.start(one)));
  }

  /** How many messages each client has. */
  counts() {
    return Object.fromEntries([...this.clients].map(([name, { got }]) => [name, got.length]));
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
