/** What the server's answers mean to the page. */

const ASKS = new Set([
  "unauthorized", "no_credentials", "invalid_token", "token_expired", "unknown_key", "invalid_ticket",
]);

/** The server understood and said no: trying again would not help. */
export class Refused extends Error {
  /**
   * @param {string} message a sentence for people
   * @param {number} [status] of HTTP
   * @param {string} [code] the server's own
   */
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** Whether the server wants to know who asks. */
  get asksWho() {
    return this.status === 401 || ASKS.has(this.code);
  }

  /** Whether it knows, and that one may not. */
  get forbids() {
    return this.status === 403 || this.code === "forbidden";
  }
}

/** There was no answer, or one that calls for another attempt, after `retry` ms if given. */
export class Lost extends Error {
  /** @param {string} message a sentence for people @param {number} [retry] */
  constructor(message, retry) {
    super(message);
    this.retry = retry;
  }
}
