/** The npm package `@microsoft/fetch-event-source`, which expects to be on a page. */

import { obey } from "./commands.mjs";

globalThis.window = globalThis;
globalThis.document = new EventTarget();
const { fetchEventSource } = (await import("@microsoft/fetch-event-source")).default;

await obey(({ url }, tell) => {
  const leaving = new AbortController();
  fetchEventSource(url, {
    signal: leaving.signal,
    openWhenHidden: true,
    // All events come here, named or not.
    onmessage: ({ event, data, id }) =>
      tell({ how: "onmessage", type: event || "message", data, id }),
    onclose() {
      throw new Error("the stream ended"); // which has it connect again
    },
    onerror() {},
  });
  return () => leaving.abort();
});
