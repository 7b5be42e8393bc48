import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  BREAKS,
  CLIMB_AFTER,
  DEMOTION,
  GRACE,
  HEAD_START,
  LONGEST_DEMOTION,
  READY_WITHIN,
  RENEW_AFTER,
  SOONEST,
  STABLE_AFTER,
} from "../dist/machine.js";
import { Rig } from "./rig.mjs";

const ALL = ["websocket", "sse", "longpoll", "poll"];

describe("the race", () => {
  it("begins with the best transport alone", () => {
    assert.deepEqual(new Rig().send("start").names, ["websocket"]);
  });

  it("tries the next one beside it after a head start", () => {
    const rig = new Rig().send("start").pass(HEAD_START - 1);
    assert.deepEqual(rig.names, ["websocket"]);
    assert.deepEqual(rig.pass(1).names, ["websocket", "sse"]);
  });

  it("tries one after the other while none answers", () => {
    assert.deepEqual(new Rig().send("start").pass(4 * HEAD_START).opened, ALL);
  });

  it("tries the next one at once when one has failed", () => {
    assert.deepEqual(new Rig().send("start").ended("websocket").names, ["sse"]);
  });

  it("is won by the first that is ready, and the others are closed", () => {
    const rig = new Rig().send("start").pass(HEAD_START);
    rig.ready("sse");
    assert.deepEqual(rig.names, ["sse"]);
    assert.equal(rig.adopted, 2);
    assert.deepEqual(rig.state, { status: "live", transport: "sse" });
  });

  it("takes no notice of a loser that is ready in the same moment", () => {
    const rig = new Rig().send("start").pass(HEAD_START).ready("websocket");
    rig.send("ready", { id: 2, heartbeat: 0, timeout: 0 });
    assert.equal(rig.adopted, 1);
    assert.deepEqual(rig.names, ["websocket"]);
  });

  it("takes no notice of a loser that ends", () => {
    const rig = new Rig().send("start").pass(HEAD_START).ready("websocket");
    rig.send("ended", { id: 2, failure: { kind: "refused", message: "", code: "" } });
    assert.equal(rig.state.status, "live");
  });

  it("a WebSocket that opens and stays silent does not hold up the others", () => {
    // Nobody tells the machine that a socket is open: only `ready` counts.
    const rig = new Rig().send("start").pass(HEAD_START).ready("sse");
    assert.equal(rig.state.transport, "sse");
  });

  it("an attempt that is not ready in time is closed", () => {
    const rig = new Rig(["websocket"]).send("start").pass(READY_WITHIN - 1);
    assert.deepEqual(rig.names, ["websocket"]);
    rig.pass(1);
    assert.deepEqual(rig.names, []);
    assert.equal(rig.state.status, "waiting");
  });

  it("attempts that all run out of time end the race once", () => {
    const rig = new Rig().send("start").pass(3 * HEAD_START + READY_WITHIN);
    assert.equal(rig.states.filter(({ status }) => status === "waiting").length, 1);
    assert.deepEqual(rig.names, []);
  });

  it("a blocked upgrade costs no time: the next one is there", () => {
    const rig = new Rig().send("start").ended("websocket", "cut", { code: "blocked" });
    rig.ready("sse");
    assert.equal(rig.now, 0);
    assert.equal(rig.state.transport, "sse");
  });

  it("a captive portal is somebody else's answer on every transport: it waits, and tries again", () => {
    const rig = new Rig().send("start");
    for (const name of ALL) rig.ended(name, "alien");
    assert.equal(rig.state.status, "waiting");
    assert.equal(rig.failure, null);
    rig.pass(1_000);
    assert.equal(rig.opened.length, ALL.length + 1);
  });

  it("a page of errors for one transport leaves it to the others", () => {
    const rig = new Rig().send("start").ended("websocket").ended("sse", "alien").ready("longpoll");
    assert.equal(rig.state.transport, "longpoll");
  });

  it("a proxy that holds back event streams loses to long polling", () => {
    const rig = new Rig().send("start").ended("websocket").pass(HEAD_START).ready("longpoll");
    assert.deepEqual(rig.names, ["longpoll"]);
  });

  it("without a transport it fails, and says what is missing", () => {
    const rig = new Rig([]).send("start");
    assert.equal(rig.failure.code, "no_transport");
    assert.equal(rig.state.status, "failed");
  });

  it("a second start is no second race", () => {
    assert.equal(new Rig().send("start").send("start").opened.length, 1);
  });
});

