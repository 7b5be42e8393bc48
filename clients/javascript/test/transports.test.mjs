import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { Credentials } from "../dist/credentials.js";
import { Http } from "../dist/http.js";
import { eventsource } from "../dist/transports/eventsource.js";
import { longpoll } from "../dist/transports/longpoll.js";
import { shortpoll } from "../dist/transports/shortpoll.js";
import { sse } from "../dist/transports/sse.js";
import { websocket } from "../dist/transports/websocket.js";
import { answer, message, settle, World } from "./world.mjs";

let world;
let requests;
let answers;
let taken;
let failures;
let heard;

class FakeSocket {
  static made = [];
  readyState = 0;
  sent = [];

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.made.push(this);
  }

  send(text) {
    this.sent.push(text);
  }

  close(code) {
    this.closedWith = code;
  }
}

class FakeSource {
  static made = [];

  constructor(url) {
    this.url = url;
    FakeSource.made.push(this);
  }

  close() {
    this.closed = true;
  }
}

beforeEach(() => {
  world = new World();
  requests = [];
  answers = [];
  taken = [];
  failures = [];
  heard = 0;
  FakeSocket.made = [];
  FakeSource.made = [];
});

/** Opens a transport whose requests get `answers`, one after the other. */
function open(transport, { credentials = {}, cursor, consumer, events = [] } = {}) {
  const env = world.environment({
    WebSocket: FakeSocket,
    EventSource: FakeSource,
    fetch: async (url, init) => {
      requests.push({ url, ...init });
      const next = answers.shift();
      if (next === undefined)
        return new Promise((_, reject) =>
          init.signal.addEventListener("abort", () => reject(init.signal.reason)),
        );
      if (next instanceof Error) throw next;
      return next;
    },
  });
  const http = new Http(env, "https://x.test/base", new Credentials(env, credentials));
  const place = { cursor };
  const context = {
    env,
    http,
    query: () => [["channels", "news"], ...(place.cursor ? [["cursor", place.cursor]] : [])],
    cursor: () => place.cursor,
    channels: ["news"],
    consumer,
    events,
  };
  const sink = {
    take: (envelopes, at) => {
      if (envelopes[0]?.type === "ready") place.cursor ??= envelopes[0].id;
      if (at) place.cursor = at;
      taken.push(...envelopes);
    },
    heard: () => heard++,
    ended: (failure) => failures.push(failure),
  };
  return Object.assign(transport.open(context, sink), { place });
}

const problem = (status, code, headers = {}) =>
  new Response(JSON.stringify({ code, detail: `it is ${code}` }), {
    status,
    headers: { "Content-Type": "application/problem+json", ...headers },
  });
const empty = (cursor, more = {}) => answer(200, { messages: [], gaps: [], cursor, ...more });

