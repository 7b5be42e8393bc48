/** Keeps one transport's stream going: connects, resumes after a break, cuts and restores. */

import { Backoff, pause } from "./backoff.js";

const PROVEN = 10_000; // ms that a connection must last for the back-off to start anew

/** The server understood and said no: trying again would not help. */
export class Refused extends Error {
  /** @param {string} message a sentence for people @param {number} [status] of HTTP, or a close code */
  constructor(message, status) {
    super(message);
    this.status = status;
  }

  /** Whether the server wants to know who asks. */
  get asksWho() {
    return this.status === 401 || this.status === 4401;
  }

  /** Whether it knows, and that one may not. */
  get forbids() {
    return this.status === 403 || this.status === 4403;
  }
}

/** The connection ended in a way that calls for another attempt, after `retry` ms if given. */
export class Lost extends Error {
  /** @param {string} message a sentence for people @param {number} [retry] */
  constructor(message, retry) {
    super(message);
    this.retry = retry;
  }
}

/**
 * What a transport sees of its connection. Once the connection is cut nothing it reports counts.
 *
 * A transport is a function `follow(link)` that reads from the cursor on. It never returns while
 * the stream lives, and throws Lost or Refused when it ends; any other error counts as Lost.
 */
class Link {
  #connection;

  constructor(connection, signal) {
    this.#connection = connection;
    this.signal = signal;
    this.openedAt = null;
  }

  get cursor() {
    return this.#connection.feed.cursor;
  }

  /** Named events that an EventSource has to listen for. */
  get eventNames() {
    return this.#connection.eventNames;
  }

  /** The address of an endpoint for this channel, from the cursor on (null: from the start). */
  url(path, parameters = {}) {
    const url = new URL(path, this.#connection.base);
    url.searchParams.set("channels", this.#connection.channel);
    if (this.cursor === null) url.searchParams.set("since", "start");
    else url.searchParams.set("cursor", this.cursor);
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    return url;
  }

  get credential() {
    return this.#connection.credential;
  }

  /** The address of an endpoint that takes no headers: with a ticket, if the page has a credential. */
  async door(path) {
    const { base } = this.#connection;
    const url = await this.credential.admit(this.url(path), { base, signal: this.signal });
    this.signal.throwIfAborted();
    return url;
  }

  asked = () => this.#tell((feed) => feed.asked());
  took = (bytes) => this.#tell((feed) => feed.took(bytes));
  moved = (cursor) => this.#tell((feed) => feed.moved(cursor));
  gap = (gap) => this.#tell((feed) => feed.gap(gap));
  resting = (at) => this.#tell((feed) => feed.resting(at));
  unchanged = () => this.#tell((feed) => (feed.unchanged += 1));

  /** The stream broke and is about to be made anew by the browser itself. */
  dropped = () => this.#tell((feed) => feed.lost("The server is away.", null, Date.now()));

  /** @param {number} [at] messages accepted by the server before this were missed, Unix ms */
  opened = (at = Date.now()) =>
    this.#tell((feed) => {
      this.openedAt = Date.now();
      feed.opened(at, this.openedAt);
    });

  message = (envelope) =>
    this.#tell((feed) => {
      feed.accept(envelope, Date.now());
      this.#connection.saw(envelope);
    });

  #tell(what) {
    if (this.signal.aborted) return;
    what(this.#connection.feed);
    this.#connection.changed();
  }
}

export class Connection {
  #follow;
  #run = null; // the AbortController of the running attempt; null while cut
  #backoff = new Backoff();

  /**
   * @param {object} options
   * @param {(link: Link) => Promise<never>} options.follow the transport
   * @param {string} options.channel
   * @param {string} options.base the address that the endpoints are relative to
   * @param {import("./feed.js").Feed} options.feed what happens is told to it
   * @param {import("./credential.js").Credential} options.credential
   * @param {ReadonlySet<string>} [options.eventNames]
   * @param {(envelope: object) => void} [options.saw] called for each message
   * @param {() => void} [options.changed] called after each change of the feed
   * @param {(error: Refused) => void} [options.refused] called when the server has said no
   */
  constructor({
    follow, channel, base, feed, credential, eventNames = new Set(), saw, changed, refused,
  }) {
    this.#follow = follow;
    this.channel = channel;
    this.base = base;
    this.feed = feed;
    this.credential = credential;
    this.eventNames = eventNames;
    this.saw = saw ?? (() => {});
    this.changed = changed ?? (() => {});
    this.refused = refused ?? (() => {});
  }

  /** Connects, or resumes after a cut; nothing happens when it is connected. */
  restore() {
    if (this.#run) return;
    this.#run = new AbortController();
    this.#backoff.reset();
    void this.#keep(this.#run.signal);
  }

  /** Ends the connection at once and stays away until `restore`. */
  cut() {
    if (!this.#run) return;
    this.#end();
    this.feed.cut(Date.now());
    this.changed();
  }

  /** Connects anew from the cursor, without showing a cut. */
  renew() {
    if (!this.#run) return;
    this.#end();
    this.restore();
  }

  #end() {
    this.#run.abort();
    this.#run = null;
  }

  async #keep(signal) {
    while (!signal.aborted) {
      this.feed.connecting(Date.now());
      this.changed();
      const link = new Link(this, signal);
      try {
        await this.#follow(link);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refused) {
          this.#run = null;
          this.feed.stopped(error.message, Date.now());
          this.changed();
          this.refused(error);
          return;
        }
        await this.#wait(error, link, signal);
      }
    }
  }

  async #wait(error, link, signal) {
    const now = Date.now();
    if (link.openedAt !== null && now - link.openedAt >= PROVEN) this.#backoff.reset();
    const reason = error instanceof Lost ? error.message : "The server is away.";
    const wait = error.retry ?? this.#backoff.next();
    this.feed.lost(reason, now + wait, now);
    this.changed();
    await pause(wait, signal);
  }
}
