/** Publishing from the page. */

import { Refused } from "./refused.js";

const PATIENCE = 20_000; // ms

/** What the text stands for: JSON if it is an object or an array in JSON, else the text itself. */
export function parse(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Publishes with a client of its own: a failure leaves nothing open that the next one could double. */
export class Publisher {
  #base;
  #credential;
  #connect;

  /**
   * @param {string} base the address of the server
   * @param {import("./credential.js").Credential} credential
   * @param {Function} [connect] the client's own
   */
  constructor(base, credential, connect = globalThis.tidewire?.connect) {
    this.#base = base;
    this.#credential = credential;
    this.#connect = connect;
  }

  /**
   * Publishes one message and returns `{channel, id, seq}`; it is tried again until there is an
   * answer, and published once.
   *
   * @throws {Refused} if the server says no
   */
  async publish(channel, text) {
    const client = this.#connect(this.#base, { token: this.#credential.text || undefined });
    try {
      return await client.publish(channel, parse(text), { signal: AbortSignal.timeout(PATIENCE) });
    } catch (error) {
      throw error.final ? new Refused(error.message, undefined, error.code) : error;
    } finally {
      void client.close();
    }
  }
}
