/** The client on a real server, over each of its transports. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import vm from "node:vm";
import { connect } from "../dist/index.js";
import { upload } from "../dist/upload.js";
import { startServer, until } from "./server.mjs";
import { settle } from "./world.mjs";

const TRANSPORTS = ["websocket", "sse", "longpoll", "poll"];
/** What an `EventSource` would do is tried in a browser; a WebSocket is there, or switched on by a flag. */
const environment = { storage: undefined };

let server;
let count = 0;
before(async () => {
  server = await startServer({ "poll-interval": 0.1 });
});
after(() => server.stop());

const fresh = () => `test:${++count}`;
const open = (options = {}, url = server.url) => connect(url, { environment, ...options });
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

for (const transport of TRANSPORTS) {
  describe(`over ${transport}`, () => {
    it("brings what is published, once and in order", async () => {
      const [channel, got] = [fresh(), []];
      const client = open({ transports: [transport] });
      const subscription = client.subscribe(channel, ({ data }) => got.push(data));
      await subscription.ready;
      assert.deepEqual(client.state, { status: "live", transport });
      await server.publish(channel, ...numbers(1, 500));
      await server.publish(channel, ...numbers(501, 1_000));
      await until(() => got.length >= 1_000);
      assert.deepEqual(got, numbers(1, 1_000));
      await client.close();
    });

    it("goes on where another client left", async () => {
      const [channel, got] = [fresh(), []];
      const [, , third] = await server.publish(channel, ...numbers(1, 6));
      const client = open({ transports: [transport] });
      client.subscribe(channel, ({ data }) => got.push(data), { cursor: third.id });
      await until(() => got.length >= 3);
      await server.publish(channel, 7);
      await until(() => got.length >= 4);
      assert.deepEqual(got, numbers(4, 7));
      await client.close();
    });

    it("begins in the past", async () => {
      const [channel, got, all] = [fresh(), [], []];
      await server.publish(channel, ...numbers(1, 600));
      const client = open({ transports: [transport] });
      client.subscribe(channel, ({ data }) => got.push(data), { since: -3 });
      client.subscribe(channel, ({ data }) => all.push(data), { since: "start" });
      await until(() => got.length >= 3 && all.length >= 600);
      await server.publish(channel, 601);
      await until(() => got.length >= 4 && all.length >= 601);
      assert.deepEqual(got, numbers(598, 601));
      assert.deepEqual(all, numbers(1, 601));
      await client.close();
    });

    it("publishes and reads JSON and bytes", async () => {
      const [channel, got] = [fresh(), []];
      const client = open({ transports: [transport] });
      const subscription = client.subscribe(channel, (message) => got.push(message));
      await subscription.ready;
      const bytes = Uint8Array.from({ length: 300 }, (_, i) => i % 256);
      const first = await client.publish(
        channel,
        { tide: "high", é: [1, null] },
        { event: "e", headers: { a: "b" } },
      );
      const second = await client.publish(channel, bytes);
      await until(() => got.length >= 2);
      assert.deepEqual(got[0].data, { tide: "high", é: [1, null] });
      assert.deepEqual([got[0].event, got[0].headers, got[0].id], ["e", { a: "b" }, first.id]);
      assert.deepEqual(got[1].data, bytes);
      assert.deepEqual([got[1].seq, second.seq], [2, 2]);
      await client.close();
    });

    it("brings large messages whole", async () => {
      const [channel, got] = [fresh(), []];
      const client = open({ transports: [transport] });
      const subscription = client.subscribe(channel, ({ data }) => got.push(data));
      await subscription.ready;
      const large = "潮🌊".repeat(60_000);
      await server.publish(channel, large);
      await until(() => got.length >= 1);
      assert.equal(got[0], large);
      await client.close();
    });

    it("takes up other channels on the way, and loses nothing of those it has", async () => {
      const [first, second, got] = [fresh(), fresh(), []];
      const client = open({ transports: [transport] });
      await client.subscribe(first, ({ data }) => got.push(data)).ready;
      const publishing = (async () => {
        for (const data of numbers(1, 200)) await server.publish(first, data);
      })();
      const other = [];
      await client.subscribe(second, ({ data }) => other.push(data)).ready;
      await server.publish(second, "x");
      await publishing;
      await until(() => got.length >= 200 && other.length >= 1);
      assert.deepEqual([got, other], [numbers(1, 200), ["x"]]);
      await client.close();
    });

    it("a consumer gets what it has not acknowledged, and nothing else", async () => {
      const channel = fresh();
      const first = open({ transports: [transport], consumer: `c-${transport}` });
      const got = [];
      await first.subscribe(channel, (message) => got.push(message)).ready;
      await server.publish(channel, ...numbers(1, 5));
      await until(() => got.length >= 5);
      first.ack(...got.slice(0, 3));
      await first.close();
      const again = [];
      const second = open({ transports: [transport], consumer: `c-${transport}` });
      second.subscribe(channel, (message) => again.push(message));
      await until(() => again.length >= 2);
      assert.deepEqual(
        again.map(({ data }) => data),
        [4, 5],
      );
      second.ack(...again);
      await second.close();
    });
  });
}

