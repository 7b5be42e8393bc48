import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { connect as connectCore } from "../dist/core.js";
import { connect } from "../dist/index.js";
import { client, on, page, paths, problem, requests, world } from "./asked.mjs";
import { answer, message, settle } from "./world.mjs";

describe("addresses", () => {
  for (const [given, base] of [
    ["https://x.test", "https://x.test"],
    ["https://x.test/", "https://x.test"],
    ["wss://x.test/base/", "https://x.test/base"],
    ["ws://127.0.0.1:8480", "http://127.0.0.1:8480"],
  ]) {
    it(given, () => assert.equal(connect(given).url, base));
  }

  for (const given of ["", "/base", "ftp://x.test", "https://x.test?a=b"]) {
    it(`${given || "nothing"} is none`, () => assert.throws(() => connect(given), TypeError));
  }
});

describe("publishing", () => {
  const receipt = (seq) => ({ channel: "news", id: `c${seq}`, seq });

  it("has a key of its own, and gives the receipt", async () => {
    on["/publish"] = () => answer(200, receipt(1));
    assert.deepEqual(
      await client().publish("news", { a: 1 }, { event: "e", headers: { h: "v" } }),
      receipt(1),
    );
    const { key, ...body } = requests[0].body;
    assert.deepEqual(body, { channel: "news", data: { a: 1 }, event: "e", headers: { h: "v" } });
    assert.match(key, /.{10,}/);
  });

  it("bytes go as Base64", async () => {
    on["/publish"] = () => answer(200, receipt(1));
    const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i % 256);
    await client().publish("news", bytes);
    const { data, encoding } = requests[0].body;
    assert.equal(encoding, "base64");
    assert.deepEqual(new Uint8Array(Buffer.from(data, "base64")), bytes);
  });

  it("those of one turn go in one request, in order, and each gets its own receipt", async () => {
    on["/publish"] = ({ body }) =>
      answer(200, { results: body.messages.map((_, i) => receipt(i + 1)) });
    const one = client();
    const receipts = await Promise.all([1, 2, 3].map((data) => one.publish("news", data)));
    assert.equal(requests.length, 1);
    assert.deepEqual(
      requests[0].body.messages.map(({ data }) => data),
      [1, 2, 3],
    );
    assert.equal(new Set(requests[0].body.messages.map(({ key }) => key)).size, 3);
    assert.deepEqual(
      receipts.map(({ seq }) => seq),
      [1, 2, 3],
    );
  });

  it("without an answer it is sent again with the same key", async () => {
    on["/publish"] = [
      new TypeError("Failed to fetch"),
      answer(502, "<html>"),
      answer(200, "<html>"),
      answer(200, receipt(1)),
    ];
    const published = client().publish("news", 1);
    await world.pass(20_000);
    assert.deepEqual(await published, receipt(1));
    assert.equal(new Set(requests.map(({ body }) => body.key)).size, 1);
    assert.equal(requests.length, 4);
  });

  it("order is kept while one is tried again", async () => {
    on["/publish"] = [new TypeError("no"), answer(200, receipt(1)), answer(200, receipt(2))];
    const one = client();
    const first = one.publish("news", "a");
    await settle();
    const second = one.publish("news", "b");
    await world.pass(5_000);
    await Promise.all([first, second]);
    assert.deepEqual(
      requests.map(({ body }) => body.data),
      ["a", "a", "b"],
    );
  });

  it("a refusal is the end of it", async () => {
    on["/publish"] = () => problem(413, "too_large");
    await assert.rejects(client().publish("news", 1), { kind: "refused", code: "too_large" });
    assert.equal(requests.length, 1);
  });

  it("one bad message does not take the others with it", async () => {
    on["/publish"] = ({ body }) =>
      body.messages || body.data === "bad"
        ? problem(400, "invalid_event")
        : answer(200, receipt(1));
    const one = client();
    const results = await Promise.allSettled(
      ["a", "bad", "b"].map((data) => one.publish("news", data)),
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    );
  });

  it("it is given up before the server has forgotten its key", async () => {
    const published = client().publish("news", 1);
    const outcome = assert.rejects(published, { kind: "cut" });
    await world.pass(100_000);
    await outcome;
  });

  it("Retry-After is obeyed", async () => {
    on["/publish"] = [
      problem(429, "too_many_requests", { "Retry-After": "9" }),
      answer(200, receipt(1)),
    ];
    const published = client().publish("news", 1);
    await world.pass(8_999);
    assert.equal(requests.length, 1);
    await world.pass(1_001);
    await published;
  });

  it("the queue has an end, and says so", async () => {
    const one = client({ queue: 2 });
    one.publish("news", 1).catch(() => {});
    one.publish("news", 2).catch(() => {});
    await assert.rejects(one.publish("news", 3), { code: "outbox_full" });
    await one.close();
  });

  it("what was never sent waits for the connection, however long", async () => {
    const one = client();
    one.subscribe("news", () => {});
    await settle();
    const published = one.publish("news", 1);
    await world.pass(600_000);
    assert.ok(!paths().includes("/publish"));
    on["/poll"] = () => page([], "c0");
    on["/publish"] = () => answer(200, receipt(1));
    world.tell("online");
    await world.pass(0);
    assert.deepEqual(await published, receipt(1));
    await one.close();
  });

  it("a signal takes it back", async () => {
    const abort = new AbortController();
    const published = client().publish("news", 1, { signal: abort.signal });
    abort.abort();
    await assert.rejects(published, { name: "AbortError" });
  });

  it("closed, what waits fails, and nothing more is taken", async () => {
    const one = client();
    const published = one.publish("news", 1);
    const outcome = assert.rejects(published, { code: "closed" });
    await settle();
    await one.close();
    await outcome;
    await assert.rejects(one.publish("news", 2), { code: "closed" });
    assert.throws(() => one.subscribe("news", () => {}), { code: "closed" });
  });
});

