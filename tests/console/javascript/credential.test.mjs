import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";

import { Credential, tabStorage } from "../../../src/tidewire/console/static/credential.js";
import { ask } from "../../../src/tidewire/console/static/http.js";
import { Refused } from "../../../src/tidewire/console/static/refused.js";
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
  it("shows nothing before there is one", () => {
    const credential = new Credential(storage());
    assert.equal(credential.isSet, false);
    assert.deepEqual(credential.headers, {});
    assert.equal(credential.text, "");
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
    const credential = new Credential();
    credential.replace("a-key");
    const made = [];
    const connect = (url, options) => {
      made.push([url, options.token]);
      return { publish: async (channel, data) => ({ channel, data }), close: async () => {} };
    };
    const receipt = await new Publisher(base, credential, connect).publish("a", '{"b":1}');
    assert.deepEqual(made, [[base, "a-key"]]);
    assert.deepEqual(receipt, { channel: "a", data: { b: 1 } });
  });

  it("tell a refused publish from one without an answer", async () => {
    const failing = (error) => () => ({
      publish: async () => {
        throw error;
      },
      close: async () => {},
    });
    const no = Object.assign(new Error("no"), { final: true, code: "no_credentials" });
    const publisher = (error) => new Publisher(base, new Credential(), failing(error));
    await assert.rejects(publisher(no).publish("a", "b"), (error) => error instanceof Refused && error.asksWho);
    const away = Object.assign(new Error("away"), { final: false });
    await assert.rejects(publisher(away).publish("a", "b"), (error) => error === away);
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