describe("what the server says", () => {
  it("a refusal ends it for good", () => {
    const rig = new Rig()
      .send("start")
      .pass(HEAD_START)
      .ended("sse", "refused", { code: "forbidden" });
    assert.equal(rig.failure.code, "forbidden");
    assert.deepEqual(rig.names, []);
    assert.equal(rig.pass(3_600_000).opened.length, 2);
    assert.equal(rig.send("online").send("visible").names.length, 0);
  });

  it("after a refusal it can be started again", () => {
    const rig = new Rig().send("start").ended("websocket", "refused").send("start");
    assert.deepEqual(rig.names, ["websocket"]);
  });

  it("a terminal close ends a live connection for good", () => {
    const rig = new Rig().liveOn("websocket").ended("websocket", "refused", { code: "replaced" });
    assert.equal(rig.state.status, "failed");
    assert.equal(rig.machine.wakeAt, Number.POSITIVE_INFINITY);
  });

  it("who is asked to come later tries no other transport before", () => {
    const rig = new Rig().send("start").pass(HEAD_START).ended("sse", "later", { retry: 5_000 });
    assert.deepEqual(rig.names, []);
    rig.pass(4_999);
    assert.equal(rig.opened.length, 2);
    rig.pass(1_001);
    assert.equal(rig.opened.length, 3);
  });

  it("Retry-After is a least: all that were told the same come spread over a second", () => {
    const waits = [0, 0.999].map((drawn) => {
      const rig = new Rig(ALL, { draw: () => drawn })
        .send("start")
        .ended("websocket", "later", { retry: 5_000 });
      return rig.state.retryIn;
    });
    assert.deepEqual(waits, [5_000, 5_999]);
  });

  it("Retry-After counts more than being online or visible", () => {
    const rig = new Rig().send("start").ended("websocket", "later", { retry: 20_000 }).pass(5_000);
    rig.send("online").send("visible");
    assert.equal(rig.state.status, "waiting");
  });

  it("a server that goes down for a restart is no reason to demote its transport", () => {
    const rig = new Rig().send("start");
    for (let i = 0; i < 5; i++) {
      rig.ready("websocket").ended("websocket", "later", { retry: 100 });
      rig.pass(rig.state.retryIn);
    }
    assert.deepEqual(new Set(rig.opened), new Set(["websocket"]));
  });
});

