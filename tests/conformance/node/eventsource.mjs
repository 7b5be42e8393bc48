/** Usage: node eventsource.mjs PACKAGE; the npm package `eventsource`, under the name it has here. */

import { obey } from "./commands.mjs";
import { listening } from "./listening.mjs";

const { EventSource } = await import(process.argv[2]);

await obey(({ url, names }, tell) => {
  const source = listening(EventSource, url, names, tell);
  return () => source.close();
});
