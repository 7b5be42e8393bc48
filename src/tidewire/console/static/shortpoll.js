/** Short polling: ask, take what there is, and ask again after the interval the server names. */

import { pause } from "./backoff.js";
import { ask } from "./http.js";
import { readAnswer } from "./answer.js";

const INTERVAL = 3000; // ms, until the server names one
const TIMEOUT = 10_000; // ms

/** @param {import("./connection.js").Link} link */
export async function followShortPoll(link) {
  let interval = INTERVAL;
  let seen = { url: "", etag: "" }; // a tag speaks for the address it came from and no other
  for (;;) {
    const sentAt = Date.now();
    const url = link.url("poll");
    link.resting(null);
    link.asked();
    const response = await ask(url, {
      timeout: TIMEOUT,
      signal: link.signal,
      credential: link.credential,
      init: seen.url === url.href ? { headers: { "If-None-Match": seen.etag } } : {},
    });
    if (link.openedAt === null) link.opened(sentAt);
    if (response.status === 304) {
      link.unchanged();
    } else {
      const etag = response.headers.get("ETag");
      seen = etag ? { url: url.href, etag } : { url: "", etag: "" };
      const answer = await readAnswer(response, link);
      interval = answer.interval ?? interval;
    }
    link.resting(Date.now() + interval);
    await pause(interval, link.signal);
    link.signal.throwIfAborted();
  }
}