describe("the back-off", () => {
  const waits = (rig, count) =>
    Array.from({ length: count }, () => {
      rig.ended("websocket");
      const { retryIn } = rig.state;
      rig.pass(retryIn);
      return retryIn;
    });

  it("doubles its span from 1 s to 30 s", () => {
    const rig = new Rig(["websocket"], { draw: () => 0.999_999 }).send("start");
    assert.deepEqual(waits(rig, 7).map(Math.round), [1e3, 2e3, 4e3, 8e3, 16e3, 30e3, 30e3]);
  });

  it("uses all of the span", () => {
    const rig = new Rig(["websocket"], { draw: () => 0 }).send("start");
    assert.deepEqual(waits(rig, 3), [0, 0, 0]);
  });

  it("is not reset by a connection that lives for less than a minute", () => {
    const rig = new Rig(["websocket"], { draw: () => 0.999_999 }).send("start");
    waits(rig, 3);
    rig.ready("websocket", { heartbeat: 0 }).pass(STABLE_AFTER - 1);
    assert.equal(Math.round(waits(rig, 1)[0]), 8_000);
  });

  it("is reset by one that lives for a minute", () => {
    const rig = new Rig(["websocket"], { draw: () => 0.999_999 }).send("start");
    waits(rig, 3);
    rig.ready("websocket", { heartbeat: 0 }).pass(STABLE_AFTER);
    assert.equal(Math.round(waits(rig, 1)[0]), 1_000);
  });

  it("a loop of errors is no loop of attempts", () => {
    // A server that takes each connection and drops it at once, for ten minutes.
    const rig = new Rig(ALL, { draw: Math.random }).send("start");
    while (rig.now < 600_000) {
      const [name] = rig.names;
      if (name) rig.ready(name).ended(name);
      else rig.pass(Math.max(rig.machine.wakeAt - rig.now, 1));
    }
    assert.ok(rig.opened.length < 120, `${rig.opened.length} attempts in ten minutes`);
  });

  it("many clients that are cut together come back spread out", () => {
    const times = Array.from({ length: 200 }, () => {
      const rig = new Rig(ALL, { draw: Math.random }).liveOn("websocket");
      return rig.ended("websocket").state.retryIn;
    });
    assert.ok(Math.max(...times) - Math.min(...times) > 800);
    assert.ok(Math.max(...times) < 1_000);
  });
});

describe("events of the page", () => {
  const waiting = () => {
    const rig = new Rig(["websocket"], { draw: () => 0.999 }).send("start");
    for (let i = 0; i < 6; i++) {
      rig.ended("websocket").pass(i < 5 ? rig.state.retryIn : SOONEST);
    }
    assert.equal(rig.state.status, "waiting");
    return rig;
  };

  for (const event of ["online", "visible"]) {
    it(`${event}: it tries at once`, () => {
      const rig = waiting();
      const count = rig.opened.length;
      assert.equal(rig.send(event).opened.length, count + 1);
    });

    it(`${event}, again and again: no more than one attempt a second`, () => {
      const rig = waiting();
      const count = rig.opened.length;
      for (let i = 0; i < 1_000; i++) {
        rig.send(event);
        if (rig.names.length > 0) rig.ended("websocket");
        rig.pass(10);
      }
      assert.ok(rig.opened.length - count <= 11, `${rig.opened.length - count} attempts`);
    });
  }

  it("online does not reset the back-off", () => {
    const rig = waiting().send("online").ended("websocket");
    assert.ok(rig.state.retryIn > 29_000);
  });

  it("online, while connected: a WebSocket is asked whether it still lives", () => {
    const rig = new Rig().liveOn("websocket").pass(1_000).send("online");
    assert.equal(rig.probes, 1);
    assert.deepEqual(rig.names, ["websocket"]);
  });

  it("online, while connected: a stream is made anew before the old one is let go", () => {
    const rig = new Rig().liveOn("sse").send("online");
    assert.deepEqual(rig.names, ["sse", "sse"]);
    rig.ready("sse");
    assert.equal(rig.names.length, 1);
    assert.equal(rig.adopted, rig.open[0].id);
  });

  it("offline: a WebSocket is asked whether it still lives", () => {
    assert.equal(new Rig().liveOn("websocket").send("offline").probes, 1);
  });

  it("offline, and it is dead: the time of the answer, not that of a heartbeat", () => {
    const rig = new Rig().liveOn("websocket").send("offline").pass(10_000);
    assert.notEqual(rig.state.status, "live");
  });

  it("visible after a long sleep: a quiet WebSocket is asked", () => {
    const rig = new Rig().liveOn("websocket");
    rig.now += 3_600_000;
    assert.equal(rig.send("visible").probes, 1);
  });

  it("visible, and something was heard just now: nothing is done", () => {
    const rig = new Rig().liveOn("websocket").pass(1_000).send("visible");
    assert.equal(rig.probes, 0);
  });
});

