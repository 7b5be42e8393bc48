/** What the page shows of who uses it: a token or an API key, kept in this tab and nowhere else. */

import { ask } from "./http.js";

const NAME = "tidewire.credential";
const TIMEOUT = 10_000; // ms

export class Credential {
  #storage;
  #text = "";

  /** @param {Storage | null} storage what outlives a reload of the page; null: nothing does */
  constructor(storage = null) {
    this.#storage = storage;
    this.#text = storage?.getItem(NAME) ?? "";
  }

  /** Whether there is one. */
  get isSet() {
    return this.#text !== "";
  }

  /** Shows another one from now on; an empty text: none. */
  replace(text) {
    this.#text = text.trim().replace(/^bearer\s+/i, "");
    if (this.isSet) this.#storage?.setItem(NAME, this.#text);
    else this.#storage?.removeItem(NAME);
  }

  /** The header of requests. */
  get headers() {
    return this.isSet ? { Authorization: `Bearer ${this.#text}` } : {};
  }

  /**
   * Adds a ticket to the address of a WebSocket or an EventSource, which take no headers. A ticket
   * is good once, and for a short time: so the credential itself stands in no address.
   */
  async admit(url, { base, signal }) {
    if (!this.isSet) return url;
    const response = await ask(new URL("tickets", base), {
      timeout: TIMEOUT,
      signal,
      credential: this,
      init: { method: "POST" },
    });
    const { ticket } = await response.json();
    url.searchParams.set("ticket", ticket);
    return url;
  }
}

/** The tab's own storage; null where the browser forbids it. */
export function tabStorage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}
