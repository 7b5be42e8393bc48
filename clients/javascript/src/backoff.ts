export const BASE = 1_000;
export const CAP = 30_000;

/**
 * Delays between attempts, in ms: the n-th failure in a row is followed by one that is drawn evenly
 * from 0 to 1 s · 2ⁿ⁻¹, at most 30 s. All of the span is used ("full jitter"), because clients that
 * lost the same server at the same moment should come back spread out.
 */
export class Backoff {
  readonly #draw: () => number;
  #ceiling = BASE;

  /** `draw` gives numbers from 0 to below 1. */
  constructor(draw: () => number) {
    this.#draw = draw;
  }

  reset(): void {
    this.#ceiling = BASE;
  }

  /**
   * How long to wait now. Never shorter than the server has `asked` for, and up to a second longer:
   * many clients may have been told the same number.
   */
  next(asked?: number): number {
    const drawn = this.#draw();
    const delay = drawn * this.#ceiling;
    this.#ceiling = Math.min(this.#ceiling * 2, CAP);
    return asked === undefined ? delay : Math.max(delay, asked + drawn * Math.min(BASE, asked));
  }
}
