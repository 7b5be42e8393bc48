import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Feed, KEPT } from "../../../src/tidewire/console/static/feed.js";

const message = (seq, time) => ({ type: "message", id: `e-${seq}`, channel: "c", seq, time, data: seq });

/** A feed that is live since 1000 ms. */
function liveFeed() {
  const feed = new Feed({ cursor: "e-0", seq: 0 });
  feed.connecting(1000);
  feed.opened(1000, 1000);
  feed.tick(1400);
  assert.equal(feed.state, "live");
  return feed;
}

describe("Feed", () => {
  it("is live as soon as a message comes that was sent after it opened", () => {
    const feed = new Feed({ cursor: "e-0" });
    feed.connecting(1000);
    assert.equal(feed.state, "connecting");
    feed.opened(1100, 1100);
    assert.equal(feed.state, "catching-up");
    feed.accept(message(1, 1050), 1110);
    assert.equal(feed.state, "catching-up");
    feed.accept(message(2, 1120), 1125);
    assert.equal(feed.state, "live");
  });

  it("is live when missed messages stop coming", () => {
    const feed = new Feed({ cursor: "e-0" });
    feed.opened(1000, 1000);
    feed.accept(message(1, 10), 1300);
    feed.tick(1500);
    assert.equal(feed.state, "catching-up");
    feed.tick(1700);
    assert.equal(feed.state, "live");
  });

  it("measures only what is sent while it is open", () => {
    const feed = new Feed({ cursor: "e-0" });
    feed.opened(1000, 1000);
    feed.accept(message(1, 200), 1010);
    assert.equal(feed.latency.count, 0);
    assert.equal(feed.messages[0].delay, null);
    feed.accept(message(2, 1020), 1032);
    assert.equal(feed.latency.last, 12);
  });

  it("does not call the backlog of the first connection recovered", () => {
    const feed = new Feed({ cursor: "e-0" });
    feed.opened(1000, 1000);
    feed.accept(message(1, 200), 1010);
    assert.equal(feed.recovered, null);
    assert.equal(feed.messages[0].recovered, false);
  });

  for (const [how, interrupt] of [
    ["a cut", (feed) => feed.cut(2000)],
    ["a lost connection", (feed) => feed.lost("The server is away.", 2500, 2000)],
  ]) {
    it(`counts what comes back after ${how}, and only that`, () => {
      const feed = liveFeed();
      feed.accept(message(1, 1500), 1501);
      interrupt(feed);
      feed.connecting(3000);
      feed.opened(3000, 3005);
      assert.equal(feed.recovered, 0);
      feed.accept(message(2, 2100), 3006);
      feed.accept(message(3, 2999), 3006);
      feed.accept(message(4, 3000), 3007);
      assert.equal(feed.recovered, 2);
      assert.deepEqual(feed.messages.map((row) => row.recovered), [false, true, true, false]);
      assert.deepEqual([feed.sequence.gaps, feed.sequence.duplicates], [0, 0]);
    });
  }

  it("counts each resumption from zero", () => {
    const feed = liveFeed();
    feed.cut(2000);
    feed.opened(3000, 3000);
    feed.accept(message(1, 2500), 3001);
    feed.cut(4000);
    feed.opened(5000, 5000);
    assert.equal(feed.recovered, 0);
  });

  it("resumes after the newest message", () => {
    const feed = liveFeed();
    assert.equal(feed.cursor, "e-0");
    feed.accept(message(1, 1500), 1501);
    assert.equal(feed.cursor, "e-1");
    feed.moved("e-9");
    assert.equal(feed.cursor, "e-9");
    assert.equal(feed.lastId, "e-1");
  });

  it("keeps the newest messages, newest first", () => {
    const feed = liveFeed();
    for (let seq = 1; seq <= KEPT + 5; seq += 1) feed.accept(message(seq, 1500), 1501);
    assert.equal(feed.messages.length, KEPT);
    assert.equal(feed.messages[0].envelope.seq, KEPT + 5);
    assert.equal(feed.received, KEPT + 5);
  });

  it("takes an announced gap from where it ends, without a silent loss", () => {
    const feed = liveFeed();
    feed.accept(message(1, 1500), 1501);
    feed.gap({ type: "gap", id: "e-50", channel: "c", reason: "expired" });
    assert.equal(feed.cursor, "e-50");
    feed.accept(message(51, 1600), 1601);
    assert.equal(feed.sequence.gaps, 0);
    assert.match(feed.note(1700, 0), /announced a gap \(expired\)/);
  });

  it("says in one line what is happening", () => {
    const feed = liveFeed();
    assert.equal(feed.note(1500, 0), "");
    feed.resting(3500);
    assert.equal(feed.note(1500, 0), "Next poll in 2 s.");
    feed.cut(2000);
    assert.equal(feed.note(2000, 1), "1 message waiting in the log.");
    feed.lost("The server is away.", 7200, 5000);
    assert.equal(feed.note(5000, 0), "The server is away. Next try in 3 s.");
    feed.connecting(7200);
    feed.opened(7300, 7300);
    feed.accept(message(1, 6000), 7301);
    feed.tick(7800);
    assert.equal(feed.note(8000, 0), "Back: 1 message recovered.");
    feed.stopped("The server answered 401.", 9000);
    assert.equal(feed.note(9000, 0), "The server answered 401.");
  });

  it("hints at the browser's limit when nothing answers for long", () => {
    const feed = new Feed({ cursor: "e-0" });
    feed.connecting(1000);
    assert.equal(feed.note(2000, 0), "");
    assert.match(feed.note(8000, 0), /six HTTP\/1\.1 connections/);
  });
});