describe("WebSocket", () => {
  it("has channels and cursor in its address, and many envelopes in a frame", async () => {
    open(websocket, { cursor: "c7" });
    await settle();
    const [socket] = FakeSocket.made;
    assert.equal(socket.url, "wss://x.test/base/ws?channels=news&cursor=c7");
    assert.equal(socket.protocols, "tidewire.v1.json.batch");
    socket.onmessage({ data: JSON.stringify([{ type: "ready", id: "c7" }, message(8)]) });
    socket.onmessage({ data: JSON.stringify(message(9)) });
    assert.deepEqual(
      taken.map(({ type }) => type),
      ["ready", "message", "message"],
    );
    assert.equal(heard, 2);
  });

  it("a token is exchanged for a ticket, and never in the address", async () => {
    answers = [answer(200, { ticket: "t1", expires_in: 30 })];
    open(websocket, { credentials: { token: "secret" } });
    await settle();
    assert.equal(requests[0].headers.Authorization, "Bearer secret");
    assert.equal(FakeSocket.made[0].url, "wss://x.test/base/ws?ticket=t1&channels=news");
  });

  it("a blocked upgrade is told from a server that is away", async () => {
    answers = [answer(200, { transports: [] })];
    open(websocket);
    await settle();
    FakeSocket.made[0].onclose({ code: 1006, reason: "" });
    await settle();
    assert.equal(failures[0].code, "blocked");
  });

  it("a server that is away", async () => {
    answers = [new TypeError("Failed to fetch")];
    open(websocket);
    await settle();
    FakeSocket.made[0].onclose({ code: 1006, reason: "" });
    await settle();
    assert.deepEqual([failures[0].kind, failures[0].code], ["cut", "cut"]);
  });

  it("a handshake that was refused says why, though the browser does not", async () => {
    answers = [problem(403, "forbidden")];
    open(websocket);
    await settle();
    FakeSocket.made[0].onclose({ code: 1006, reason: "" });
    await settle();
    assert.deepEqual([failures[0].kind, failures[0].code], ["refused", "forbidden"]);
  });

  it("a server that is full says when to come back", async () => {
    answers = [problem(503, "unavailable", { "Retry-After": "7" })];
    open(websocket);
    await settle();
    FakeSocket.made[0].onclose({ code: 1006, reason: "" });
    await settle();
    assert.deepEqual([failures[0].kind, failures[0].retry], ["later", 7_000]);
  });

  it("a captive portal", async () => {
    answers = [answer(200, "<html>Welcome to the hotel</html>")];
    open(websocket);
    await settle();
    FakeSocket.made[0].onclose({ code: 1006, reason: "" });
    await settle();
    assert.equal(failures[0].kind, "alien");
  });

  for (const [code, kind] of [
    [1000, "cut"],
    [1001, "later"],
    [1002, "refused"],
    [1005, "cut"],
    [1006, "cut"],
    [1007, "refused"],
    [1009, "refused"],
    [1011, "later"],
    [1012, "later"],
    [1013, "later"],
    [4400, "refused"],
    [4401, "refused"],
    [4403, "refused"],
    [4408, "later"],
    [4409, "refused"],
    [4429, "later"],
  ]) {
    it(`closed with ${code} after ready: ${kind}`, async () => {
      open(websocket);
      await settle();
      const [socket] = FakeSocket.made;
      socket.onmessage({ data: '[{"type":"ready","id":"c0"}]' });
      socket.onclose({ code, reason: "so" });
      await settle();
      assert.equal(failures[0].kind, kind);
      assert.equal(requests.length, 0);
    });
  }

  it("a frame that is no envelope is somebody else's", async () => {
    open(websocket);
    await settle();
    FakeSocket.made[0].onmessage({ data: "hello" });
    assert.equal(failures[0].kind, "alien");
    assert.equal(FakeSocket.made[0].closedWith, 1000);
  });

  it("asks for a sign of life", async () => {
    const attempt = open(websocket);
    await settle();
    attempt.probe();
    FakeSocket.made[0].readyState = 1;
    attempt.probe();
    assert.deepEqual(FakeSocket.made[0].sent, ['{"type":"ping"}']);
  });

  it("closed before it was made, it is not made", async () => {
    answers = [answer(200, { ticket: "t1" })];
    open(websocket, { credentials: { token: "secret" } }).close();
    await settle();
    assert.equal(FakeSocket.made.length, 0);
    assert.deepEqual(failures, []);
  });
});

/** An event stream that the test writes. */
function stream(headers = { "Content-Type": "text/event-stream" }) {
  const { readable, writable } = new TransformStream();
  const writer = writable.getWriter();
  return {
    answer: new Response(readable, { headers }),
    write: (text) => writer.write(Buffer.from(text)),
    writer,
  };
}
const event = (envelope) => `data: ${JSON.stringify(envelope)}\n\n`;

