/** Tabs of one origin, played by clients of one process with locks of their own. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { connectShared, serveTabs } from "../dist/tabs.js";
import { startServer, until } from "./server.mjs";

/** Web Locks, as far as they are used: one holder a name, and a queue. */
class Locks {
  #queues = new Map();

  async request(name, ...rest) {
    const [{ signal } = {}, callback] = rest.length > 1 ? rest : [{}, rest[0]];
    const before = this.#queues.get(name) ?? Promise.resolve();
    let release;
    this.#queues.set(
      name,
      before.then(
        () =>
          new Promise((resolve) => {
            release = resolve;
          }),
      ),
    );
    await before;
    try {
      if (signal?.aborted) throw signal.reason;
      return await callback();
    } finally {
      release();
    }
  }
}

/** BroadcastChannel, in order and with copies. */
class Channel {
  static all = new Set();
  onmessage = null;

  constructor(name) {
    this.name = name;
    Channel.all.add(this);
  }

  postMessage(message) {
    const data = structuredClone(message);
    for (const other of Channel.all) {
      if (other !== this && other.name === this.name)
        setImmediate(() => other.onmessage?.({ data }));
    }
  }

  close() {
    this.onmessage = null;
    Channel.all.delete(this);
  }
}

let server;
let count = 0;
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

before(async () => {
  server = await startServer();
});
after(() => server.stop());
beforeEach(() => {
  Object.defineProperty(globalThis, "navigator", {
    value: { locks: new Locks() },
    configurable: true,
  });
  globalThis.BroadcastChannel = Channel;
});

function tab(name = `shared-${count}`, options = {}) {
  const client = connectShared(server.url, {
    environment: { storage: undefined },
    name,
    ...options,
  });
  client.on("error", () => {});
  return client;
}

/** How many streams the server has. */
async function streams() {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return [
    ...text.matchAll(/^tidewire_connections\{transport="(?:websocket|sse)"\} (\d+)/gm),
  ].reduce((sum, [, n]) => sum + Number(n), 0);
}

describe("tabs of one origin", () => {
  it("share one connection, and each gets its own channels", async () => {
    const name = `tabs-${++count}`;
    const [first, second, third] = [tab(name), tab(name), tab(name)];
    const [a, b, c] = [[], [], []];
    await first.subscribe(`${name}:a`, ({ data }) => a.push(data)).ready;
    await second.subscribe(`${name}:a`, ({ data }) => b.push(data)).ready;
    await third.subscribe(`${name}:b`, ({ data }) => c.push(data)).ready;
    assert.equal(first.state.transport, "tabs");
    await until(async () => (await streams()) === 1, "one stream");
    await server.publish(`${name}:a`, ...numbers(1, 300));
    await server.publish(`${name}:b`, "x");
    await until(() => a.length >= 300 && b.length >= 300 && c.length >= 1);
    assert.deepEqual([a, b, c], [numbers(1, 300), numbers(1, 300), ["x"]]);
    for (const one of [first, second, third]) await one.close();
    await until(async () => (await streams()) === 0, "no stream");
  });

  it("when the one that has the connection goes, another takes over and nothing is missed", async () => {
    const name = `tabs-${++count}`;
    const [first, second, third] = [tab(name), tab(name), tab(name)];
    const [b, c] = [[], []];
    await first.subscribe(name, () => {}).ready;
    await second.subscribe(name, ({ data }) => b.push(data)).ready;
    await third.subscribe(name, ({ data }) => c.push(data)).ready;
    let closing;
    for (const data of numbers(1, 100)) {
      await server.publish(name, data);
      if (data === 50) closing = first.close();
    }
    await closing;
    await until(() => b.length >= 100 && c.length >= 100);
    assert.deepEqual([b, c], [numbers(1, 100), numbers(1, 100)]);
    assert.equal(await streams(), 1);
    await second.close();
    await server.publish(name, 101);
    await until(() => c.length >= 101);
    assert.deepEqual(c, numbers(1, 101));
    await third.close();
  });

  it("one that comes later begins in the past, without a loss or a duplicate", async () => {
    const name = `tabs-${++count}`;
    await server.publish(name, ...numbers(1, 400));
    const [first, second] = [tab(name), tab(name)];
    await first.subscribe(name, () => {}).ready;
    const got = [];
    second.subscribe(name, ({ data }) => got.push(data), { since: "start" });
    await server.publish(name, ...numbers(401, 450));
    await until(() => got.length >= 450);
    assert.deepEqual(got, numbers(1, 450));
    await first.close();
    await second.close();
  });

  it("a channel that is refused is refused to the tab that wants it", async () => {
    const name = `tabs-${++count}`;
    const [first, second] = [tab(name), tab(name)];
    const got = [];
    await first.subscribe(name, ({ data }) => got.push(data)).ready;
    await assert.rejects(second.subscribe("no channel!", () => {}).ready, {
      code: "invalid_channel",
    });
    await server.publish(name, 1);
    await until(() => got.length >= 1);
    await first.close();
    await second.close();
  });

  it("a tab that gets its lock late is not taken for gone", async () => {
    const [locks, asked] = [new Locks(), new Set()];
    const request = async (name, ...rest) => {
      const first = !asked.has(name);
      asked.add(name);
      if (first) await new Promise((resolve) => setTimeout(resolve, 20));
      return locks.request(name, ...rest);
    };
    Object.defineProperty(globalThis, "navigator", {
      value: { locks: { request } },
      configurable: true,
    });
    const name = `tabs-${++count}`;
    const [first, second] = [tab(name), tab(name)];
    const [a, b, lost] = [[], [], []];
    for (const one of [first, second]) {
      one.on("state", (state) => state.status === "waiting" && lost.push(state));
    }
    await first.subscribe(name, ({ data }) => a.push(data)).ready;
    await second.subscribe(name, ({ data }) => b.push(data)).ready;
    await new Promise((resolve) => setTimeout(resolve, 50));
    await server.publish(name, ...numbers(1, 10));
    await until(() => a.length >= 10 && b.length >= 10);
    assert.deepEqual(lost, []);
    await first.close();
    await second.close();
  });

  it("where there are no locks each has its own connection", async () => {
    Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
    const one = tab();
    await one.subscribe("alone", () => {}).ready;
    assert.equal(one.state.transport, "websocket");
    await one.close();
  });

  it("a SharedWorker has the connection where its script is given", async () => {
    const scope = { onconnect: null };
    serveTabs(scope);
    globalThis.SharedWorker = class {
      constructor() {
        const { port1, port2 } = new MessageChannel();
        this.port = port1;
        scope.onconnect({ ports: [port2] });
      }
    };
    try {
      const name = `tabs-${++count}`;
      const [first, second] = [
        tab(name, { worker: "/tidewire.js" }),
        tab(name, { worker: "/tidewire.js" }),
      ];
      const [a, b] = [[], []];
      await first.subscribe(name, ({ data }) => a.push(data)).ready;
      await second.subscribe(name, ({ data }) => b.push(data)).ready;
      assert.equal(await streams(), 1);
      await server.publish(name, ...numbers(1, 50));
      await until(() => a.length >= 50 && b.length >= 50);
      await first.close();
      await server.publish(name, 51);
      await until(() => b.length >= 51);
      assert.deepEqual(b, numbers(1, 51));
      await second.close();
    } finally {
      delete globalThis.SharedWorker;
    }
  });
});
