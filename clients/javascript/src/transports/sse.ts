import { check } from "../aborting.js";
import { type Envelope, isEnvelope } from "../envelope.js";
import { alien, failureOf, refused, TidewireError } from "../errors.js";
import { EventStream } from "../eventstream.js";
import { foreign, isOfType } from "../http.js";
import { READY_WITHIN } from "../machine.js";
import { type Context, FRAGMENTS, type Sink, type Transport } from "./transport.js";

const EVENT_STREAM = "text/event-stream";
/** Bytes that are decoded at once. */
const PIECE = 16_384;
/** Ms that decoding may take until the page has a turn. */
const SLICE = 8;

/** Server-Sent Events read from `fetch`: credentials in headers, and heartbeats that are heard. */
export const sse: Transport = {
  name: "sse",
  watch: "listen",
  // React Native has a `fetch` that gives its answer when that is whole, and not before.
  isThere: (env) => !!env.fetch && typeof ReadableStream !== "undefined",
  open(context, sink) {
    const abort = new AbortController();
    const stream = new EventStream();
    follow(context, sink, stream, abort.signal).catch((error) => {
      if (!abort.signal.aborted) {
        const failure = failureOf(error);
        failure.retry ??= stream.retry;
        abort.abort();
        sink.ended(failure);
      }
    });
    return { close: () => abort.abort() };
  },
};

async function follow(
  { env, http, query }: Context,
  sink: Sink,
  stream: EventStream,
  signal: AbortSignal,
): Promise<void> {
  const options = {
    query: [...query(), FRAGMENTS],
    headers: { Accept: EVENT_STREAM },
    signal,
    timeout: READY_WITHIN,
    streamed: true,
  };
  const answer = await http.call("GET", "/sse", options, (answer) => answer);
  if (answer.status === 204) throw refused("the server has no stream there");
  if (!isOfType(answer, EVENT_STREAM)) throw foreign(answer);
  if (!answer.body) throw alien("an answer in one piece");
  const reader = answer.body.getReader();
  let end = env.now() + SLICE;
  for (;;) {
    const { done, value } = await reader.read();
    check(signal);
    if (done) throw new TidewireError("cut", "the stream ended");
    sink.heard();
    for (let at = 0; at < value.length; at += PIECE) {
      const events = stream.feed(value.subarray(at, at + PIECE));
      if (events.length > 0) await sink.take(events.map(parse));
      // Chunks that are there already come without a turn for the page in between.
      if (env.now() > end) {
        await new Promise<void>((resolve) => env.defer(resolve));
        end = env.now() + SLICE;
      }
      check(signal);
    }
  }
}

export function parse(text: string): Envelope {
  try {
    const envelope: unknown = JSON.parse(text);
    if (isEnvelope(envelope)) return envelope;
  } catch {}
  throw alien("an event without type");
}