describe("Server-Sent Events", () => {
  it("brings what is written, and hears heartbeats", async () => {
    const { answer, write } = stream();
    answers = [answer];
    open(sse, { credentials: { token: "secret" }, cursor: "c7" });
    await settle();
    write(event({ type: "ready", id: "c7" }) + event(message(8)));
    await settle();
    write(":\n");
    await settle();
    assert.deepEqual(
      taken.map(({ type }) => type),
      ["ready", "message"],
    );
    assert.equal(heard, 2);
    assert.equal(requests[0].url, "https://x.test/base/sse?channels=news&cursor=c7&fragments=true");
    assert.deepEqual(requests[0].headers, {
      Authorization: "Bearer secret",
      Accept: "text/event-stream",
    });
  });

  it("a stream that is cut, and the server's retry", async () => {
    const { answer, write, writer } = stream();
    answers = [answer];
    open(sse);
    write(`retry: 3000\n${event({ type: "ready", id: "c0" })}`);
    await settle();
    writer.close();
    await settle();
    assert.deepEqual([failures[0].kind, failures[0].retry], ["cut", 3_000]);
  });

  for (const [name, given, kind] of [
    ["a captive portal: HTML with 200", () => answer(200, "<html>Log in</html>"), "alien"],
    ["a proxy's page of errors", () => answer(502, "<html>Bad gateway</html>"), "alien"],
    ["a proxy's 403, which is not the server's", () => answer(403, "<html>No</html>"), "alien"],
    ["a proxy's 404", () => answer(404, "<html>Not found</html>"), "alien"],
    ["an address that an older server does not have", () => problem(404, "not_found"), "alien"],
    ["204: there is no stream", () => new Response(null, { status: 204 }), "refused"],
    ["no right", () => problem(403, "forbidden"), "refused"],
    ["a bad request", () => problem(400, "invalid_channel"), "refused"],
    ["a server that is full", () => problem(503, "unavailable", { "Retry-After": "2" }), "later"],
    ["a proxy that is full", () => answer(503, "<html>", { "Retry-After": "2" }), "later"],
    ["too many connections", () => answer(429, "<html>"), "later"],
    ["a time-out", () => problem(408, "timeout"), "later"],
    ["no network", () => new TypeError("Failed to fetch"), "cut"],
  ]) {
    it(`${name}: ${kind}`, async () => {
      answers = [given()];
      open(sse);
      await settle();
      assert.equal(failures[0].kind, kind);
    });
  }

  it("an answer that never begins is given up", async () => {
    open(sse);
    await world.pass(15_000);
    assert.equal(failures[0].kind, "silent");
  });

  it("closed, it ends its request and says nothing more", async () => {
    const { answer, write } = stream();
    answers = [answer];
    const attempt = open(sse);
    await settle();
    attempt.close();
    write(event({ type: "ready", id: "c0" })).catch(() => {});
    await settle();
    assert.deepEqual([taken, failures], [[], []]);
    assert.ok(requests[0].signal.aborted);
  });
});

describe("EventSource", () => {
  it("has the server name no events, so that it hears all", async () => {
    open(eventsource);
    await settle();
    const [source] = FakeSource.made;
    assert.match(source.url, /[?&]named=false(&|$)/);
    source.onmessage({ data: '{"type":"ready","id":"c0"}' });
    source.onmessage({ data: JSON.stringify(message(1, { event: "headline" })) });
    assert.deepEqual(
      taken.map(({ type }) => type),
      ["ready", "message"],
    );
  });

  it("an error ends it: it does not come back by itself", async () => {
    open(eventsource);
    await settle();
    FakeSource.made[0].onerror();
    assert.equal(failures[0].kind, "cut");
    assert.ok(FakeSource.made[0].closed);
  });
});

