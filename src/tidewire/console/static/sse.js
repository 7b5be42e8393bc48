/** Server-Sent Events, by the browser's own EventSource. */

import { Lost, Refused } from "./connection.js";
import { size } from "./http.js";

/** @param {import("./connection.js").Link} link */
export async function followSse(link) {
  const url = await link.door("sse");
  await new Promise((_, reject) => {
    const source = new EventSource(url);
    let goodbye = null; // the close envelope
    let failures = 0; // in a row
    link.asked();

    const end = (error) => {
      link.signal.removeEventListener("abort", cut);
      source.close();
      reject(error);
    };
    const cut = () => end(link.signal.reason);
    link.signal.addEventListener("abort", cut);

    const read = ({ data }) => {
      link.took(size(data));
      return JSON.parse(data);
    };
    const message = (event) => link.message(read(event));
    source.addEventListener("message", message);
    for (const name of link.eventNames) source.addEventListener(name, message);
    source.addEventListener("tidewire.ready", (event) => {
      failures = 0;
      link.moved(read(event).id);
      link.opened();
    });
    source.addEventListener("tidewire.gap", (event) => link.gap(read(event)));
    source.addEventListener("tidewire.close", (event) => {
      goodbye = read(event);
      if (goodbye.retry === undefined) end(new Refused(`Closed: ${goodbye.reason}.`, goodbye.code));
      else end(new Lost(`Closed: ${goodbye.reason}.`, goodbye.retry));
    });
    source.addEventListener("error", () => {
      failures += 1;
      // The browser has the first try, with the last id in its header and the server's own
      // `retry`. It would go on at that pace for ever: from the second failure on we back off. And
      // it would come with its old ticket.
      if (source.readyState === EventSource.CLOSED || failures > 1 || link.credential.isSet) {
        end(new Lost("The server is away."));
      } else {
        link.dropped();
        link.asked();
      }
    });
  });
}