describe("silence", () => {
  it("a WebSocket that is quiet for a heartbeat is asked, and lives when it answers", () => {
    const rig = new Rig().liveOn("websocket").pass(25_000);
    assert.equal(rig.probes, 1);
    rig.pass(9_999).heard("websocket").pass(20_000);
    assert.equal(rig.state.status, "live");
  });

  it("a WebSocket that opened and fell silent is given up after a heartbeat and a time-out", () => {
    const rig = new Rig(["websocket"]).liveOn("websocket").pass(34_999);
    assert.equal(rig.state.status, "live");
    assert.equal(rig.pass(1).state.status, "waiting");
  });

  it("a busy WebSocket is never asked", () => {
    const rig = new Rig().liveOn("websocket");
    for (let i = 0; i < 100; i++) rig.pass(20_000).heard("websocket");
    assert.equal(rig.probes, 0);
  });

  it("an event stream is given up after two heartbeats and some grace", () => {
    const rig = new Rig(["sse"]).send("start").ready("sse", { heartbeat: 15_000, timeout: 0 });
    rig.pass(30_000 + GRACE - 1);
    assert.equal(rig.state.status, "live");
    assert.equal(rig.pass(1).state.status, "waiting");
  });

  it("an event stream whose heartbeats come goes on", () => {
    const rig = new Rig(["sse"]).send("start").ready("sse", { heartbeat: 15_000, timeout: 0 });
    for (let i = 0; i < 100; i++) rig.pass(15_000).heard("sse");
    assert.equal(rig.opened.length, 1);
  });

  it("a server that promises no heartbeat is not held to one", () => {
    const rig = new Rig(["sse"]).send("start").ready("sse", { heartbeat: 0, timeout: 0 });
    assert.equal(rig.pass(3_600_000).state.status, "live");
  });

  it("an EventSource, whose heartbeats cannot be heard, is made anew beside the old one", () => {
    const rig = new Rig(["eventsource"]).send("start").ready("eventsource", { heartbeat: 15_000 });
    rig.pass(RENEW_AFTER);
    assert.equal(rig.names.length, 2);
    assert.equal(rig.ready("eventsource").names.length, 1);
    assert.equal(rig.state.status, "live");
  });

  it("polls have time-outs of their own", () => {
    const rig = new Rig(["poll"]).send("start").ready("poll", { heartbeat: 0, timeout: 0 });
    assert.equal(rig.pass(3_600_000).opened.length, 1);
  });
});

describe("memory", () => {
  it("the winner is told, to be kept", () => {
    assert.deepEqual(new Rig().liveOn("sse").remembered, ["sse"]);
  });

  it("the remembered transport is tried first", () => {
    const rig = new Rig(ALL, { remembered: "longpoll" }).send("start");
    assert.deepEqual(rig.names, ["longpoll"]);
    assert.deepEqual(rig.pass(HEAD_START).names, ["longpoll", "websocket"]);
  });

  it("one that is not known any more is no harm", () => {
    assert.deepEqual(new Rig(ALL, { remembered: "carrier-pigeon" }).send("start").names, [
      "websocket",
    ]);
  });

  it("a winner that breaks again and again is forgotten", () => {
    const rig = new Rig().send("start");
    for (let i = 0; i < BREAKS; i++) rig.ready("websocket").ended("websocket").pass(30_000);
    assert.equal(rig.remembered.at(-1), null);
  });
});