describe("a client", () => {
  it("takes the best transport", async () => {
    const client = open();
    await client.subscribe(fresh(), () => {}).ready;
    assert.equal(client.state.transport, "websocket");
    await client.close();
  });

  it("without a WebSocket takes the next one", async () => {
    const client = open({ environment: { ...environment, WebSocket: undefined } });
    await client.subscribe(fresh(), () => {}).ready;
    assert.equal(client.state.transport, "sse");
    await client.close();
  });

  it("reads the history in pages", async () => {
    const channel = fresh();
    await server.publish(channel, ...numbers(1, 5));
    const client = open();
    const first = await client.history(channel, { limit: 3 });
    assert.deepEqual([first.messages.map(({ data }) => data), first.more], [[1, 2, 3], true]);
    const second = await client.history(channel, { cursor: first.cursor });
    assert.deepEqual([second.messages.map(({ data }) => data), second.more], [[4, 5], false]);
    await client.close();
  });

  it("is told of what is gone", async () => {
    const channel = fresh();
    const [{ id }] = await server.publish(channel, ...numbers(1, 3));
    await fetch(`${server.url}/history?channel=${channel}`, { method: "DELETE" });
    const client = open();
    const gaps = [];
    client.on("gap", (gap) => gaps.push(gap));
    client.subscribe(channel, () => {}, { cursor: id });
    await until(() => gaps.length >= 1);
    assert.deepEqual([gaps[0].channel, gaps[0].reason], [channel, "expired"]);
    await client.close();
  });

  it("outlives the server's sudden death, on whichever transport", async () => {
    const engine = `sqlite:///${join(mkdtempSync(join(tmpdir(), "tidewire-js-")), "log.db")}`;
    let mortal = await startServer({
      engine: engine,
      "poll-interval": 0.1,
    });
    const channel = fresh();
    const clients = TRANSPORTS.map((transport) => {
      const [client, got] = [open({ transports: [transport] }, mortal.url), []];
      return { client, got, ready: client.subscribe(channel, ({ data }) => got.push(data)).ready };
    });
    await Promise.all(clients.map(({ ready }) => ready));
    await mortal.publish(channel, 1, 2);
    await until(() => clients.every(({ got }) => got.length === 2));
    await mortal.kill();
    mortal = await startServer({ engine, "poll-interval": 0.1 }, mortal.port);
    await mortal.publish(channel, 3);
    await until(() => clients.every(({ got }) => got.length === 3));
    assert.deepEqual(
      clients.map(({ got }) => got),
      TRANSPORTS.map(() => [1, 2, 3]),
    );
    for (const { client } of clients) await client.close();
    await mortal.stop();
  });

  it("what was published while the server was away arrives once", async () => {
    const away = await startServer({ engine: "memory:" });
    const { url, port } = away;
    const [client, got] = [open({}, url), []];
    const channel = fresh();
    await client.subscribe(channel, ({ data }) => got.push(data)).ready;
    await away.kill();
    await until(() => client.state.status !== "live");
    const published = numbers(1, 20).map((data) => client.publish(channel, data));
    await settle();
    const back = await startServer({ engine: "memory:" }, port);
    const receipts = await Promise.all(published);
    assert.deepEqual(
      receipts.map(({ seq }) => seq),
      numbers(1, 20),
    );
    await until(() => got.length >= 20);
    assert.deepEqual(got, numbers(1, 20));
    await client.close();
    await back.stop();
  });
});

