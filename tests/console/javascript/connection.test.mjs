import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Connection } from "../../../src/tidewire/console/static/connection.js";
import { Credential } from "../../../src/tidewire/console/static/credential.js";
import { Feed } from "../../../src/tidewire/console/static/feed.js";
import { metered } from "../../../src/tidewire/console/static/traffic.js";

const message = (seq) => ({ id: `e-${seq}`, channel: "c", seq, time: Date.now(), data: seq });

/** A client that does what the test says. */
class FakeClient {
  listeners = {};
  closed = false;

  constructor(url, options) {
    Object.assign(this, { url, options });
  }

  on(name, callback) {
    this.listeners[name] = callback;
  }

  subscribe(channel, handler, start) {
    Object.assign(this, { channel, handler, start });
  }

  async close() {
    this.closed = true;
  }

  state(status, more = {}) {
    this.listeners.state({ status, ...more });
  }
}

function connection(options = {}) {
  const clients = [];
  const feed = new Feed({ cursor: "e-0", seq: 0 });
  const connect = (url, given) => {
    clients.push(new FakeClient(url, given));
    return clients.at(-1);
  };
  const made = new Connection({
    transport: "sse", channel: "a:b", base: "http://host/prefix/", feed,
    credential: new Credential(), connect, ...options,
  });
  return { connection: made, feed, clients };
}

describe("Connection", () => {
  it("is a client that may use one transport, from the cursor on", () => {
    const { connection: one, clients } = connection();
    one.restore();
    const [{ url, options, channel, start }] = clients;
    assert.deepEqual([url, options.transports, channel, start], [
      "http://host/prefix/", ["sse"], "a:b", { cursor: "e-0" },
    ]);
    assert.equal(options.token, undefined);
  });

  it("starts at the oldest message when it has no cursor yet", () => {
    const { connection: one, feed, clients } = connection();
    feed.moved(null);
    one.restore();
    assert.deepEqual(clients[0].start, { since: "start" });
  });

  it("shows who the page is", () => {
    const credential = new Credential();
    credential.replace("a-key");
    const { connection: one, clients } = connection({ credential });
    one.restore();
    assert.equal(clients[0].options.token, "a-key");
  });

  it("connects once however often it is restored, and cuts once", () => {
    const { connection: one, feed, clients } = connection();
    one.restore();
    one.restore();
    assert.equal(clients.length, 1);
    one.cut();
    one.cut();
    assert.equal(feed.state, "cut");
    assert.ok(clients[0].closed);
  });

  it("says what its client does", () => {
    const { connection: one, feed, clients } = connection();
    one.restore();
    const [client] = clients;
    client.state("connecting");
    assert.equal(feed.state, "connecting");
    client.state("live");
    assert.equal(feed.state, "catching-up");
    client.handler(message(1));
    client.state("waiting", { reason: "Failed to fetch", retryIn: 900 });
    assert.equal(feed.note(Date.now(), 0), "The server is away. Next try in 1 s.");
    client.state("waiting", { reason: "closed: 1012 restart", retryIn: 900 });
    assert.equal(feed.note(Date.now(), 0), "The server has closed the stream. Next try in 1 s.");
    client.state("live");
    assert.equal(feed.recovered, 0);
    client.listeners.gap({ id: "e-9", channel: "a:b", reason: "expired" });
    assert.equal(feed.announced.length, 1);
  });

  it("stops when it is refused, and may be restored by hand", () => {
    const refusals = [];
    const { connection: one, feed, clients } = connection({ refused: (error) => refusals.push(error) });
    one.restore();
    clients[0].listeners.error(Object.assign(new Error("no token"), { final: true, code: "no_credentials" }));
    assert.equal(feed.state, "stopped");
    assert.equal(feed.note(Date.now(), 0), "no token");
    assert.ok(refusals[0].asksWho && !refusals[0].forbids);
    one.restore();
    assert.equal(clients.length, 2);
  });

  it("takes nothing more from a client that was cut, and resumes after the last message", () => {
    const seen = [];
    const { connection: one, feed, clients } = connection({ saw: ({ id }) => seen.push(id) });
    one.restore();
    const [old] = clients;
    old.state("live");
    old.handler(message(1));
    one.cut();
    old.handler(message(2));
    old.state("live");
    assert.equal(feed.state, "cut");
    one.restore();
    old.handler(message(2));
    assert.deepEqual(seen, ["e-1"]);
    assert.deepEqual(clients[1].start, { cursor: "e-1" });
  });
});

describe("Traffic", () => {
  const counted = async (transport, answers) => {
    const feed = new Feed({ cursor: null });
    const { fetch } = metered(transport, (what) => what(feed));
    const browserFetch = globalThis.fetch;
    globalThis.fetch = async () => answers.shift();
    try {
      for (const path of ["poll", "poll", "tickets"].slice(0, answers.length)) {
        await (await fetch(`http://host/prefix/${path}`)).text();
      }
    } finally {
      globalThis.fetch = browserFetch;
    }
    return feed;
  };

  it("counts the polls of a poller, their bytes, and answers without news", async () => {
    const headers = { "Tidewire-Poll-Interval": "3" };
    const feed = await counted("poll", [
      new Response("häh", { headers }),
      new Response(null, { status: 304, headers }),
      new Response("ticket"),
    ]);
    assert.deepEqual([feed.requests, feed.bytes, feed.unchanged], [2, 4, 1]);
    feed.opened(0, 0);
    feed.tick(1_000);
    assert.match(feed.note(Date.now(), 0), /^Next poll in/);
  });

  it("does not count what a stream asks for beside itself", async () => {
    const feed = await counted("sse", [new Response("past"), new Response("more")]);
    assert.deepEqual([feed.requests, feed.bytes], [0, 0]);
  });
});
