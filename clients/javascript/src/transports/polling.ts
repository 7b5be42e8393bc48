import { check } from "../aborting.js";
import type { Envelope } from "../envelope.js";
import { failureOf } from "../errors.js";
import { foreign, json, type RequestOptions } from "../http.js";
import { type Attempt, type Context, FRAGMENTS, type Sink } from "./transport.js";

/** What a poll is answered. */
export interface Answer {
  readonly messages: Envelope[];
  readonly gaps: Envelope[];
  /** What goes into the next request. */
  readonly cursor: string | undefined;
  readonly more?: boolean;
  /** Ms until the next short poll should come. */
  readonly interval?: number;
  readonly etag?: string | null;
}

const NOTHING: Answer = { messages: [], gaps: [], cursor: undefined };

/** One request of `/poll` or `/longpoll`. */
export function poll(
  { http, query }: Pick<Context, "http" | "query">,
  path: string,
  { query: more = [], ...options }: RequestOptions,
): Promise<Answer> {
  const whole = { ...options, query: [...query(), FRAGMENTS, ...more] };
  return http.call("GET", path, whole, async (answer) => {
    const cursor = answer.headers.get("Tidewire-Cursor") ?? undefined;
    const etag = answer.headers.get("ETag");
    if (answer.status !== 200) {
      // A 204 of somebody else has no cursor.
      if (answer.status === 204 && !cursor) throw foreign(answer);
      return { ...NOTHING, cursor, etag };
    }
    const body = await json<Answer>(answer);
    if (!Array.isArray(body.messages) || typeof body.cursor !== "string") {
      throw foreign(answer);
    }
    return { ...body, gaps: body.gaps ?? [], etag };
  });
}

/**
 * Polls until it is closed. `ask` makes each request but the first, which is answered at once: it
 * shows that the server is there, and fixes where to start.
 */
export function polling(
  context: Context,
  sink: Sink,
  ask: (last: Answer, signal: AbortSignal, wake: Promise<void>) => Promise<Answer>,
): Attempt {
  const abort = new AbortController();
  const { signal } = abort;
  let wake = () => {};
  const run = async () => {
    const asked = context.cursor();
    let answer = await poll(context, "/poll", { signal });
    const id = asked ?? answer.cursor;
    void sink.take([{ type: "ready", id }]);
    // Another transport may have gone on meanwhile: then this answer has shown what it had to.
    if (context.cursor() !== id) answer = { ...NOTHING, interval: answer.interval, more: true };
    for (;;) {
      check(signal);
      sink.heard();
      await sink.take([...answer.gaps, ...answer.messages], answer.cursor ?? "");
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      answer = await ask(answer, signal, woken);
    }
  };
  run().catch((error) => {
    if (signal.aborted) return;
    abort.abort();
    sink.ended(failureOf(error));
  });
  return { close: () => abort.abort(), wake: () => wake() };
}
