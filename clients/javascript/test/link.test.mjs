import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { Credentials } from "../dist/credentials.js";
import { TidewireError } from "../dist/errors.js";
import { Http } from "../dist/http.js";
import { link as newLink } from "../dist/link.js";
import { CLIMB_AFTER, HEAD_START } from "../dist/machine.js";
import { Memory } from "../dist/memory.js";
import { message, Scripted, settle, World } from "./world.mjs";

let world;
let better;
let worse;
let states;
let link;

class Reader {
  got = [];
  gaps = [];
  begun = false;
  error = null;

  constructor(channel = "news") {
    this.channel = channel;
  }

  begin() {
    this.begun = true;
  }

  message({ seq }) {
    this.got.push(seq);
  }

  gap(gap) {
    this.gaps.push(gap);
  }

  fail(error) {
    this.error = error;
  }
}

function open(terms = {}) {
  const env = world.environment();
  const http = new Http(env, "http://x", new Credentials(env, {}));
  const host = {
    env,
    http,
    memory: new Memory(env, "http://x"),
    changed: () => states.push(opened.state),
    moved: () => {},
    leaving: () => {},
  };
  const opened = newLink(host, [better, worse], terms);
  return opened;
}

beforeEach(() => {
  world = new World();
  better = new Scripted("better");
  worse = new Scripted("worse", "own");
  states = [];
  link = open();
});

async function live(reader = new Reader()) {
  link.follow(reader);
  await settle();
  await better.last.ready();
  return reader;
}

const cut = () => new TidewireError("cut", "it broke");

/** The next attempt after a break. */
async function again() {
  better.last.sink.ended(cut());
  await world.pass(1_000);
  await better.last.ready("c0");
}

describe("a refusal", () => {
  it("of all that is wanted now, while the connection has what was wanted before", async () => {
    const [news, wrong] = [await live(), new Reader("wrong")];
    link.unfollow(news);
    link.follow(wrong);
    await settle();
    better.last.sink.ended(new TidewireError("refused", "no such channel", "invalid_channel"));
    await world.pass(5_000);
    assert.equal(wrong.error.code, "invalid_channel");
    assert.deepEqual(
      better.attempts.map(({ closed }) => closed),
      [true, true],
    );
  });
});

