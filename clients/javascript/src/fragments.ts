import { type Envelope, isEnvelope } from "./envelope.js";
import { alien, TidewireError } from "./errors.js";

const MOST = 1 << 28;

/**
 * Large envelopes come in parts; here they are put together, for one connection or one answer.
 *
 * The parts of an envelope come one after the other and all of them; only then is it there. A
 * connection that breaks in between has not brought the message: the position is still before it,
 * and the next one brings it whole. So any disorder is taken for a broken connection.
 */
export class Assembly {
  #of: unknown;
  #parts: string[] = [];
  #size = 0;

  /** The envelope that is whole now; `undefined` while parts of it are missing. */
  take(envelope: Envelope): Envelope | undefined {
    if (envelope.type !== "fragment") {
      if (this.#parts.length > 0 && envelope.type !== "close") throw disorder();
      return envelope;
    }
    const { of, index, count, data } = envelope;
    if (index !== this.#parts.length || (index !== 0 && of !== this.#of)) throw disorder();
    this.#of = of;
    this.#parts.push(String(data));
    this.#size += this.#parts[index]!.length;
    if (this.#size > MOST) throw alien("an endless message");
    if (this.#parts.length !== count) return undefined;
    const whole: unknown = JSON.parse(this.#parts.join(""));
    this.#parts = [];
    this.#size = 0;
    if (!isEnvelope(whole) || whole.id !== of) throw disorder();
    return whole;
  }

  /** Nothing more belongs to what has come. */
  end(): void {
    if (this.#parts.length > 0) throw disorder();
  }
}

function disorder(): TidewireError {
  return new TidewireError("cut", "a part of a message is missing");
}