describe("demotion", () => {
  const broken = (rig, times = BREAKS) => {
    for (let i = 0; i < times; i++) {
      rig.ready("websocket").ended("websocket");
      rig.pass(rig.state.retryIn);
    }
    return rig;
  };

  it("one break is none", () => {
    assert.deepEqual(broken(new Rig().send("start"), 1).names, ["websocket"]);
  });

  it("after repeated breaks the next transport comes first", () => {
    assert.deepEqual(broken(new Rig().send("start")).names, ["sse"]);
  });

  it("breaks of connections that lived for a minute do not count", () => {
    const rig = new Rig().send("start");
    for (let i = 0; i < 5; i++) {
      rig.ready("websocket", { heartbeat: 0 }).pass(STABLE_AFTER).ended("websocket");
      rig.pass(rig.state.retryIn);
    }
    assert.deepEqual(rig.names, ["websocket"]);
  });

  it("silence counts as a break", () => {
    const rig = new Rig().send("start");
    for (let i = 0; i < BREAKS; i++) {
      rig.ready("websocket").pass(35_000);
      rig.pass(rig.state.retryIn ?? 0);
    }
    assert.deepEqual(rig.names, ["sse"]);
  });

  it("a demoted transport is still a last resort", () => {
    const rig = broken(new Rig(["websocket", "sse"]).send("start")).ended("sse");
    assert.deepEqual(rig.names, ["websocket"]);
  });

  it("what failed while another got through is demoted", () => {
    const rig = new Rig().send("start").ended("websocket").ready("sse", { heartbeat: 0 });
    rig.pass(CLIMB_AFTER * 2);
    assert.deepEqual(rig.names, ["sse"], "it is not tried again so soon");
  });

  it("when everything fails nothing is demoted: it is the network", () => {
    const rig = new Rig(["websocket", "sse"]).send("start");
    rig.ended("websocket").ended("sse");
    rig.pass(rig.state.retryIn);
    assert.deepEqual(rig.names, ["websocket"]);
  });

  it("lasts longer each time, and an hour at most", () => {
    const rig = new Rig(["websocket", "sse"], { draw: () => 0 }).send("start").ended("websocket");
    rig.ready("sse", { heartbeat: 0 });
    const times = Array.from({ length: 6 }, () => {
      const begin = rig.now;
      while (!rig.names.includes("websocket")) rig.pass(1_000);
      rig.ended("websocket");
      return rig.now - begin;
    });
    assert.deepEqual(
      times,
      [1, 2, 4, 8, 12, 12].map((n) => n * DEMOTION),
    );
    assert.equal(times.at(-1), LONGEST_DEMOTION);
  });

  it("another network is another matter", () => {
    const rig = broken(new Rig().send("start")).ready("sse", { heartbeat: 0 });
    rig.send("online").ready("sse", { heartbeat: 0 }).ended("sse");
    rig.pass(rig.state.retryIn + HEAD_START);
    assert.deepEqual(rig.names, ["sse", "websocket"]);
  });
});

