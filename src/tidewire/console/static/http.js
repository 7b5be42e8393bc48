/** Requests of the page, with the contract's errors told apart by what a client should do. */

import { Lost, Refused } from "./refused.js";

const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);

/**
 * Sends a request and returns its answer if that is 2xx or 304.
 *
 * @param {URL} url
 * @param {object} options
 * @param {number} options.timeout ms until the answer's head must be there
 * @param {AbortSignal} [options.signal]
 * @param {import("./credential.js").Credential} [options.credential]
 * @param {RequestInit} [options.init] what else `fetch` takes
 * @throws {Lost} for an answer after which another attempt makes sense
 * @throws {Refused} for one after which it does not
 */
export async function ask(url, { timeout, signal, credential, init = {} }) {
  const limit = AbortSignal.timeout(timeout);
  const response = await fetch(url, {
    cache: "no-store",
    ...init,
    headers: { ...credential?.headers, ...init.headers },
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  });
  if (response.ok || response.status === 304) return response;
  const detail = await problem(response);
  if (TRANSIENT.has(response.status)) throw new Lost(detail, retryAfter(response));
  throw new Refused(detail, response.status);
}

/** What went wrong, from an RFC 9457 body if there is one. */
async function problem(response) {
  const said = `The server answered ${response.status}`;
  try {
    const { detail, title } = await response.json();
    const text = detail ?? title;
    return text ? `${said}: ${text}` : `${said}.`;
  } catch {
    return `${said}.`;
  }
}

/** `Retry-After` in ms, or undefined. The HTTP-date form is not used by this server. */
function retryAfter(response) {
  const header = response.headers.get("Retry-After");
  return /^\d+$/.test(header ?? "") ? Number(header) * 1000 : undefined;
}
