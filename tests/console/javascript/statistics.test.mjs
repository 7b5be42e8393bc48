import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { LatencyWindow, SequenceCheck, ServerClock } from "../../../src/tidewire/console/static/statistics.js";

describe("LatencyWindow", () => {
  const windowOf = (samples, size) => {
    const window = new LatencyWindow(size);
    samples.forEach((ms) => window.add(ms));
    return window;
  };

  it("knows nothing before the first sample", () => {
    const window = windowOf([]);
    assert.deepEqual([window.last, window.quantile(0.5), window.count], [null, null, 0]);
  });

  it("takes quantiles by nearest rank", () => {
    const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
    const window = windowOf(hundred);
    assert.equal(window.quantile(0.5), 50);
    assert.equal(window.quantile(0.99), 99);
    assert.equal(window.quantile(1), 100);
    assert.equal(window.last, 1);
  });

  it("takes a single sample for every quantile", () => {
    const window = windowOf([7]);
    assert.deepEqual([window.quantile(0.01), window.quantile(0.5), window.quantile(0.99)], [7, 7, 7]);
  });

  it("sorts numbers, not their spelling", () => {
    assert.equal(windowOf([9, 10, 100]).quantile(0.5), 10);
  });

  it("forgets the oldest beyond its size", () => {
    const window = windowOf([1000, 1, 2, 3], 3);
    assert.equal(window.quantile(1), 3);
    assert.deepEqual(window.recent(2), [2, 3]);
  });
});

describe("SequenceCheck", () => {
  const after = (seqs, last = null) => {
    const check = new SequenceCheck(last);
    seqs.forEach((seq) => check.add(seq));
    return [check.gaps, check.duplicates];
  };

  it("finds nothing wrong in an unbroken run", () => assert.deepEqual(after([5, 6, 7]), [0, 0]));
  it("counts every missing message", () => assert.deepEqual(after([5, 9]), [3, 0]));
  it("counts every repeated message", () => assert.deepEqual(after([5, 6, 5, 6, 7]), [0, 2]));
  it("counts a swap as a gap and a duplicate", () => assert.deepEqual(after([5, 7, 6, 8]), [1, 1]));
  it("sees a loss before the first message", () => assert.deepEqual(after([5], 2), [2, 0]));
  it("sees a repetition of the starting point", () => assert.deepEqual(after([2, 3], 2), [0, 1]));

  it("starts anew after an announced gap", () => {
    const check = new SequenceCheck();
    check.add(40);
    check.restart();
    check.add(1);
    check.add(2);
    assert.deepEqual([check.gaps, check.duplicates], [0, 0]);
  });
});

describe("ServerClock", () => {
  it("trusts a clock that never runs ahead", () => {
    const clock = new ServerClock();
    assert.equal(clock.local(1000, 1005), 1000);
    assert.equal(clock.local(2000, 2000), 2000);
  });

  it("shifts a clock that is proved to run ahead, from then on", () => {
    const clock = new ServerClock();
    assert.equal(clock.local(1000, 950), 950);
    assert.equal(clock.local(2000, 1955), 1950);
    assert.equal(clock.local(3000, 2930), 2930);
  });
});
