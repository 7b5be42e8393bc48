/** The two polling transports against a real HTTP server that plays a script. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { describe, it } from "node:test";

import { Connection } from "../../../src/tidewire/console/static/connection.js";
import { Feed } from "../../../src/tidewire/console/static/feed.js";
import { followLongPoll } from "../../../src/tidewire/console/static/longpoll.js";
import { followShortPoll } from "../../../src/tidewire/console/static/shortpoll.js";

const envelope = (seq) => ({ type: "message", id: `e-${seq}`, channel: "c", seq, time: Date.now(), data: seq });
const answer = (seqs, cursor, more = {}) => ({
  status: 200,
  body: { messages: seqs.map(envelope), cursor, hasNew: seqs.length > 0, recovered: true, gaps: [], ...more },
});

/**
 * Plays the answers, one a request, and cuts the connection when the request after the last one
 * comes. Returns the feed and the requests: {url, etag, at}.
 */
async function play(follow, answers) {
  const requests = [];
  const feed = new Feed({ cursor: "e-0", seq: 0 });
  const server = createServer((request, response) => {
    const step = answers[requests.length];
    requests.push({ url: request.url, etag: request.headers["if-none-match"], at: Date.now() });
    if (!step) {
      connection.cut();
      response.destroy();
      return;
    }
    response.writeHead(step.status, step.headers ?? {});
    response.end(step.body === undefined ? undefined : JSON.stringify(step.body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const base = `http://127.0.0.1:${server.address().port}/`;
  let ended;
  const cut = new Promise((resolve) => (ended = resolve));
  const changed = () => ["cut", "stopped"].includes(feed.state) && ended();
  const connection = new Connection({ follow, channel: "c", base, feed, changed });
  connection.restore();
  await cut;
  server.closeAllConnections();
  server.close();
  await once(server, "close");
  return { feed, requests };
}

describe("short polling", () => {
  it("obeys the interval that the server names, also after a 304", async () => {
    const { feed, requests } = await play(followShortPoll, [
      answer([], "e-0", { interval: 40 }),
      { status: 304 },
      answer([1], "e-1", { interval: 40 }),
    ]);
    const pauses = requests.slice(1).map(({ at }, i) => at - requests[i].at);
    assert.equal(pauses.length, 3);
    for (const ms of pauses) assert.ok(ms >= 39 && ms < 2000, `${ms} ms`);
    assert.equal(feed.requests, 4);
    assert.equal(feed.unchanged, 1);
    assert.equal(feed.received, 1);
  });

  it("sends a tag back only to the address it came from", async () => {
    const fast = { interval: 1 };
    const { requests } = await play(followShortPoll, [
      { ...answer([], "e-0", fast), headers: { ETag: '"one"' } },
      { status: 304, headers: { ETag: '"one"' } },
      { ...answer([1], "e-1", fast), headers: { ETag: '"two"' } },
      { ...answer([], "e-1", fast), headers: { ETag: '"two"' } },
    ]);
    assert.deepEqual(requests.map(({ etag }) => etag), [undefined, '"one"', '"one"', undefined, '"two"']);
    assert.deepEqual(
      requests.map(({ url }) => new URL(url, "http://x").searchParams.get("cursor")),
      ["e-0", "e-0", "e-0", "e-1", "e-1"],
    );
  });

  it("waits as long as Retry-After says", async () => {
    const { requests } = await play(followShortPoll, [
      { status: 429, headers: { "Retry-After": "1" }, body: { title: "too fast" } },
    ]);
    assert.ok(requests[1].at - requests[0].at >= 990);
  });
});

describe("long polling", () => {
  it("proves the way with a short request, then lets the server hold", async () => {
    const { feed, requests } = await play(followLongPoll, [
      { status: 204, headers: { "Tidewire-Cursor": "e-5" } },
      answer([6, 7], "e-7"),
    ]);
    const asked = requests.map(({ url }) => new URL(url, "http://x").searchParams);
    assert.deepEqual(asked.map((query) => query.get("wait")), ["1", "30", "30"]);
    assert.deepEqual(asked.map((query) => query.get("cursor")), ["e-0", "e-5", "e-7"]);
    assert.equal(feed.received, 2);
    assert.ok(feed.bytes > 0);
  });

  it("reports an announced gap before the messages that follow it", async () => {
    const gap = { channel: "c", reason: "expired", id: "e-9" };
    const { feed } = await play(followLongPoll, [answer([10, 11], "e-11", { gaps: [gap] })]);
    assert.deepEqual(feed.announced, [gap]);
    assert.equal(feed.sequence.gaps, 0);
    assert.equal(feed.cursor, "e-11");
  });

  it("asks again with the old cursor when an answer cannot be read", async () => {
    const { feed, requests } = await play(followLongPoll, [
      { status: 200, body: "half an ans" },
      answer([1], "e-1"),
    ]);
    assert.match(requests[1].url, /cursor=e-0/);
    assert.equal(feed.received, 1);
  });

  it("stops with the server's reason when it is refused", async () => {
    const { feed, requests } = await play(followLongPoll, [
      { status: 403, body: { title: "forbidden", detail: "not this channel" } },
    ]);
    assert.equal(feed.state, "stopped");
    assert.equal(feed.note(Date.now(), 0), "The server answered 403: not this channel");
    assert.equal(requests.length, 1);
  });
});