describe("exactness", () => {
  it("messages come in order, once", async () => {
    const reader = await live();
    better.last.take(message(1), message(2));
    better.last.take(message(3));
    assert.deepEqual(reader.got, [1, 2, 3]);
    assert.equal(link.position.cursor, "c3");
  });

  it("the first connection has no cursor, the next has that of the last message", async () => {
    await live();
    assert.equal(better.last.query.cursor, undefined);
    better.last.take(message(1));
    await again();
    assert.deepEqual(better.last.query, { channels: "news", cursor: "c1", session: "s" });
  });

  it("a client that never saw a message goes on from ready", async () => {
    await live();
    await again();
    assert.equal(better.last.query.cursor, "c0");
  });

  it("duplicates are dropped", async () => {
    const reader = await live();
    better.last.take(message(1), message(2));
    await again();
    better.last.take(message(1), message(2), message(3));
    assert.deepEqual(reader.got, [1, 2, 3]);
  });

  it("a duplicate does not move the cursor back", async () => {
    await live();
    better.last.take(message(1), message(2), message(1));
    assert.equal(link.position.cursor, "c2");
  });

  it("each channel has numbers of its own", async () => {
    const [news, chat] = [new Reader("news"), new Reader("chat")];
    link.follow(chat);
    await live(news);
    better.last.take(message(7), message(1, { channel: "chat" }), message(8));
    assert.deepEqual([news.got, chat.got], [[7, 8], [1]]);
  });

  it("a hole: the missing ones are asked for again, from before it", async () => {
    const reader = await live();
    better.last.take(message(1), message(4));
    assert.deepEqual(reader.got, [1]);
    assert.ok(better.last.closed);
    await world.pass(1_000);
    assert.equal(better.last.query.cursor, "c1");
    await better.last.ready();
    better.last.take(message(2), message(3), message(4));
    assert.deepEqual(reader.got, [1, 2, 3, 4]);
    assert.deepEqual(reader.gaps, []);
  });

  it("a hole that stays is told as a gap, and it goes on", async () => {
    const reader = await live();
    better.last.take(message(1), message(4));
    await world.pass(1_000);
    await better.last.ready();
    better.last.take(message(4), message(5));
    assert.deepEqual(reader.got, [1, 4, 5]);
    assert.deepEqual(reader.gaps, [{ channel: "news", id: "c1", reason: "lost", skipped: 2 }]);
  });

  it("a gap that is told excuses the hole", async () => {
    const reader = await live();
    const gap = { type: "gap", id: "c4", channel: "news", reason: "expired" };
    better.last.take(message(1), gap, message(5), message(6));
    assert.deepEqual(reader.got, [1, 5, 6]);
    assert.deepEqual(reader.gaps, [gap]);
    assert.equal(better.attempts.length, 1);
  });

  it("it excuses one hole only", async () => {
    const reader = await live();
    const gap = { type: "gap", id: "c4", channel: "news", reason: "slow", skipped: 3 };
    better.last.take(message(1), gap, message(5), message(8));
    assert.deepEqual(reader.got, [1, 5]);
    assert.ok(better.last.closed);
  });

  it("a gap that comes again is told once", async () => {
    const reader = await live();
    const gap = { type: "gap", id: "c4", channel: "news", reason: "expired" };
    better.last.take(message(1), gap, gap);
    assert.equal(reader.gaps.length, 1);
  });

  it("after a reset the numbers begin anew", async () => {
    const reader = await live();
    const gap = { type: "gap", id: "d0", channel: "news", reason: "reset" };
    better.last.take(
      message(8),
      message(9),
      gap,
      message(1, { id: "d1" }),
      message(2, { id: "d2" }),
    );
    assert.deepEqual(reader.got, [8, 9, 1, 2]);
    assert.equal(link.position.cursor, "d2");
  });

  it("an answer to a poll tells its gaps first: messages before them count all the same", async () => {
    const reader = await live();
    better.last.take(message(8));
    const gap = { type: "gap", id: "d0", channel: "news", reason: "reset" };
    better.last.sink.take([gap, message(9), message(1), message(2)], "d2");
    assert.deepEqual(reader.got, [8, 9, 1, 2]);
    assert.equal(link.position.cursor, "d2");
  });

  it("a gap in an answer to a poll does not move the cursor by itself", async () => {
    await live();
    const gap = { type: "gap", id: "c9", channel: "news", reason: "expired" };
    better.last.sink.take([gap, message(3)], "c3");
    assert.equal(link.position.cursor, "c3");
  });

  it("parts of a message that are cut are asked for again", async () => {
    const reader = await live();
    const text = JSON.stringify(message(1));
    const part = (index, data) => ({ type: "fragment", of: "c1", index, count: 2, data });
    better.last.take(part(0, text.slice(0, 9)));
    await again();
    assert.equal(better.last.query.cursor, "c0");
    better.last.take(part(0, text.slice(0, 9)), part(1, text.slice(9)));
    assert.deepEqual(reader.got, [1]);
  });

  it("what a consumer is sent again moves nothing", async () => {
    link = open({ consumer: "ann" });
    const reader = await live();
    better.last.take(message(1), message(2), message(1, { deliveries: 2 }), message(3));
    assert.deepEqual(reader.got, [1, 2, 1, 3]);
    assert.equal(link.position.cursor, "c3");
  });

  it("types and fields that are not known are ignored", async () => {
    const reader = await live();
    better.last.take({ type: "tide", id: "c99" }, message(1, { moon: "full" }));
    assert.deepEqual(reader.got, [1]);
    assert.equal(link.position.cursor, "c1");
  });

  it("what came before the end is handed out before it", async () => {
    const reader = await live();
    better.last.take(message(1), { type: "close", code: 1012, reason: "restart", retry: 500 });
    assert.deepEqual(reader.got, [1]);
    assert.equal(states.at(-1).status, "waiting");
    assert.ok(states.at(-1).retryIn >= 500);
  });

  it("what comes after the end is not", async () => {
    const reader = await live();
    const { sink } = better.last;
    better.last.take({ type: "close", code: 1012, retry: 0 });
    sink.take([message(1)]);
    assert.deepEqual(reader.got, []);
  });
});

