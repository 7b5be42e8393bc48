import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Backoff, pause } from "../../../src/tidewire/console/static/backoff.js";
import { Feed } from "../../../src/tidewire/console/static/feed.js";
import * as format from "../../../src/tidewire/console/static/format.js";
import { Ledger } from "../../../src/tidewire/console/static/ledger.js";
import { proof } from "../../../src/tidewire/console/static/proof.js";
import { parse } from "../../../src/tidewire/console/static/publisher.js";
import { area, level, line, POINTS, stretched } from "../../../src/tidewire/console/static/sparkline.js";
import { kindOf, stageAfter, summary } from "../../../src/tidewire/console/static/stage.js";

describe("format", () => {
  it("writes bytes in decimal units", () => {
    const cases = [[0, "0 B"], [999, "999 B"], [1000, "1.0 kB"], [98_240, "98.2 kB"], [999_400, "999 kB"],
      [999_600, "1.0 MB"], [2_000_000_000, "2.0 GB"]];
    for (const [n, text] of cases) assert.equal(format.bytes(n), text);
  });

  it("writes delays no finer than they are known", () => {
    const cases = [[null, "–"], [0, "<1 ms"], [12, "12 ms"], [999, "999 ms"], [1530, "1.53 s"], [75_000, "75 s"]];
    for (const [ms, text] of cases) assert.equal(format.delay(ms), text);
  });

  it("counts in the right number", () => {
    assert.equal(format.messages(1), "1 message");
    assert.equal(format.messages(1234), "1,234 messages");
    assert.equal(format.left(-5), "1 s");
    assert.equal(format.left(2400), "3 s");
  });
});

