import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";

import { Connection, Refused } from "../../../src/tidewire/console/static/connection.js";
import { Credential, tabStorage } from "../../../src/tidewire/console/static/credential.js";
import { Feed } from "../../../src/tidewire/console/static/feed.js";
import { ask } from "../../../src/tidewire/console/static/http.js";
import { Publisher } from "../../../src/tidewire/console/static/publisher.js";

const base = "http://host/prefix/";
const browserFetch = globalThis.fetch;
let requests = [];

/** Answers each request with the next of `answers`; the last one again and again. */
function answering(...answers) {
  requests = [];
  globalThis.fetch = async (url, init) => {
    requests.push({ url: String(url), method: init.method ?? "GET", headers: init.headers });
    const { status = 200, body = {} } = answers[Math.min(requests.length, answers.length) - 1];
    return new Response(JSON.stringify(body), { status });
  };
}

afterEach(() => (globalThis.fetch = browserFetch));

/** What a tab's storage does. */
function storage(entries = {}) {
  const map = new Map(Object.entries(entries));
  return {
    getItem: (name) => map.get(name) ?? null,
    setItem: (name, text) => void map.set(name, text),
    removeItem: (name) => void map.delete(name),
    get size() {
      return map.size;
    },
  };
}

describe("Credential", () => {
  it("shows nothing before there is one", async () => {
    const credential = new Credential(storage());
    assert.equal(credential.isSet, false);
    assert.deepEqual(credential.headers, {});
    answering({});
    const url = new URL("http://host/ws?channels=a");
    assert.equal((await credential.admit(url, { base })).href, "http://host/ws?channels=a");
    assert.deepEqual(requests, []);
  });

  it("outlives a reload of the page, and no more when it is forgotten", () => {
    const kept = storage();
    new Credential(kept).replace("a-key");
    const credential = new Credential(kept);
    assert.deepEqual(credential.headers, { Authorization: "Bearer a-key" });
    credential.replace("");
    assert.equal(credential.isSet, false);
    assert.equal(kept.size, 0);
  });

  it("does without a storage", () => {
    assert.equal(tabStorage(), null); // as here
    const credential = new Credential(null);
    credential.replace("a-key");
    assert.equal(credential.isSet, true);
  });

  for (const pasted of ["a-key", "  a-key\n", "Bearer a-key", "bearer   a-key "]) {
    it(`takes ${JSON.stringify(pasted)} for what it is`, () => {
      const credential = new Credential();
      credential.replace(pasted);
      assert.deepEqual(credential.headers, { Authorization: "Bearer a-key" });
    });
  }

  it("gets a ticket for an address, and stands in none itself", async () => {
    answering({ body: { ticket: "one&time", expires_in: 30 } });
    const credential = new Credential();
    credential.replace("a-key");
    const url = await credential.admit(new URL("http://host/ws?channels=a"), { base });
    assert.equal(url.href, "http://host/ws?channels=a&ticket=one%26time");
    assert.deepEqual(requests, [
      { url: "http://host/prefix/tickets", method: "POST", headers: { Authorization: "Bearer a-key" } },
    ]);
  });
});

describe("Requests", () => {
  it("show it beside their own headers", async () => {
    answering({});
    const credential = new Credential();
    credential.replace("a-key");
    await ask(new URL("http://host/poll"), {
      timeout: 1000, credential, init: { headers: { "If-None-Match": "x" } },
    });
    const headers = { Authorization: "Bearer a-key", "If-None-Match": "x" };
    assert.deepEqual(requests[0].headers, headers);
  });

  it("publish with it", async () => {
    answering({ body: { seq: 1 } });
    const credential = new Credential();
    credential.replace("a-key");
    await new Publisher(base, credential).publish("a", "text");
    assert.equal(requests[0].headers.Authorization, "Bearer a-key");
    assert.equal(requests[0].headers["Content-Type"], "application/json");
  });

  for (const [status, asksWho, forbids] of [[401, true, false], [403, false, true], [400, false, false]]) {
    it(`tell ${status} apart`, async () => {
      answering({ status, body: { detail: "no" } });
      await assert.rejects(ask(new URL("http://host/poll"), { timeout: 1000 }), (error) => {
        assert.ok(error instanceof Refused);
        assert.deepEqual([error.asksWho, error.forbids], [asksWho, forbids]);
        return true;
      });
    });
  }
});

describe("A connection", () => {
  it("says who refused it, and comes with a new ticket each time", async () => {
    answering({ body: { ticket: "first" } }, { body: { ticket: "second" } });
    const credential = new Credential();
    credential.replace("a-key");
    const tickets = [];
    const refusals = [];
    let done = () => {};
    const follow = async (link) => {
      tickets.push((await link.door("ws")).searchParams.get("ticket"));
      throw new Refused("Closed with code 4401.", 4401);
    };
    const connection = new Connection({
      follow, channel: "a", base, feed: new Feed({ cursor: "e-0" }), credential,
      refused: (error) => (refusals.push(error.asksWho), done()),
    });
    for (let times = 0; times < 2; times += 1) {
      const ended = new Promise((resolve) => (done = resolve));
      connection.restore();
      await ended;
    }
    assert.deepEqual(tickets, ["first", "second"]);
    assert.deepEqual(refusals, [true, true]);
    assert.equal(connection.feed.state, "stopped");
  });

  it("opens nothing when it is cut while it waits for its ticket", async () => {
    let answer = () => {};
    globalThis.fetch = () => new Promise((resolve) => (answer = resolve));
    const credential = new Credential();
    credential.replace("a-key");
    let opened = false;
    const connection = new Connection({
      follow: async (link) => {
        await link.door("ws");
        opened = true;
      },
      channel: "a", base, feed: new Feed({ cursor: "e-0" }), credential,
    });
    connection.restore();
    connection.cut();
    answer(new Response('{"ticket":"late"}'));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(opened, false);
    assert.equal(connection.feed.state, "cut");
  });
});