describe("presence", () => {
  it("a client is one member, on whichever transport it is", async () => {
    const present = await startServer({ presence: true, "poll-interval": 0.1 });
    const channel = fresh();
    const clients = TRANSPORTS.map((transport) => open({ transports: [transport] }, present.url));
    for (const client of clients) await client.subscribe(channel, () => {}).ready;
    const seen = async () => {
      const { members } = await clients[0].presence(channel, { members: true });
      return members.map(({ transport }) => transport).sort();
    };
    await until(async () => (await seen()).length >= TRANSPORTS.length, "four members");
    assert.deepEqual((await seen()).length, TRANSPORTS.length);
    for (const client of clients) await client.close();
    await present.stop();
  });

  it("is not there where nobody keeps it", async () => {
    const client = open();
    await assert.rejects(client.presence(fresh()), { code: "no_presence" });
    await client.close();
  });
});

describe("uploading", () => {
  it("a file in pieces, and the message that tells of it", async () => {
    const directory = mkdtempSync(join(tmpdir(), "tidewire-js-"));
    const taking = await startServer({ "upload-dir": directory });
    const bytes = Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 7) % 256);
    const [client, got, kept] = [open({}, taking.url), [], []];
    const channel = fresh();
    await client.subscribe(channel, (message) => got.push(message)).ready;
    const file = new Blob([bytes], { type: "image/png" });
    const receipt = await upload(client, channel, file, {
      name: "tide.png",
      onProgress: (n) => kept.push(n),
    });
    await until(() => got.length >= 1);
    assert.deepEqual(
      [got[0].event, got[0].data.name, got[0].data.size],
      ["upload", "tide.png", 1_000_000],
    );
    assert.equal(receipt.seq, 1);
    assert.equal(kept.at(-1), 1_000_000);
    assert.deepEqual(new Uint8Array(readFileSync(join(directory, got[0].data.path))), bytes);
    const again = await upload(client, channel, file, { name: "tide.png" });
    assert.equal(again.id, receipt.id, "it is published once");
    await client.close();
    await taking.stop();
  });

  it("is refused where the server takes none", async () => {
    const client = open();
    await assert.rejects(upload(client, fresh(), new Blob(["x"])), {
      kind: "refused",
      code: "uploads_off",
    });
    await client.close();
  });
});

