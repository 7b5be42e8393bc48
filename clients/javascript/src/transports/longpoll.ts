import { poll, polling } from "./polling.js";
import type { Transport } from "./transport.js";

/** Seconds that the server is asked to hold a request: below the usual 60 s of proxies. */
const WAIT = 30;
/** Ms beyond that until a request is taken for lost. */
const PATIENCE = 15_000;

/** One request after the other, each held by the server until there is something. */
export const longpoll: Transport = {
  name: "longpoll",
  watch: "own",
  isThere: (env) => !!env.fetch,
  open: (context, sink) =>
    polling(context, sink, (_, signal) =>
      poll(context, "/longpoll", {
        query: [["wait", String(WAIT)]],
        signal,
        timeout: WAIT * 1000 + PATIENCE,
      }),
    ),
};
