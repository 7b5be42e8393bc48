/** Drives the machine with a clock of its own, and writes down what it wants. */
import { machine } from "../dist/machine.js";

const WATCH = {
  websocket: "ask",
  sse: "listen",
  eventsource: "deaf",
  longpoll: "own",
  poll: "own",
};

export class Rig {
  now = 0;
  /** Attempts that are open, by transport, the newest last. */
  open = [];
  /** Every transport that was opened, in order. */
  opened = [];
  adopted = null;
  states = [];
  probes = 0;
  remembered = [];
  declined = [];
  failure = null;

  constructor(
    names = ["websocket", "sse", "longpoll", "poll"],
    { remembered = null, draw = () => 0.5 } = {},
  ) {
    const candidates = names.map((name) => ({ name, watch: WATCH[name] }));
    this.machine = machine(candidates, remembered, draw);
  }

  get state() {
    return this.states.at(-1);
  }

  /** The names of the transports that are open. */
  get names() {
    return this.open.map(({ transport }) => transport);
  }

  send(type, more = {}) {
    for (const effect of this.machine.step({ type, ...more }, this.now)) this.#do(effect);
    return this;
  }

  #do(effect) {
    switch (effect.type) {
      case "open":
        this.open.push({ id: effect.id, transport: effect.transport });
        this.opened.push(effect.transport);
        break;
      case "close":
        this.open = this.open.filter(({ id }) => id !== effect.id);
        break;
      case "adopt":
        this.adopted = effect.id;
        break;
      case "probe":
        this.probes++;
        break;
      case "remember":
        this.remembered.push(effect.transport);
        break;
      case "state":
        this.states.push(effect.state);
        break;
      case "declined":
        this.declined.push(effect.failure);
        break;
      case "fail":
        this.failure = effect.failure;
        break;
    }
  }

  /** Lets time pass, with a tick whenever the machine wants one. */
  pass(ms) {
    const end = this.now + ms;
    while (this.machine.wakeAt <= end) {
      this.now = Math.max(this.now, this.machine.wakeAt);
      this.send("tick");
    }
    this.now = end;
    return this;
  }

  #find(transport) {
    const found = this.open.findLast((one) => one.transport === transport);
    if (!found) throw new Error(`${transport} is not open, but ${this.names}`);
    return found.id;
  }

  ready(transport, { heartbeat = 25_000, timeout = 10_000 } = {}) {
    return this.send("ready", { id: this.#find(transport), heartbeat, timeout });
  }

  heard(transport) {
    return this.send("heard", { id: this.#find(transport) });
  }

  /** The attempt ends by itself. */
  ended(transport, kind = "cut", { retry, code = kind } = {}) {
    const id = this.#find(transport);
    this.open = this.open.filter((one) => one.id !== id);
    return this.send("ended", { id, failure: { kind, code, retry, message: `it was ${kind}` } });
  }

  /** Live on this transport, the only one that gets through. */
  liveOn(transport) {
    if (!this.opened.length) this.send("start");
    for (let i = 0; i < 10 && !this.names.includes(transport); i++) this.ended(this.names[0]);
    return this.ready(transport);
  }
}