describe("a server that wants to know who asks", () => {
  const KEY = "key-of-a-back-end";
  const SECRET = "a-secret-of-at-least-thirty-two-bytes";
  let guarded;
  before(async () => {
    guarded = await startServer({ "api-key": KEY, "token-secret": SECRET, "poll-interval": 0.1 });
  });
  after(() => guarded.stop());

  async function token(life = 60, channels = { "test:*": ["subscribe", "publish", "history"] }) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const now = Math.floor(Date.now() / 1000);
    const exp = Math.ceil(Date.now() / 1000) + life;
    const head = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: "42", iat: now, exp, channels })}`;
    const key = await crypto.subtle.importKey(
      "raw",
      Buffer.from(SECRET),
      { name: "HMAC", hash: "SHA-256" },
      false,
      ["sign"],
    );
    const signature = await crypto.subtle.sign("HMAC", key, Buffer.from(head));
    return `${head}.${Buffer.from(signature).toString("base64url")}`;
  }

  for (const transport of TRANSPORTS) {
    it(`${transport}: a token`, async () => {
      const [channel, got] = [fresh(), []];
      const client = open({ transports: [transport], token: await token() }, guarded.url);
      await client.subscribe(channel, ({ data }) => got.push(data)).ready;
      await client.publish(channel, "hello");
      await until(() => got.length >= 1);
      await client.close();
    });

    it(`${transport}: none`, async () => {
      const client = open({ transports: [transport] }, guarded.url);
      client.on("error", () => {});
      await assert.rejects(client.subscribe("test:x", () => {}).ready, {
        kind: "refused",
        code: "no_credentials",
      });
      await client.close();
    });

    it(`${transport}: one for other channels`, async () => {
      const client = open({ transports: [transport], token: await token() }, guarded.url);
      client.on("error", () => {});
      const [channel, got] = [fresh(), []];
      await client.subscribe(channel, ({ data }) => got.push(data)).ready;
      await assert.rejects(client.subscribe("secret", () => {}).ready, {
        kind: "refused",
        code: "forbidden",
      });
      await client.publish(channel, "still there");
      await until(() => got.length >= 1);
      await client.close();
    });
  }

  it("what is sent to a user comes to who has asked for @me", async () => {
    const client = open({ token: await token() }, guarded.url);
    const got = [];
    await client.subscribe("@me", ({ channel, data }) => got.push([channel, data])).ready;
    await guarded.publish("user:#42", "for you");
    await until(() => got.length >= 1);
    assert.deepEqual(got, [["user:#42", "for you"]]);
    await client.close();
  });

  for (const transport of ["websocket", "sse"]) {
    it(`${transport}: short tokens, one after the other, and nothing is missed`, async () => {
      const [channel, got] = [fresh(), []];
      let asked = 0;
      // What is asked for in place of one that has ended must get there before it ends itself.
      const lives = [1, 3, 60];
      const getToken = () => token(lives[asked++]);
      const client = open({ transports: [transport], getToken }, guarded.url);
      await client.subscribe(channel, ({ data }) => got.push(data)).ready;
      for (let data = 1; asked < 3; data++) {
        await guarded.publish(channel, data);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      const [{ seq }] = await guarded.publish(channel, "last");
      await until(() => got.at(-1) === "last");
      assert.equal(got.length, seq);
      await client.close();
    });
  }
});

describe("where there is no more than React Native has", () => {
  /** No document, events of the page, storage, streams, `EventSource`, channels of messages, or URL of a page. */
  const world = () => {
    const there = ["setTimeout", "clearTimeout", "setImmediate", "queueMicrotask", "performance"];
    const web = ["fetch", "WebSocket", "AbortController", "atob", "btoa"];
    const globals = Object.fromEntries([...there, ...web].map((name) => [name, globalThis[name]]));
    globals.window = globals;
    globals.navigator = { product: "ReactNative" };
    const script = readFileSync(new URL("../dist/tidewire.js", import.meta.url), "utf8");
    return vm.runInNewContext(`${script}; tidewire`, globals);
  };

  for (const transport of ["websocket", "longpoll", "poll"]) {
    it(`over ${transport}`, async () => {
      const [channel, got] = [fresh(), []];
      const client = world().connect(server.url, { transports: ["sse", "eventsource", transport] });
      const subscription = client.subscribe(channel, ({ data }) => got.push(data));
      await subscription.ready;
      assert.equal(client.state.transport, transport);
      await client.publish(channel, new Uint8Array([1, 2, 3]));
      await server.publish(channel, 1, 2);
      await until(() => got.length >= 3);
      assert.deepEqual([[...got[0]], ...got.slice(1)], [[1, 2, 3], 1, 2]);
      await client.close();
    });
  }
});