describe("back-off", () => {
  it("doubles its ceiling up to 15 s and never goes below 250 ms", () => {
    const most = new Backoff(() => 1);
    assert.deepEqual(Array.from({ length: 7 }, () => most.next()), [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
    const least = new Backoff(() => 0);
    assert.deepEqual(Array.from({ length: 3 }, () => least.next()), [250, 250, 250]);
  });

  it("starts anew after a reset", () => {
    const backoff = new Backoff(() => 1);
    backoff.next();
    backoff.next();
    backoff.reset();
    assert.equal(backoff.next(), 500);
  });

  it("pauses until a cut", async () => {
    const control = new AbortController();
    const long = pause(3_600_000, control.signal);
    control.abort();
    await long;
    await pause(3_600_000, control.signal);
  });
});

describe("sparkline", () => {
  it("has one logarithmic scale from 1 ms to 10 s", () => {
    assert.deepEqual([0, 1, 10, 100, 1000, 10_000, 99_999].map((ms) => Number(level(ms).toFixed(2))),
      [0, 0, 0.25, 0.5, 0.75, 1, 1]);
  });

  it("puts the newest at the right edge", () => {
    assert.equal(line([5]), "");
    const corners = line([1, 10_000]).split(" ");
    assert.equal(corners.at(-1), "240.0,0.0");
    assert.match(line(Array(POINTS).fill(1)), /^0\.0,48\.0 /);
    assert.match(area([1, 10_000]), /^235\.9,48 .* 240,48$/);
  });

  it("stretches any values to the full height", () => {
    assert.deepEqual(stretched([100, 101, 99]).split(" ").map((c) => c.split(",")[1]), ["24.0", "0.0", "48.0"]);
    assert.doesNotMatch(stretched([7, 7]), /NaN/);
  });
});

describe("stage", () => {
  const say = (data, more = {}) => ({ data, ...more });

  it("knows the kind from the shape of the data", () => {
    assert.equal(kindOf({ symbol: "T", price: 1 }), "quote");
    assert.equal(kindOf({ answer: 1, token: "a" }), "answer");
    assert.equal(kindOf({ level: "warning", text: "x" }), "alert");
    assert.equal(kindOf({ item: "lamp", stock: 0 }), "stock");
    for (const data of [null, "text", 5, true, [], {}, { symbol: "T" }, { price: "1" }]) {
      assert.equal(kindOf(data), "plain");
    }
  });

  it("sums up each kind in one line", () => {
    assert.deepEqual(summary(say({ symbol: "T", price: 99.5, change: -0.25 })),
      { text: "T 99.50", tail: "▼ 0.25", tone: "bad" });
    assert.deepEqual(summary(say({ level: "resolved", service: "mail", text: "well" })),
      { text: "mail: well", tail: "resolved", tone: "good" });
    assert.deepEqual(summary(say("hello", { event: "chat" })), { text: "hello", tail: "chat", tone: "" });
    assert.equal(summary(say(Uint8Array.of(0, 1, 2))).text, "binary, 3 bytes");
    assert.equal(summary(say(Uint8Array.of(0))).text, "binary, 1 bytes");
    assert.equal(summary(say(null)).text, "null");
  });

  it("writes an answer out of its tokens, and starts over with the next", () => {
    const tokens = [
      { answer: 1, index: 0, question: "Why?", token: "Be" },
      { answer: 1, index: 1, token: "cause." },
      { answer: 2, index: 0, question: "When?", token: "Now" },
    ];
    const shown = [];
    tokens.reduce((before, data) => {
      const stage = stageAfter(before, say(data));
      shown.push(`${stage.title} ${stage.main}`);
      return stage;
    }, null);
    assert.deepEqual(shown, ["Why? Be", "Why? Because.", "When? Now"]);
  });

  it("bounds what it keeps", () => {
    let stage = null;
    for (let i = 0; i < 1000; i += 1) stage = stageAfter(stage, say({ answer: 1, token: "word " }));
    assert.ok(stage.main.length <= 600);
    for (let i = 0; i < 100; i += 1) stage = stageAfter(stage, say({ symbol: "T", price: i }));
    assert.deepEqual([stage.trend.length, stage.trend.at(-1)], [60, 99]);
  });

  it("fills a bar from 0 to 1", () => {
    assert.equal(stageAfter(null, say({ item: "x", stock: 5, of: 20 })).share, 0.25);
    assert.equal(stageAfter(null, say({ item: "x", stock: 50, of: 20 })).share, 1);
    assert.equal(stageAfter(null, say({ item: "x", stock: 5 })).share, null);
  });
});

describe("publisher", () => {
  it("takes objects and arrays as JSON, all else as text", () => {
    assert.deepEqual(parse('{"a":[1]}'), { a: [1] });
    assert.deepEqual(parse(" [1, 2] "), [1, 2]);
    for (const text of ["hello", "{broken", "42", "true", '"quoted"']) assert.equal(parse(text), text);
  });
});

describe("proof", () => {
  const NAMES = ["websocket", "shortpoll"];

  function scene(script) {
    const ledger = new Ledger(NAMES);
    const readers = NAMES.map((name) => ({ name, title: name.toUpperCase(), feed: new Feed({ cursor: "e-0" }) }));
    for (const { feed } of readers) feed.opened(0, 0);
    script?.(ledger, readers);
    return proof(ledger, readers);
  }

  it("claims nothing before the first message", () => {
    assert.deepEqual(scene(), { verdict: "waiting", detail: "0 lost, 0 twice. No message on this channel yet." });
  });

  it("says yes, and who is behind", () => {
    const told = scene((ledger) => {
      for (const id of ["1", "2", "3"]) ledger.saw("websocket", id);
      ledger.saw("shortpoll", "1");
    });
    assert.equal(told.verdict, "yes");
    assert.match(told.detail, /SHORTPOLL is 2 behind: its next poll brings them\./);
  });

  it("says who is cut", () => {
    const told = scene((ledger, [websocket]) => {
      for (const name of NAMES) ledger.saw(name, "1");
      ledger.saw("shortpoll", "2");
      websocket.feed.cut(5);
    });
    assert.match(told.detail, /WEBSOCKET is cut, 1 behind\./);
  });

  it("says no when the ids differ", () => {
    const told = scene((ledger) => {
      ledger.saw("websocket", "1");
      ledger.saw("shortpoll", "x");
    });
    assert.deepEqual(told, { verdict: "no", detail: "SHORTPOLL saw something else as message 1." });
  });

  it("adds up what was lost and repeated", () => {
    const told = scene((_, readers) => {
      for (const { feed } of readers) for (const seq of [1, 3, 3]) feed.sequence.add(seq);
    });
    assert.match(told.detail, /^2 lost, 2 twice\./);
  });
});