describe("the past of a subscription", () => {
  it("is fetched, and joined with what comes live", async () => {
    on["/poll"] = ({ query }) =>
      query.since === "-2"
        ? page([message(1), message(2)], "c2")
        : query.cursor === "c2" || query.cursor === "c0"
          ? page(query.cursor === "c0" ? [message(2), message(3)] : [message(3)], "c3")
          : page([], query.cursor ?? "c0");
    const got = [];
    const one = client();
    one.subscribe("news", ({ seq }) => got.push(seq), { since: -2 });
    await world.pass(10_000);
    assert.deepEqual(got, [1, 2, 3]);
    await one.close();
  });

  it("comes in pages, with its gaps", async () => {
    const gap = { type: "gap", id: "c1", channel: "news", reason: "expired" };
    on["/poll"] = ({ query }) => {
      if (query.since === "start")
        return answer(200, { messages: [message(2)], gaps: [gap], cursor: "c2", more: true });
      if (query.cursor === "c2") return page([message(3)], "c3");
      return page([], "c9");
    };
    const [got, gaps] = [[], []];
    const one = client();
    one.on("gap", (value) => gaps.push(value));
    one.subscribe("news", ({ seq }) => got.push(seq), { since: "start" });
    await world.pass(1_000);
    assert.deepEqual([got, gaps], [[2, 3], [gap]]);
    await one.close();
  });

  it("one that is refused is told", async () => {
    on["/poll"] = ({ query }) => (query.since ? problem(400, "invalid_since") : page([], "c0"));
    const one = client();
    const errors = [];
    one.on("error", (error) => errors.push(error.code));
    one.subscribe("news", () => {}, { since: "yesterday" });
    await world.pass(100);
    assert.deepEqual(errors, ["invalid_since"]);
    await one.close();
  });

  it("is asked for again while the network is away", async () => {
    let away = 3;
    on["/poll"] = ({ query }) => {
      if (!query.since) return page([], "c0");
      return away-- > 0 ? new TypeError("no") : page([message(1)], "c1");
    };
    const got = [];
    const one = client();
    one.subscribe("news", ({ seq }) => got.push(seq), { since: "start" });
    await world.pass(10_000);
    assert.deepEqual(got, [1]);
    await one.close();
  });
});

describe("a reload", () => {
  const answers = ({ query }) =>
    query.cursor === "c2" ? page([message(3)], "c3") : page([], query.cursor ?? "c9");

  it("goes on after the last message that was handled", async () => {
    on["/poll"] = [page([], "c0"), page([message(1), message(2)], "c2")];
    const before = client({ persist: true });
    before.subscribe("news", () => {});
    await world.pass(3_000);
    world.tell("pagehide");
    on["/poll"] = answers;
    const got = [];
    const after = client({ persist: true });
    after.subscribe("news", ({ seq }) => got.push(seq));
    await world.pass(100);
    assert.deepEqual(got, [3]);
    await before.close();
    await after.close();
  });

  it("goes on after what was fetched of the past, where the connection has not come yet", async () => {
    on["/poll"] = ({ query }) =>
      query.cursor === "c2" ? page([message(3)], "c3") : page([], query.cursor ?? "c2");
    const before = client({ persist: true });
    const got = [];
    before.subscribe("news", ({ seq }) => got.push(seq), { cursor: "c2" });
    await world.pass(100);
    assert.deepEqual(got, [3]);
    world.tell("pagehide");
    assert.ok([...world.storage.values()].some((text) => text.includes("c3")));
    await before.close();
  });

  it("not before a handler has finished its work", async () => {
    on["/poll"] = [page([], "c0"), page([message(1), message(2)], "c2")];
    const before = client({ persist: true });
    let finish;
    before.subscribe(
      "news",
      () =>
        new Promise((resolve) => {
          finish = resolve;
        }),
    );
    await world.pass(3_000);
    world.tell("pagehide");
    assert.ok(![...world.storage.values()].some((text) => text.includes("c2")));
    finish();
    await before.close();
  });

  it("of a page that keeps nothing begins anew", async () => {
    on["/poll"] = [page([], "c0"), page([message(1)], "c1")];
    const before = client();
    before.subscribe("news", () => {});
    await world.pass(3_000);
    await before.close();
    assert.ok(![...world.storage.keys()].some((key) => key.includes("cursors")));
  });
});

