import { address } from "../address.js";
import { failureOf, TidewireError } from "../errors.js";
import { parse } from "./sse.js";
import { type Context, FRAGMENTS, type Sink, type Transport } from "./transport.js";
import { credentialsInUrl } from "./websocket.js";

/** No names of events: an `EventSource` hears only those that it listens for. */
const NAMELESS = ["named", "false"] as const;

/** Server-Sent Events by the browser's own `EventSource`, for where `fetch` cannot stream. */
export const eventsource: Transport = {
  name: "eventsource",
  watch: "deaf",
  isThere: (env) => !!env.EventSource,
  open(context, sink) {
    let source: EventSource | undefined;
    let closed = false;
    const close = () => {
      closed = true;
      source?.close();
    };
    const end = (error: unknown) => {
      if (closed) return;
      close();
      sink.ended(failureOf(error));
    };
    connect(context, sink, end, () => closed).then((opened) => {
      source = opened;
      if (closed) opened?.close();
    }, end);
    return { close };
  },
};

async function connect(
  { env, http, query }: Context,
  sink: Sink,
  end: (error: unknown) => void,
  closed: () => boolean,
): Promise<EventSource | undefined> {
  const shown = await credentialsInUrl(http, await http.credentials.token());
  if (closed()) return undefined;
  const source = new env.EventSource!(
    address(http.base, "/sse", [...shown, ...query(), FRAGMENTS, NAMELESS]),
  );
  source.onmessage = ({ data }: MessageEvent<string>) => {
    if (closed()) return;
    sink.heard();
    try {
      void sink.take([parse(data)]);
    } catch (error) {
      end(error);
    }
  };
  // It would come back by itself, with its old address: when and how is not for it to say.
  source.onerror = () => end(new TidewireError("cut", "the stream ended, or there was none"));
  return source;
}