describe("climbing back", () => {
  /** Live on SSE, while the WebSocket was merely slow. */
  const fallen = () =>
    new Rig().send("start").pass(HEAD_START).ready("sse", { heartbeat: 0, timeout: 0 });
  const climbing = () => {
    const rig = fallen().pass(CLIMB_AFTER * 1.5);
    assert.deepEqual(rig.names, ["sse", "websocket"]);
    return rig;
  };

  it("the better one is tried beside the one in use", () => {
    assert.equal(climbing().state.transport, "sse");
  });

  it("when it is ready it is adopted first, and then the old one is closed", () => {
    const rig = climbing();
    const { id } = rig.open[1];
    const effects = rig.machine.step({ type: "ready", id, heartbeat: 0, timeout: 0 }, rig.now);
    const types = effects.map(({ type }) => type);
    assert.ok(types.indexOf("adopt") < types.indexOf("close"));
    assert.equal(effects.findLast(({ state }) => state).state.transport, "websocket");
  });

  it("a failure to climb leaves what is in use alone", () => {
    const rig = climbing().ended("websocket");
    assert.equal(rig.state.transport, "sse");
    assert.deepEqual(rig.names, ["sse"]);
  });

  it("a refusal of the climber does not end what is in use", () => {
    const rig = climbing().ended("websocket", "refused");
    assert.equal(rig.failure, null);
    assert.equal(rig.declined.length, 1);
    assert.deepEqual(rig.names, ["sse"]);
  });

  it("a climber that stays silent is given up", () => {
    const rig = climbing().pass(READY_WITHIN);
    assert.deepEqual(rig.names, ["sse"]);
  });

  it("when the one in use breaks meanwhile, the climber is in the race already", () => {
    const rig = climbing().ended("sse");
    assert.deepEqual(rig.names, ["websocket"]);
    rig.ready("websocket");
    assert.equal(rig.state.transport, "websocket");
  });

  it("and if it does not get there, the others follow", () => {
    const rig = climbing().ended("sse").pass(HEAD_START);
    assert.equal(rig.names.length, 2);
  });

  it("a page that nobody sees does not climb", () => {
    const rig = fallen()
      .send("hidden")
      .pass(CLIMB_AFTER * 10);
    assert.deepEqual(rig.names, ["sse"]);
    rig
      .heard("sse")
      .send("visible")
      .pass(CLIMB_AFTER / 2);
    assert.deepEqual(rig.names, ["sse", "websocket"]);
  });

  it("the best one has nothing to climb to", () => {
    const rig = new Rig().send("start").ready("websocket", { heartbeat: 0, timeout: 0 });
    assert.equal(rig.pass(3_600_000).opened.length, 1);
  });

  it("goes to the best that is not demoted, not merely to the next", () => {
    const rig = new Rig()
      .send("start")
      .pass(3 * HEAD_START)
      .ready("poll", { heartbeat: 0 });
    rig.pass(CLIMB_AFTER * 1.5);
    assert.deepEqual(rig.names, ["poll", "websocket"]);
  });
});

describe("other channels", () => {
  it("a connection that has them takes over from the one in use", () => {
    const rig = new Rig().liveOn("sse").send("renew");
    assert.deepEqual(rig.names, ["sse", "sse"]);
    assert.equal(rig.ready("sse").names.length, 1);
  });

  it("changed again before it is ready: the newest counts", () => {
    const rig = new Rig().liveOn("sse").send("renew").send("renew");
    assert.equal(rig.names.length, 2);
    assert.equal(rig.opened.length, 4);
  });

  it("a failure is tried again, and the one in use goes on meanwhile", () => {
    const rig = new Rig().liveOn("websocket").send("renew").ended("websocket");
    assert.equal(rig.state.status, "live");
    assert.equal(rig.pass(1_000).names.length, 2);
  });

  it("changed in the race: it begins anew with them", () => {
    const rig = new Rig().send("start").pass(HEAD_START).send("renew");
    assert.deepEqual(rig.names, ["websocket"]);
  });

  it("changed while it waits: the next attempt has them anyway", () => {
    const rig = new Rig(["websocket"]).send("start").ended("websocket").send("renew");
    assert.deepEqual(rig.names, []);
  });
});

describe("the end", () => {
  for (const [name, prepare] of Object.entries({
    racing: (rig) => rig.send("start").pass(HEAD_START),
    live: (rig) => rig.liveOn("websocket"),
    climbing: (rig) =>
      rig
        .send("start")
        .pass(HEAD_START)
        .ready("sse", { heartbeat: 0 })
        .pass(CLIMB_AFTER * 1.5),
    waiting: (rig) => rig.send("start").ended("websocket", "later"),
  })) {
    it(`stopped while ${name}: everything is closed, and nothing is to be done`, () => {
      const rig = prepare(new Rig()).send("stop");
      assert.deepEqual(rig.names, []);
      assert.equal(rig.state.status, "closed");
      assert.equal(rig.machine.wakeAt, Number.POSITIVE_INFINITY);
      assert.equal(rig.pass(3_600_000).send("online").names.length, 0);
    });
  }
});
