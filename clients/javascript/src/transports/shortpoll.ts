import type { Environment } from "../environment.js";
import { failureOf } from "../errors.js";
import { type Answer, poll, polling } from "./polling.js";
import type { Transport } from "./transport.js";

/** Ms between polls of a server that does not say. */
const INTERVAL = 3_000;
/** Ms between polls of a page that nobody sees, at least. */
export const HIDDEN_INTERVAL = 30_000;

/** A request now and then, at the interval that the server tells. */
export const shortpoll: Transport = {
  name: "poll",
  watch: "own",
  isThere: (env) => !!env.fetch,
  open(context, sink) {
    const { env, consumer } = context;
    let interval = INTERVAL;
    let etag: string | null | undefined;
    return polling(context, sink, async (last: Answer, signal, wake) => {
      interval = last.interval ?? interval;
      etag = last.etag ?? etag;
      let rest = last.more ? 0 : interval;
      for (;;) {
        await pause(env, rest, signal, wake);
        try {
          // To a consumer messages may come again though there are no new ones.
          const headers: Record<string, string> =
            etag && !consumer ? { "If-None-Match": etag } : {};
          return await poll(context, "/poll", { headers, signal });
        } catch (error) {
          const { kind, retry } = failureOf(error);
          if (signal.aborted || kind !== "later" || !retry) throw error;
          rest = Math.max(retry, interval);
        }
      }
    });
  },
};

/** Ends after `ms`; later when the page is hidden, until it is seen again. */
function pause(
  env: Environment,
  ms: number,
  signal: AbortSignal,
  wake: Promise<void>,
): Promise<void> {
  return new Promise((resolve) => {
    const rest = ms > 0 && env.hidden() ? Math.max(ms, HIDDEN_INTERVAL) : ms;
    const timer = env.setTimeout(done, rest);
    signal.addEventListener("abort", done);
    void wake.then(done);
    function done(): void {
      env.clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}