describe("an older signal, as React Native has it", () => {
  /** It has neither a reason nor a way to throw. */
  class OldSignal extends EventTarget {
    aborted = false;

    abort() {
      this.aborted = true;
      this.dispatchEvent(new Event("abort"));
    }
  }

  it("ends what it is given to", async () => {
    const signal = new OldSignal();
    const one = client();
    const outcomes = [
      assert.rejects(one.publish("news", 1, { signal }), { name: "AbortError" }),
      assert.rejects(one.history("news", { signal }), { name: "AbortError" }),
    ];
    await settle();
    signal.abort();
    await world.pass(2_000);
    await Promise.all(outcomes);
    assert.throws(() => one.subscribe("news", () => {}, { signal }), { name: "AbortError" });
    await one.close();
  });
});

describe("asking a server that is away", () => {
  it("goes on to the end of its time", async () => {
    const outcome = assert.rejects(client().history("news"), { kind: "cut" });
    await world.pass(29_999); // 0.5 + 1 + 2 + 4 + 8 s, and the next 15 would end after 30 s
    assert.equal(requests.length, 6);
    await world.pass(1);
    await outcome;
    assert.equal(requests.length, 7);
  });

  it("ends at once if the server wants nothing before that", async () => {
    on["/history"] = () => problem(503, "unavailable", { "Retry-After": "30" });
    await assert.rejects(client().history("news"), { kind: "later" });
    assert.equal(requests.length, 1);
  });
});

describe("credentials", () => {
  const token = (life, wall = 1_795_392_000) =>
    `h.${btoa(JSON.stringify({ exp: wall + life, iat: wall })).replace(/=/g, "")}.s`;

  it("only one kind may be given", () => {
    assert.throws(() => client({ token: "a", apiKey: "b" }), TypeError);
  });

  it("a key is shown in its own header", async () => {
    on["/history"] = () => page([], "c0");
    await client({ apiKey: "k" }).history("news");
    assert.equal(requests[0].headers["X-API-Key"], "k");
  });

  it("a token that has expired is replaced, and the request repeated", async () => {
    let count = 0;
    on["/history"] = ({ headers }) =>
      headers.Authorization === "Bearer t1" ? problem(401, "token_expired") : page([], "c0");
    await client({ getToken: () => `t${++count}` }).history("news");
    assert.deepEqual(
      requests.map(({ headers }) => headers.Authorization),
      ["Bearer t1", "Bearer t2"],
    );
  });

  it("when the new one is refused, too, that is the end", async () => {
    let count = 0;
    on["/history"] = () => problem(401, "invalid_token");
    await assert.rejects(client({ getToken: () => `t${++count}` }).history("news"), {
      kind: "refused",
      code: "invalid_token",
    });
    assert.equal(count, 2);
  });

  it("a token that cannot be replaced is refused at once", async () => {
    on["/history"] = () => problem(401, "token_expired");
    await assert.rejects(client({ token: "t" }).history("news"), { kind: "refused" });
    assert.equal(requests.length, 1);
  });

  it("many requests at once ask for one token", async () => {
    let count = 0;
    on["/history"] = () => page([], "c0");
    const one = client({ getToken: async () => `t${++count}` });
    await Promise.all([one.history("a"), one.history("b"), one.history("c")]);
    assert.equal(count, 1);
  });

  it("the next token is asked for before the last one ends", async () => {
    let count = 0;
    on["/history"] = () => page([], "c0");
    const one = client({ getToken: () => token(300 + count++) });
    await one.history("news");
    await world.pass(239_000);
    await one.history("news");
    assert.equal(count, 1);
    await world.pass(2_000);
    await one.history("news");
    assert.equal(count, 2);
  });

  it("a getToken that fails is tried again, and its words are not repeated", async () => {
    on["/history"] = () => page([], "c0");
    let count = 0;
    const asked = client({
      getToken: () => {
        if (++count < 3) throw new Error("password hunter2");
        return "t";
      },
    }).history("news");
    await world.pass(5_000);
    await asked;
    assert.equal(count, 3);
  });

  it("what is no token never gets into a header", async () => {
    await assert.rejects(client({ getToken: () => "a\r\nX-Evil: 1" }).history("news"), {
      kind: "refused",
    });
    assert.equal(requests.length, 0);
  });
});

