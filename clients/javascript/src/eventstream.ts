import { alien } from "./errors.js";
import { Lines } from "./lines.js";

/** Characters of one event: far above what a server accepts, so that none exhausts memory. */
const MOST = 1 << 28;

/**
 * The event stream format of the WHATWG HTML standard, decoded as a browser's `EventSource` does;
 * but for the names and ids of events, which are in the envelopes.
 */
export class EventStream {
  /** Ms to wait before a reconnect, if the server has said. */
  retry: number | undefined;

  // It takes one byte order mark from the begin, and characters that are cut at the end of a chunk.
  readonly #decoder = new TextDecoder();
  readonly #lines = new Lines();
  #data: string[] = [];
  #size = 0;

  /** The data of the events that are whole with `chunk`. */
  feed(chunk: Uint8Array): string[] {
    const events: string[] = [];
    for (const line of this.#lines.feed(this.#decoder.decode(chunk, { stream: true }))) {
      const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line)!;
      if (name === "data") {
        this.#data.push(value!);
        this.#size += value!.length + 1;
      } else if (name === "retry" && /^\d{1,15}$/.test(value!)) {
        this.retry = Number(value);
      } else if (!line && this.#data.length) {
        events.push(this.#data.join("\n"));
        this.#data = [];
        this.#size = 0;
      }
    }
    if (this.#size + this.#lines.held > MOST) throw alien("an endless event");
    return events;
  }
}
