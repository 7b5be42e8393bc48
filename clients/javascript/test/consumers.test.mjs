import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ledger } from "../dist/full/ledger.js";
import { TidewireError } from "../dist/index.js";
import { client, on, page, requests, world } from "./asked.mjs";
import { answer, message, settle } from "./world.mjs";

describe("consumers", () => {
  async function consumer() {
    on["/poll"] = ({ query }) =>
      query.cursor ? page([], query.cursor) : page([message(1), message(2), message(3)], "c3");
    on["/ack"] = () => answer(204);
    on["/nack"] = () => answer(204);
    const got = [];
    const one = client({ consumer: "ann" });
    one.subscribe("news", (value) => got.push(value));
    await settle();
    return { one, got };
  }
  const acks = () => requests.filter(({ path }) => path === "/ack");

  it("begins where it is told to, if it is", async () => {
    on["/poll"] = ({ query }) => page([], query.cursor);
    const one = client();
    one.subscribe("news", () => {}, { consumer: "ann", cursor: "c7" });
    await settle();
    assert.deepEqual([requests[0].query.consumer, requests[0].query.cursor], ["ann", "c7"]);
    await one.close();
  });

  it("what is finished in order is told by one id", async () => {
    const { one, got } = await consumer();
    one.ack(...got);
    await world.pass(100);
    assert.equal(acks().length, 1);
    assert.deepEqual(acks()[0].query, { consumer: "ann", eventId: "c3" });
    await one.close();
  });

  it("what is finished out of order is told singly", async () => {
    const { one, got } = await consumer();
    got[2].ack();
    await world.pass(100);
    assert.deepEqual(acks()[0].query, { consumer: "ann", eventId: "c3", single: "true" });
    await one.close();
  });

  it("an acknowledgement without an answer is told again", async () => {
    const { one, got } = await consumer();
    on["/ack"] = [new TypeError("no"), answer(204)];
    got[0].ack();
    await world.pass(5_000);
    assert.equal(acks().length, 2);
    await one.close();
  });

  it("closing tells what is left", async () => {
    const { one, got } = await consumer();
    got[0].ack();
    const closing = one.close();
    await world.pass(200);
    await closing;
    assert.equal(acks().length, 1);
  });

  it("nack says when", async () => {
    const { one, got } = await consumer();
    await got[0].nack({ delay: 1_500 });
    await got[1].nack({ reject: true });
    const nacks = requests.filter(({ path }) => path === "/nack").map(({ query }) => query);
    assert.deepEqual(nacks, [
      { consumer: "ann", eventId: "c1", delay: "1.5" },
      { consumer: "ann", eventId: "c2", reject: "true" },
    ]);
    await one.close();
  });

  it("who is no consumer cannot acknowledge", async () => {
    on["/poll"] = [page([], "c0"), page([message(1)], "c1")];
    const one = client();
    const errors = [];
    one.on("error", (error) => errors.push(error));
    one.subscribe("news", (value) => value.ack());
    await world.pass(3_000);
    assert.ok(errors[0] instanceof TidewireError);
    await one.close();
  });

  it("the ledger tells the same again until it was kept", () => {
    const ledger = new Ledger();
    for (const id of ["a", "b", "c"]) ledger.give(id);
    ledger.finish("a");
    ledger.finish("c");
    const due = ledger.due();
    assert.deepEqual(due, { upto: "a", singles: ["c"] });
    assert.deepEqual(ledger.due(), due);
    ledger.told(due);
    assert.equal(ledger.due(), undefined);
    assert.ok(!ledger.give("a"), "a copy that was on its way is not dealt with again");
    assert.ok(ledger.give("b"), "what is not finished is");
  });
});