describe("a change of transport", () => {
  /** Live on the worse one, because the better one was slow. */
  async function fallen() {
    const reader = new Reader();
    link.follow(reader);
    await world.pass(HEAD_START);
    await worse.last.ready();
    return reader;
  }

  it("the loser of the race is closed, without a loss or a duplicate", async () => {
    const reader = await fallen();
    const loser = better.last;
    assert.ok(loser.closed);
    loser.ready();
    loser.take(message(1));
    worse.last.take(message(1), message(2));
    assert.deepEqual(reader.got, [1, 2]);
  });

  it("a loser that was refused is no end", async () => {
    const reader = await fallen();
    better.last.sink.ended(new TidewireError("refused", "no"));
    assert.equal(reader.error, null);
    assert.equal(states.at(-1).transport, "worse");
  });

  it("it climbs with the cursor, and takes over in order", async () => {
    const reader = await fallen();
    worse.last.take(message(1), message(2));
    await world.pass(CLIMB_AFTER * 1.5);
    assert.equal(better.last.query.cursor, "c2");
    // The old one goes on while the new one is on its way.
    worse.last.take(message(3), message(4));
    better.last.ready("c2");
    assert.ok(worse.last.closed);
    worse.last.take(message(5));
    better.last.take(message(3), message(4), message(5), message(6));
    assert.deepEqual(reader.got, [1, 2, 3, 4, 5, 6]);
    assert.equal(states.at(-1).transport, "better");
  });

  it("a new stream that begins behind does not move the position back", async () => {
    await fallen();
    worse.last.take(message(1));
    await world.pass(CLIMB_AFTER * 1.5);
    worse.last.take(message(2));
    better.last.ready("c1");
    assert.equal(link.position.cursor, "c2");
  });

  it("messages of one that is not ready do not count", async () => {
    const reader = await fallen();
    await world.pass(CLIMB_AFTER * 1.5);
    better.last.take(message(1));
    assert.deepEqual(reader.got, []);
    assert.equal(states.at(-1).transport, "worse");
  });

  it("the winner is remembered for half an hour, on this network", async () => {
    await fallen();
    const env = world.environment();
    assert.equal(new Memory(env, "http://x").winner, "worse");
    assert.equal(new Memory({ ...env, network: () => "cellular" }, "http://x").winner, null);
    await world.pass(30 * 60_000 - world.time - 1 + HEAD_START);
    assert.equal(new Memory({ ...env, wall: () => env.wall() + 1 }, "http://x").winner, null);
  });

  it("a clock that was set back makes nobody remember for ever", () => {
    const env = world.environment();
    new Memory(env, "http://x").winner = "worse";
    assert.equal(new Memory({ ...env, wall: () => 0 }, "http://x").winner, null);
  });

  it("a storage that is full or forbidden is no harm", async () => {
    const broken = () => {
      throw new Error("QuotaExceededError");
    };
    const env = world.environment({
      storage: { getItem: broken, setItem: broken, removeItem: broken },
    });
    const memory = new Memory(env, "http://x");
    memory.winner = "worse";
    assert.equal(memory.winner, null);
  });
});

