/** Long polling: a request that the server holds until there is something to say. */

import { ask } from "./http.js";
import { readAnswer } from "./answer.js";

const HOLD = 30; // s the server may hold a request
const GRACE = 10_000; // ms beyond that until it counts as lost

/** @param {import("./connection.js").Link} link */
export async function followLongPoll(link) {
  // The first request is held for a second only: its answer shows that the way is open.
  let wait = 1;
  for (;;) {
    const sentAt = Date.now();
    link.asked();
    const response = await ask(link.url("longpoll", { wait }), {
      timeout: wait * 1000 + GRACE,
      signal: link.signal,
      credential: link.credential,
    });
    if (link.openedAt === null) link.opened(sentAt);
    if (response.status === 204) {
      link.moved(response.headers.get("Tidewire-Cursor") ?? link.cursor);
    } else {
      await readAnswer(response, link);
    }
    wait = HOLD;
  }
}
