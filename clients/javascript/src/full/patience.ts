import { backOff } from "../backoff.js";
import type { Environment } from "../environment.js";
import { failureOf } from "../errors.js";

/** Waiting: for the next attempt, for more that can go together, for the network. */
export class Patience {
  readonly #env: Environment;
  readonly #sleepers = new Set<() => void>();

  constructor(env: Environment) {
    this.#env = env;
  }

  /**
   * Tries until it succeeds, is refused, or `within` ms are over.
   *
   * @throws what the last attempt has thrown
   */
  async with<T>(
    attempt: () => Promise<T>,
    within = Number.POSITIVE_INFINITY,
    signal?: AbortSignal,
  ): Promise<T> {
    const backoff = backOff(this.#env.random);
    const end = this.#env.now() + within;
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        const { final, kind, retry } = failureOf(error);
        const left = end - this.#env.now();
        if (final || signal?.aborted || left <= (retry ?? 0)) throw error;
        // The last attempt is at the end: a delay that doubles would leave most of the time unused.
        await this.pause(Math.min(backoff.next(retry), left), kind !== "later");
      }
    }
  }

  /** Ends after `ms`; or, if it is `light`, when there is a connection again. */
  pause(ms: number, light = false): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#env.clearTimeout(timer);
        this.#sleepers.delete(done);
        resolve();
      };
      const timer = this.#env.setTimeout(done, ms);
      if (light) this.#sleepers.add(done);
    });
  }

  /** There is a connection again: what waits for the network need wait no longer. */
  wake(): void {
    for (const done of this.#sleepers) done();
  }
}
