import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Connection, Lost, Refused } from "../../../src/tidewire/console/static/connection.js";
import { Feed } from "../../../src/tidewire/console/static/feed.js";

const envelope = (seq) => ({ type: "message", id: `e-${seq}`, channel: "c", seq, time: Date.now(), data: seq });

/** Never resolves; rejects when the link is cut, as a real transport does. */
const held = (link) =>
  new Promise((_, reject) => link.signal.addEventListener("abort", () => reject(link.signal.reason)));

/** A connection whose transport plays `script[0]`, then `script[1]` … and holds after the last. */
function connect(script, options = {}) {
  const links = [];
  let wake = () => {};
  const feed = new Feed({ cursor: "e-0", seq: 0 });
  const follow = async (link) => {
    links.push(link);
    wake();
    await script[links.length - 1]?.(link);
    await held(link);
  };
  const connection = new Connection({
    follow, channel: "a:b", base: "http://host/prefix/", feed, changed: () => wake(), ...options,
  });
  const until = async (condition) => {
    while (!condition()) await new Promise((resolve) => (wake = resolve));
  };
  return { connection, feed, links, until };
}

describe("Connection", () => {
  it("addresses endpoints relative to its base, with channel and cursor", () => {
    const { connection, feed, links } = connect([]);
    connection.restore();
    feed.moved("q-7");
    const url = links[0].url("longpoll", { wait: 30 });
    assert.equal(url.href, "http://host/prefix/longpoll?channels=a%3Ab&cursor=q-7&wait=30");
    connection.cut();
  });

  it("starts at the oldest message when it has no cursor yet", () => {
    const { connection, feed, links } = connect([]);
    feed.moved(null);
    connection.restore();
    assert.equal(links[0].url("poll").href, "http://host/prefix/poll?channels=a%3Ab&since=start");
    connection.cut();
  });

  it("connects once however often it is restored, and cuts once", () => {
    const { connection, links, feed } = connect([]);
    connection.restore();
    connection.restore();
    assert.equal(links.length, 1);
    connection.cut();
    connection.cut();
    assert.equal(feed.state, "cut");
  });

  it("tries again after a loss, from the newest cursor, when the server said", async () => {
    const lose = async (link) => {
      link.opened();
      link.message(envelope(1));
      throw new Lost("Closed: restart.", 5);
    };
    const { connection, feed, links, until } = connect([lose]);
    const began = Date.now();
    connection.restore();
    await until(() => links.length === 2);
    assert.ok(Date.now() - began >= 4);
    assert.equal(links[1].cursor, "e-1");
    assert.equal(feed.state, "connecting");
    connection.cut();
  });

  it("backs off by itself when the server said nothing", async () => {
    const states = [];
    const { connection, feed, links, until } = connect([
      async () => {
        throw new TypeError("network");
      },
    ]);
    connection.changed = ((before) => () => {
      states.push(feed.note(Date.now(), 0));
      before();
    })(connection.changed);
    const began = Date.now();
    connection.restore();
    await until(() => links.length === 2);
    assert.ok(Date.now() - began >= 249);
    assert.ok(states.includes("The server is away. Next try in 1 s."));
    connection.cut();
  });

  it("stops when it is refused, and may be restored by hand", async () => {
    const { connection, feed, links, until } = connect([
      async () => {
        throw new Refused("The server answered 401.");
      },
    ]);
    connection.restore();
    await until(() => feed.state === "stopped");
    assert.equal(feed.note(Date.now(), 0), "The server answered 401.");
    connection.restore();
    await until(() => links.length === 2);
    connection.cut();
  });

  it("takes nothing more from a connection that was cut", () => {
    const seen = [];
    const { connection, feed, links } = connect([], { saw: ({ id }) => seen.push(id) });
    connection.restore();
    const [old] = links;
    old.opened();
    old.message(envelope(1));
    connection.cut();
    old.message(envelope(2));
    old.opened();
    assert.equal(feed.state, "cut");
    connection.restore();
    old.message(envelope(2));
    assert.deepEqual(seen, ["e-1"]);
    assert.equal(links[1].cursor, "e-1");
    connection.cut();
  });

  it("does not wait for the back-off to end when it is cut and restored", async () => {
    const { connection, links, feed, until } = connect([
      async () => {
        throw new Lost("Closed: full.", 3_600_000);
      },
    ]);
    connection.restore();
    await until(() => feed.note(Date.now(), 0).startsWith("Closed: full."));
    connection.cut();
    connection.restore();
    await until(() => links.length === 2);
    connection.cut();
  });

  it("renews without showing a cut or a recovery", () => {
    const { connection, feed, links } = connect([]);
    connection.restore();
    links[0].opened();
    links[0].message(envelope(1));
    connection.renew();
    assert.equal(links.length, 2);
    assert.equal(links[0].signal.aborted, true);
    links[1].opened();
    assert.equal(feed.recovered, null);
    connection.cut();
    connection.renew();
    assert.equal(links.length, 2);
  });
});
