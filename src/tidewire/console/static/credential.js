/** What the page shows of who uses it: a token or an API key, kept in this tab and nowhere else. */

const NAME = "tidewire.credential";

export class Credential {
  #storage;
  #text = "";

  /** @param {Storage | null} storage what outlives a reload of the page; null: nothing does */
  constructor(storage = null) {
    this.#storage = storage;
    this.#text = storage?.getItem(NAME) ?? "";
  }

  /** What there is; empty: nothing. */
  get text() {
    return this.#text;
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
}

/** The tab's own storage; null where the browser forbids it. */
export function tabStorage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}
