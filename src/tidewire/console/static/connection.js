/** Keeps one transport's stream going: a Tidewire client of its own, and what a panel shows of it. */

import { Refused } from "./refused.js";
import { metered } from "./traffic.js";

/** @param {string} reason why there is no connection, in the client's words */
const sentence = (reason) => (reason?.startsWith("closed") ? "The server has closed the stream." : "The server is away.");

export class Connection {
  #client = null; // null while cut
  #connect;

  /**
   * @param {object} options
   * @param {string} options.transport the client's name of the one that it may use
   * @param {string} options.channel
   * @param {string} options.base the address of the server
   * @param {import("./feed.js").Feed} options.feed what happens is told to it
   * @param {import("./credential.js").Credential} options.credential
   * @param {(message: object) => void} [options.saw] called for each message
   * @param {() => void} [options.changed] called after each change of the feed
   * @param {(error: Refused) => void} [options.refused] called when the server has said no
   * @param {Function} [options.connect] the client's own
   */
  constructor({
    transport, channel, base, feed, credential, saw = () => {}, changed = () => {},
    refused = () => {}, connect = globalThis.tidewire?.connect,
  }) {
    this.transport = transport;
    this.channel = channel;
    this.base = base;
    this.feed = feed;
    this.credential = credential;
    this.saw = saw;
    this.changed = changed;
    this.refused = refused;
    this.#connect = connect;
  }

  /** Connects, or resumes after a cut; nothing happens when it is connected. */
  restore() {
    if (this.#client) return;
    const { feed, transport, channel } = this;
    feed.connecting(Date.now());
    let client;
    /** What a client reports counts for as long as it is the one in use. */
    const mine = (callback) => (value) => {
      if (this.#client !== client) return;
      callback(value);
      this.changed();
    };
    client = this.#connect(this.base, {
      transports: [transport],
      token: this.credential.text || undefined,
      environment: metered(transport, mine((tell) => tell(feed))),
    });
    this.#client = client;
    client.on("state", mine((state) => this.#entered(state)));
    client.on("gap", mine((gap) => feed.gap(gap)));
    client.on("error", mine((error) => this.#stop(error)));
    client.subscribe(
      channel,
      mine((message) => {
        feed.accept(message, Date.now());
        this.saw(message);
      }),
      feed.cursor === null ? { since: "start" } : { cursor: feed.cursor },
    );
    this.changed();
  }

  /** Ends the connection at once and stays away until `restore`. */
  cut() {
    if (!this.#client) return;
    this.#end();
    this.feed.cut(Date.now());
    this.changed();
  }

  #end() {
    const client = this.#client;
    this.#client = null;
    void client.close();
  }

  #entered({ status, reason, retryIn }) {
    const now = Date.now();
    if (status === "live") this.feed.opened(now, now);
    else if (status === "connecting") this.feed.connecting(now);
    else if (status === "waiting") this.feed.lost(sentence(reason), now + retryIn, now);
  }

  #stop(error) {
    if (!error.final) throw error; // a fault of the page's own
    this.#end();
    this.feed.stopped(error.message, Date.now());
    this.refused(new Refused(error.message, undefined, error.code));
  }
}