describe("long polling", () => {
  it("begins with an answer at once, so that its start is fixed and the server is known", async () => {
    answers = [empty("c5")];
    open(longpoll);
    await settle();
    assert.equal(requests[0].url, "https://x.test/base/poll?channels=news&fragments=true");
    assert.equal(
      requests[1].url,
      "https://x.test/base/longpoll?channels=news&cursor=c5&fragments=true&wait=30",
    );
    assert.deepEqual(taken, [{ type: "ready", id: "c5" }]);
  });

  it("goes on with the cursor of each answer, a 204 included", async () => {
    answers = [
      empty("c5"),
      answer(200, { messages: [message(6)], gaps: [], cursor: "c6" }),
      answer(204, null, { "Tidewire-Cursor": "c8" }),
    ];
    open(longpoll);
    await settle();
    assert.equal(taken.at(-1).seq, 6);
    assert.match(requests.at(-1).url, /cursor=c8/);
  });

  it("a request that is never answered is given up", async () => {
    answers = [empty("c5")];
    open(longpoll);
    await world.pass(44_999);
    assert.deepEqual(failures, []);
    await world.pass(1);
    assert.equal(failures[0].kind, "silent");
  });

  for (const [name, given] of [
    ["HTML with 200", () => answer(200, "<html>Log in</html>")],
    ["JSON that is another's", () => answer(200, { error: "log in" })],
    ["a 204 without a cursor", () => answer(204)],
  ]) {
    it(`${name} is somebody else's`, async () => {
      answers = [empty("c5"), given()];
      open(longpoll);
      await settle();
      assert.equal(failures[0].kind, "alien");
    });
  }

  it("what another transport has brought meanwhile is asked for from there", async () => {
    const attempt = open(longpoll, { cursor: "c5" });
    let reply;
    answers = [];
    // The answer to the first request is on its way while the position moves.
    await settle();
    attempt.close();
    requests = [];
    answers = [
      new Promise((resolve) => {
        reply = resolve;
      }),
      empty("c9"),
    ];
    const second = open(longpoll, { cursor: "c5" });
    await settle();
    second.place.cursor = "c7";
    reply(answer(200, { messages: [message(6)], gaps: [], cursor: "c6" }));
    await settle();
    assert.equal(taken.filter(({ type }) => type === "message").length, 0);
    assert.match(requests[1].url, /cursor=c7/);
  });
});

describe("short polling", () => {
  it("comes at the interval that the server tells", async () => {
    answers = [empty("c5", { interval: 5_000 }), empty("c5", { interval: 5_000 })];
    open(shortpoll);
    await world.pass(4_999);
    assert.equal(requests.length, 1);
    await world.pass(1);
    assert.equal(requests.length, 2);
  });

  it("at once when there is more", async () => {
    answers = [
      answer(200, { messages: [message(1)], gaps: [], cursor: "c1", more: true }),
      empty("c1"),
    ];
    open(shortpoll);
    await settle();
    await world.pass(0);
    assert.equal(requests.length, 2);
  });

  it("sends the tag of the last answer, and 304 costs nothing", async () => {
    answers = [
      answer(200, { messages: [], gaps: [], cursor: "c5", interval: 3_000 }, { ETag: '"a"' }),
      answer(304, null, { ETag: '"a"' }),
      answer(200, { messages: [message(6)], gaps: [], cursor: "c6" }, { ETag: '"b"' }),
    ];
    open(shortpoll);
    await world.pass(6_000);
    assert.deepEqual(
      requests.map(({ headers }) => headers["If-None-Match"]),
      [undefined, '"a"', '"a"'],
    );
    assert.equal(taken.at(-1).seq, 6);
    assert.deepEqual(failures, []);
  });

  it("a consumer sends no tag: what it has not acknowledged may come again", async () => {
    answers = [answer(200, { messages: [], gaps: [], cursor: "c5" }, { ETag: '"a"' }), empty("c5")];
    open(shortpoll, { consumer: "ann" });
    await world.pass(3_000);
    assert.equal(requests[1].headers["If-None-Match"], undefined);
  });

  it("a hidden page polls every 30 s, and at once when it is seen again", async () => {
    world.isHidden = true;
    answers = [empty("c5", { interval: 3_000 }), empty("c5", { interval: 3_000 }), empty("c5")];
    const attempt = open(shortpoll);
    await world.pass(29_999);
    assert.equal(requests.length, 1);
    await world.pass(1);
    assert.equal(requests.length, 2);
    world.isHidden = false;
    attempt.wake();
    await settle();
    assert.equal(requests.length, 3);
  });

  it("429 in the middle is waited for, and ends nothing", async () => {
    answers = [empty("c5"), problem(429, "too_many_requests", { "Retry-After": "4" }), empty("c5")];
    open(shortpoll);
    await world.pass(3_000);
    await world.pass(3_999);
    assert.equal(requests.length, 2);
    await world.pass(1);
    assert.equal(requests.length, 3);
    assert.deepEqual(failures, []);
  });

  it("closed, it leaves no timer", async () => {
    answers = [empty("c5")];
    const attempt = open(shortpoll);
    await settle();
    attempt.close();
    await settle();
    assert.equal(world.timers, 0);
  });
});