describe("channels that come and go", () => {
  it("those of one turn go together", async () => {
    link.follow(new Reader("a"));
    link.follow(new Reader("b"));
    await settle();
    assert.equal(better.last.query.channels, "a,b");
    assert.equal(better.attempts.length, 1);
  });

  it("another one: a connection that has both takes over, with the cursor", async () => {
    const news = await live();
    better.last.take(message(1));
    const chat = new Reader("chat");
    link.follow(chat);
    await settle();
    const [first, second] = better.attempts;
    assert.deepEqual(second.query, { channels: "news,chat", cursor: "c1", session: "s" });
    assert.ok(!first.closed);
    assert.ok(!chat.begun);
    second.ready("c1");
    assert.ok(first.closed && chat.begun);
    second.take(message(2), message(1, { channel: "chat", id: "c3" }));
    assert.deepEqual([news.got, chat.got], [[1, 2], [1]]);
  });

  it("a second handler of a channel costs no connection", async () => {
    const first = await live();
    const second = new Reader();
    link.follow(second);
    await settle();
    better.last.take(message(1));
    assert.ok(second.begun);
    assert.deepEqual([first.got, second.got], [[1], [1]]);
    assert.equal(better.attempts.length, 1);
  });

  it("a channel that is refused does not end the others", async () => {
    const news = await live();
    const secret = new Reader("secret");
    link.follow(secret);
    await settle();
    better.last.sink.ended(new TidewireError("refused", "no", "forbidden"));
    await settle();
    assert.equal(secret.error.code, "forbidden");
    assert.equal(news.error, null);
    assert.equal(states.at(-1).status, "live");
  });

  it("when all are refused the subscriptions are told", async () => {
    const reader = new Reader();
    link.follow(reader);
    await settle();
    better.last.sink.ended(new TidewireError("refused", "no", "forbidden"));
    assert.equal(reader.error.code, "forbidden");
    assert.equal(states.at(-1).status, "failed");
  });

  it("and another subscription begins anew", async () => {
    link.follow(new Reader());
    await settle();
    better.last.sink.ended(new TidewireError("refused", "no", "forbidden"));
    await live(new Reader("open"));
    assert.deepEqual(states.at(-1), { status: "live", transport: "better" });
  });

  it("one that is left and wanted again within a second keeps its connection", async () => {
    const first = await live();
    link.unfollow(first);
    const second = new Reader();
    link.follow(second);
    await world.pass(2_000);
    assert.equal(better.attempts.length, 1);
    better.last.take(message(1));
    assert.deepEqual(second.got, [1]);
  });

  it("one that nobody wants any more is let go of", async () => {
    const news = await live();
    const chat = new Reader("chat");
    link.follow(chat);
    await settle();
    better.last.ready();
    link.unfollow(chat);
    await world.pass(1_000);
    assert.equal(better.last.query.channels, "news");
    better.last.ready();
    better.last.take(message(1));
    assert.deepEqual(news.got, [1]);
  });

  it("without any there is no connection, and nothing is left behind", async () => {
    const reader = await live();
    link.unfollow(reader);
    await world.pass(1_000);
    assert.ok(better.last.closed);
    assert.equal(states.at(-1).status, "closed");
    assert.equal(world.timers, 0);
  });

  it("who comes after that begins now, and not where others left", async () => {
    const reader = await live();
    better.last.take(message(1));
    link.unfollow(reader);
    await world.pass(1_000);
    link.follow(new Reader());
    await settle();
    assert.equal(better.last.query.cursor, undefined);
  });

  it("closed, it leaves no timer and no listener", async () => {
    await live();
    link.close();
    assert.equal(world.timers, 0);
    assert.equal(world.listeners, 0);
    assert.ok(better.last.closed);
  });
});

describe("being gentle", () => {
  it("a page that is seen again wakes what sleeps", async () => {
    await live();
    world.tell("visible");
    assert.equal(better.last.woken, 1);
  });

  it("many messages at once leave turns to the page", async () => {
    const env = world.environment({ now: () => performance.now() });
    const http = new Http(env, "http://x", new Credentials(env, {}));
    const memory = new Memory(env, "http://x");
    const ignore = () => {};
    const host = { env, http, memory, changed: ignore, moved: ignore, leaving: ignore };
    link = newLink(host, [better], {});
    const reader = new Reader();
    let turns = 0;
    reader.message = ({ seq }) => {
      reader.got.push(seq);
      const end = performance.now() + 0.1;
      while (performance.now() < end);
    };
    link.follow(reader);
    await settle();
    better.last.ready();
    const all = Array.from({ length: 2_000 }, (_, i) => message(i + 1));
    better.last.take(...all);
    while (reader.got.length < all.length) {
      turns++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(turns > 5, `${turns} turns`);
    assert.deepEqual(
      reader.got,
      all.map(({ seq }) => seq),
    );
    link.close();
  });

  it("a stream is read no further while too much waits", async () => {
    const reader = await live();
    const env = { block: true };
    reader.message = ({ seq }) => {
      reader.got.push(seq);
      if (env.block) world.time += 100;
    };
    const many = Array.from({ length: 20_000 }, (_, i) => message(i + 1));
    const pressure = better.last.sink.take(many);
    assert.ok(pressure instanceof Promise);
    env.block = false;
    await pressure;
    assert.equal(reader.got.length, many.length);
  });

  it("what cannot be held up is ended, and loses nothing", async () => {
    const reader = await live();
    let block = true;
    reader.message = ({ seq }) => {
      reader.got.push(seq);
      if (block) world.time += 100;
    };
    const many = Array.from({ length: 60_000 }, (_, i) => message(i + 1));
    const first = better.last;
    first.sink.take(many);
    assert.ok(first.closed);
    block = false;
    while (reader.got.length < many.length) await settle();
    await world.pass(1_000);
    assert.equal(better.last.query.cursor, "c60000");
    assert.notEqual(better.last, first);
  });
});
