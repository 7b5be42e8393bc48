import { TidewireError } from "./errors.js";
import { Lines } from "./lines.js";

/** Characters of one event: far above what a server accepts, so that none exhausts memory. */
const MOST = 1 << 28;

export interface StreamEvent {
  readonly type: string;
  readonly data: string;
  readonly lastEventId: string;
}

/** The event stream format of the WHATWG HTML standard, decoded as a browser's `EventSource` does. */
export class EventStream {
  lastEventId = "";
  /** Ms to wait before a reconnect, if the server has said. */
  retry: number | undefined;

  // It takes one byte order mark from the begin, and characters that are cut at the end of a chunk.
  readonly #decoder = new TextDecoder();
  readonly #lines = new Lines();
  #id = "";
  #type = "";
  #data: string[] = [];
  #size = 0;

  /** The events that are whole with `chunk`. */
  feed(chunk: Uint8Array): StreamEvent[] {
    const events: StreamEvent[] = [];
    for (const line of this.#lines.feed(this.#decoder.decode(chunk, { stream: true }))) {
      if (line) this.#take(line);
      else this.#dispatch(events);
    }
    if (this.#size + this.#lines.held > MOST) throw new TidewireError("alien", "an endless event");
    return events;
  }

  #take(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "data") {
      this.#data.push(value);
      this.#size += value.length + 1;
    } else if (name === "event") {
      this.#type = value;
    } else if (name === "id") {
      if (!value.includes("\0")) this.#id = value;
    } else if (name === "retry" && /^\d{1,15}$/.test(value)) {
      this.retry = Number(value);
    }
  }

  #dispatch(events: StreamEvent[]): void {
    this.lastEventId = this.#id;
    if (this.#data.length > 0) {
      const data = this.#data.join("\n");
      events.push({ type: this.#type || "message", data, lastEventId: this.#id });
    }
    this.#type = "";
    this.#data = [];
    this.#size = 0;
  }
}
