export const BASE = 1_000;
export const CAP = 30_000;

/**
 * Delays between attempts, in ms: the n-th failure in a row is followed by one that is drawn evenly
 * from 0 to 1 s · 2ⁿ⁻¹, at most 30 s. All of the span is used ("full jitter"), because clients that
 * lost the same server at the same moment should come back spread out.
 */
export interface Backoff {
  /**
   * How long to wait now. Never shorter than the server has `asked` for, and up to a second longer:
   * many clients may have been told the same number.
   */
  next(asked?: number): number;
  reset(): void;
}

/** `draw` gives numbers from 0 to below 1. */
export function backOff(draw: () => number): Backoff {
  let ceiling = BASE;
  return {
    next(asked) {
      const drawn = draw();
      const delay = drawn * ceiling;
      ceiling = Math.min(ceiling * 2, CAP);
      return asked === undefined ? delay : Math.max(delay, asked + drawn * Math.min(BASE, asked));
    },
    reset() {
      ceiling = BASE;
    },
  };
}
