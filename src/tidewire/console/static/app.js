/** The page: wires the controls, the four connections and the panels together. */

import { Backoff, pause } from "./backoff.js";
import { Connection } from "./connection.js";
import { Credential, tabStorage } from "./credential.js";
import { Feed, NO_ANSWER } from "./feed.js";
import { count, messages } from "./format.js";
import { ask } from "./http.js";
import { Identity } from "./identity.js";
import { Ledger } from "./ledger.js";
import { Panel } from "./panel.js";
import { proof } from "./proof.js";
import { Publisher } from "./publisher.js";
import { Refused } from "./refused.js";
import { ServerClock } from "./statistics.js";

const TRANSPORTS = [
  {
    name: "websocket",
    title: "WebSocket",
    sentence: "One socket, both ways: each message is pushed the moment it is published.",
    requests: "Sockets",
    transport: "websocket",
  },
  {
    name: "sse",
    title: "Server-Sent Events",
    sentence: "One HTTP response that never ends: pushed too, through whatever speaks HTTP.",
    requests: "Streams",
    transport: "sse",
  },
  {
    name: "longpoll",
    title: "Long polling",
    sentence: "The server holds each request until there is news: nearly as quick as push.",
    requests: "Requests",
    transport: "longpoll",
  },
  {
    name: "shortpoll",
    title: "Short polling",
    sentence: "Asks every few seconds: later than the others, but gets through anywhere.",
    requests: "Requests",
    transport: "poll",
  },
];
const DEFAULT_CHANNEL = "market:demo";
const BACKLOG = 12; // messages from before, so that the page does not start empty
const TICK = 250; // ms between looks at what only time changes
const TIMEOUT = 10_000; // ms
const HIDDEN = 5000; // ms of being hidden until the page lets go of its connections

const base = document.baseURI.split("#")[0];
const find = (selector) => document.querySelector(selector);
const ui = {
  channels: find("#channels"),
  other: find("#other"),
  publish: find("#publish"),
  text: find("#text"),
  status: find("#status"),
  cutAll: find("#cut-all"),
  restoreAll: find("#restore-all"),
  panels: find("#panels"),
  proof: find("#proof"),
  agreed: find("#agreed"),
  verdict: find("#verdict"),
  detail: find("#detail"),
  announcer: find("#announcer"),
};

const credential = new Credential(tabStorage());
const publisher = new Publisher(base, credential);
const identity = new Identity(
  {
    panel: find("#identity"),
    form: find("#identity-form"),
    input: find("#credential"),
    why: find("#identity-why"),
    forget: find("#forget"),
  },
  credential,
  () => (credential.isSet && readers.length > 0 ? restoreAll() : open(channel)),
);
const panels = TRANSPORTS.map(
  (transport, i) => new Panel(find("#panel"), transport, () => toggle(readers[i])),
);
ui.panels.append(...panels.map((panel) => panel.element));

let channel = "";
let session = new AbortController(); // ends when another channel is chosen
let readers = []; // per transport: {name, title, panel, feed, connection, state}
const suspended = []; // the readers to restore when the page is seen again
let hidden = 0; // the timer of a page that has just been hidden
let ledger = null;
let frame = 0; // the animation frame that will render; 0: none

function say(text) {
  ui.announcer.textContent = text;
}

/**
 * Where all four start: at the same message, so that their lists can be compared. It is the oldest
 * of a channel that keeps no more than the backlog, and otherwise the one after the oldest we got.
 */
async function startingPoint(signal) {
  const url = new URL("poll", base);
  url.searchParams.set("channels", channel);
  url.searchParams.set("since", String(-BACKLOG - 1));
  const answer = await (await ask(url, { timeout: TIMEOUT, signal, credential })).json();
  const [oldest] = answer.messages;
  if (!oldest) return { cursor: answer.cursor, seq: null };
  if (answer.messages.length <= BACKLOG) return { cursor: null, seq: oldest.seq - 1 };
  return { cursor: oldest.id, seq: oldest.seq };
}

async function waitForStart(signal) {
  const backoff = new Backoff();
  for (;;) {
    try {
      return await startingPoint(signal);
    } catch (error) {
      if (signal.aborted) throw error;
      if (error instanceof Refused) throw error;
      const wait = error.retry ?? backoff.next();
      ui.detail.textContent = error.name === "TimeoutError" ? NO_ANSWER : "The server is away. Trying again.";
      await pause(wait, signal);
    }
  }
}

