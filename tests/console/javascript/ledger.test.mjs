import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Ledger } from "../../../src/tidewire/console/static/ledger.js";

const READERS = ["a", "b", "c"];

/** Plays "a1 b1 a2": each word is a reader and the id it sees next. */
function play(script, ledger = new Ledger(READERS)) {
  for (const [reader, ...id] of script.split(" ")) ledger.saw(reader, id.join(""));
  return ledger;
}

describe("Ledger", () => {
  it("agrees on what the slowest has seen", () => {
    const ledger = play("a1 a2 a3 b1 b2 c1");
    assert.equal(ledger.broken, null);
    assert.equal(ledger.agreed, 1);
    assert.deepEqual(READERS.map((reader) => ledger.behind(reader)), [0, 1, 2]);
  });

  it("lets any reader be the first and the last", () => {
    const ledger = play("c1 a1 b1 b2 c2 a2 a3 b3 c3");
    assert.equal(ledger.broken, null);
    assert.equal(ledger.agreed, 3);
  });

  it("finds a missing message", () => {
    assert.deepEqual(play("a1 a2 b1 b2 c2").broken, { reader: "c", place: 0 });
  });

  it("finds a repeated message", () => {
    assert.deepEqual(play("a1 b1 c1 a2 b1").broken, { reader: "b", place: 1 });
  });

  it("finds two messages in the wrong order", () => {
    assert.deepEqual(play("a1 a2 b2 b1").broken, { reader: "b", place: 0 });
  });

  it("keeps the first disagreement, whatever comes", () => {
    const ledger = play("a1 bx c1 a2 by c2");
    assert.deepEqual(ledger.broken, { reader: "b", place: 0 });
    play("a3 b3 c3", ledger);
    assert.deepEqual(ledger.broken, { reader: "b", place: 0 });
  });

  it("still compares exactly after a reader was away for long", () => {
    const ledger = new Ledger(["quick", "slow"]);
    for (let id = 0; id < 5000; id += 1) ledger.saw("quick", `id-${id}`);
    for (let id = 0; id < 4999; id += 1) ledger.saw("slow", `id-${id}`);
    assert.equal(ledger.broken, null);
    assert.equal(ledger.behind("slow"), 1);
    ledger.saw("slow", "another");
    assert.deepEqual(ledger.broken, { reader: "slow", place: 4999 });
  });
});