describe("for await", () => {
  const feed = () => {
    let at = 0;
    on["/poll"] = ({ query }) => (query.cursor ? page([message(++at)], `c${at}`) : page([], "c0"));
  };

  it("gives one message after the other, and leaves the channel with the loop", async () => {
    feed();
    const one = client();
    const got = [];
    const loop = (async () => {
      for await (const { seq } of one.channel("news")) {
        got.push(seq);
        if (seq === 3) break;
      }
    })();
    await world.pass(20_000);
    await loop;
    assert.deepEqual(got, [1, 2, 3]);
    assert.equal(one.state.status, "closed");
    await one.close();
  });

  it("throws what the server refuses", async () => {
    on["/poll"] = () => problem(403, "forbidden");
    const one = client();
    one.on("error", () => {});
    await assert.rejects(one.channel("news").next(), { code: "forbidden" });
  });

  it("ends with an error when the loop is too slow, and not silently", async () => {
    on["/poll"] = ({ query }) =>
      query.cursor
        ? page(
            Array.from({ length: 20 }, (_, i) => message(i + 1)),
            "c20",
          )
        : page([], "c0");
    const one = client();
    const loop = one.channel("news", { buffer: 10 });
    const first = loop.next();
    first.catch(() => {});
    await world.pass(3_000);
    await assert.rejects(first, { code: "overrun" });
    await one.close();
  });

  it("ends with the client", async () => {
    on["/poll"] = [page([], "c0"), page([message(1), message(2)], "c2")];
    const one = client();
    const got = [];
    const loop = (async () => {
      for await (const { data } of one.channel("news")) got.push(data);
    })();
    await world.pass(3_000);
    await one.close();
    await loop;
    assert.deepEqual(got, [1, 2]);
  });

  it("ends with its signal", async () => {
    feed();
    const abort = new AbortController();
    const one = client();
    const next = one.channel("news", { signal: abort.signal }).next();
    await settle();
    abort.abort();
    await assert.rejects(next, { name: "AbortError" });
    await one.close();
  });
});

for (const [title, make] of [
  ["the client", connect],
  ["the core", connectCore],
]) {
  describe(title, () => {
    it("hears the channels that it was given", async () => {
      on["/poll"] = [page([], "c0"), page([message(1)], "c1")];
      const one = client({ channels: ["news"] }, make);
      const got = [];
      one.on("message", ({ data }) => got.push(data));
      await world.pass(3_000);
      assert.deepEqual(got, [1]);
      await one.close();
    });

    it("a handler that throws does not keep the others from theirs", async () => {
      on["/poll"] = [page([], "c0"), page([message(1)], "c1")];
      const one = client({}, make);
      const [got, errors] = [[], []];
      one.on("error", (error) => errors.push(error.message));
      one.subscribe("news", () => {
        throw new Error("mine");
      });
      one.subscribe("news", ({ seq }) => got.push(seq));
      await world.pass(3_000);
      assert.deepEqual([got, errors], [[1], ["mine"]]);
      await one.close();
    });

    it("tells its states", async () => {
      on["/poll"] = [page([], "c0")];
      const one = client({}, make);
      const states = [];
      one.on("state", ({ status }) => states.push(status));
      assert.equal(one.state.status, "idle");
      one.subscribe("news", () => {});
      await world.pass(3_000);
      await one.close();
      assert.deepEqual(states, ["connecting", "live", "waiting", "closed"]);
      assert.equal(world.timers, 0);
    });

    it("what is closed in the turn in which it begins opens nothing", async () => {
      const one = client({}, make);
      one.subscribe("news", () => {});
      await one.close();
      await world.pass(10_000);
      assert.deepEqual([requests, world.timers], [[], 0]);
    });

    it("a signal closes it", async () => {
      on["/poll"] = () => page([], "c0");
      const abort = new AbortController();
      const one = client({ signal: abort.signal }, make);
      one.subscribe("news", () => {});
      await settle();
      abort.abort();
      await world.pass(100);
      assert.equal(one.state.status, "closed");
    });

    it("a transport that there is not is a mistake", () => {
      assert.throws(() => client({ transports: ["carrier-pigeon"] }, make), TypeError);
    });
  });
}

describe("what only the client has, and the core has not", () => {
  it("EventSource", () => {
    const options = { transports: ["eventsource"] };
    assert.equal(client(options).state.status, "idle");
    assert.throws(() => client(options, connectCore), TypeError);
  });

  it("the past, publishing, consumers", () => {
    const core = client({}, connectCore);
    for (const name of ["channel", "publish", "ack", "history", "presence"]) {
      assert.equal(core[name], undefined, name);
    }
  });
});