/** Follows another channel on all four transports, from a clean sheet. */
async function open(name) {
  session.abort();
  for (const { connection } of readers) connection.cut();
  readers = [];
  suspended.length = 0;
  session = new AbortController();
  const { signal } = session;
  channel = name;
  showChannel();
  identity.dismiss();
  ui.panels.hidden = false;
  try {
    const start = await waitForStart(signal);
    begin(start);
  } catch (error) {
    if (signal.aborted) return;
    const asked = error.asksWho || error.forbids;
    ui.detail.textContent = asked ? "Waiting for a token or a key." : error.message;
    ui.panels.hidden = asked;
    ui.cutAll.disabled = ui.restoreAll.disabled = true;
    refused(error);
  }
}

/** The server has said no: what helps is to show who one is, or to be somebody else. */
function refused(error) {
  if (error.asksWho || error.forbids) identity.ask(error);
}

function begin(start) {
  const clock = new ServerClock();
  ledger = new Ledger(TRANSPORTS.map(({ name }) => name));
  readers = TRANSPORTS.map(({ name, title, transport }, i) => {
    const panel = panels[i];
    const feed = new Feed({ ...start, clock });
    const saw = (envelope) => {
      ledger.saw(name, envelope.id);
      panel.accept(envelope);
    };
    const connection = new Connection({
      transport, channel, base, feed, credential, saw, changed: renderSoon, refused,
    });
    panel.bind(feed);
    return { name, title, panel, feed, connection, state: "connecting" };
  });
  for (const { connection } of readers) connection.restore();
  renderSoon();
}

function toggle(reader) {
  if (!reader) return;
  if (isAway(reader)) reader.connection.restore();
  else reader.connection.cut();
}

function restoreAll() {
  for (const { connection } of readers.filter(isAway)) connection.restore();
}

/**
 * A page that nobody sees would still hold two of the six connections that a browser allows to a
 * server, and a third such page would stop them all. So it lets go, and catches up when seen.
 */
function suspend() {
  const connected = readers.filter((reader) => !isAway(reader));
  for (const { connection } of connected) connection.cut();
  suspended.push(...connected);
}

function resume() {
  for (const { connection } of suspended.splice(0)) connection.restore();
}

const isAway = ({ feed }) => feed.state === "cut" || feed.state === "stopped";

function renderSoon() {
  frame ||= requestAnimationFrame(render);
}

function render() {
  frame = 0;
  if (readers.length === 0) return;
  const now = Date.now();
  for (const reader of readers) {
    reader.feed.tick(now);
    reader.panel.render(now, ledger.behind(reader.name));
    announce(reader);
  }
  renderProof();
  ui.cutAll.disabled = readers.every(isAway);
  ui.restoreAll.disabled = !readers.some(isAway);
}

function announce(reader) {
  const { feed, title } = reader;
  if (reader.state === feed.state) return;
  reader.state = feed.state;
  if (feed.state === "cut") say(`${title} is cut.`);
  if (feed.state === "live" && feed.recovered !== null) {
    say(`${title} is back: ${messages(feed.recovered)} recovered.`);
  }
}

function renderProof() {
  const { verdict, detail } = proof(ledger, readers);
  ui.proof.dataset.verdict = verdict;
  ui.agreed.dataset.count = String(ledger.agreed);
  ui.agreed.textContent = count(ledger.agreed);
  ui.verdict.textContent = verdict === "waiting" ? "…" : verdict;
  ui.detail.textContent = detail;
}

function showChannel() {
  ui.other.value = channel;
  for (const radio of ui.channels.elements.channel) radio.checked = radio.value === channel;
  ui.status.textContent = "";
  document.title = `${channel} · Tidewire`;
}

/** The channel stands in the address, so that a link or a reload leads to it again. */
function channelInAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || DEFAULT_CHANNEL;
  } catch {
    return DEFAULT_CHANNEL;
  }
}

const choose = (name) => (location.hash = encodeURIComponent(name));

ui.channels.addEventListener("change", ({ target }) => {
  if (target.type === "radio") choose(target.value);
});
ui.channels.addEventListener("submit", (event) => {
  event.preventDefault();
  choose(ui.other.value);
});
ui.publish.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = ui.text.value;
  try {
    const { seq } = await publisher.publish(channel, text);
    ui.status.textContent = `Published to ${channel} as seq ${seq}.`;
    if (ui.text.value === text) ui.text.value = "";
  } catch (error) {
    const reason = error instanceof Refused ? error.message : "The server did not answer; try again.";
    ui.status.textContent = `Not published. ${reason}`;
    if (error.asksWho) identity.ask(error);
  }
});
ui.cutAll.addEventListener("click", () => readers.forEach(({ connection }) => connection.cut()));
ui.restoreAll.addEventListener("click", restoreAll);
addEventListener("pagehide", suspend);
addEventListener("pageshow", resume);
document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) hidden = setTimeout(suspend, HIDDEN);
  else resume();
});
addEventListener("hashchange", () => open(channelInAddress()));
setInterval(() => {
  if (!document.hidden) renderSoon();
}, TICK);
open(channelInAddress());
