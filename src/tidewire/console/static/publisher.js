/** Publishing from the page. */

import { ask } from "./http.js";

const TIMEOUT = 10_000; // ms

/** What the text stands for: JSON if it is an object or an array in JSON, else the text itself. */
export function parse(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/**
 * Publishes one message and returns `{channel, id, seq}`.
 * A failure leaves open whether the server took it; sending the same text again is safe, because
 * it goes with the same key until it succeeds.
 */
export class Publisher {
  #base;
  #credential;
  #unsure = null; // {channel, text, key} of the last publish without an answer

  /**
   * @param {string} base the address that the endpoints are relative to
   * @param {import("./credential.js").Credential} credential
   */
  constructor(base, credential) {
    this.#base = base;
    this.#credential = credential;
  }

  async publish(channel, text) {
    const again = this.#unsure?.channel === channel && this.#unsure.text === text;
    const key = again ? this.#unsure.key : `console-${Date.now()}-${Math.random()}`;
    this.#unsure = { channel, text, key };
    const response = await ask(new URL("publish", this.#base), {
      timeout: TIMEOUT,
      credential: this.#credential,
      init: {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ channel, data: parse(text), key }),
      },
    });
    const answer = await response.json();
    this.#unsure = null;
    return answer;
  }
}
