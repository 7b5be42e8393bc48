import type { Environment } from "./environment.js";

/** Ms for which the winner among the transports is remembered. */
export const REMEMBERED = 30 * 60_000;

/** What is kept between visits, where a page may keep anything. */
export class Memory {
  readonly #env: Environment;
  readonly #base: string;

  constructor(env: Environment, base: string) {
    this.#env = env;
    this.#base = base;
  }

  /** The transport that has won lately on this kind of network. */
  get winner(): string | null {
    const kept = this.read(this.#winnerKey) as { name?: string; at?: number } | null;
    const age = this.#env.wall() - (kept?.at ?? 0);
    return kept?.name && age >= 0 && age < REMEMBERED ? kept.name : null;
  }

  set winner(name: string | null) {
    this.write(this.#winnerKey, name && { name, at: this.#env.wall() });
  }

  get #winnerKey(): string {
    return `transport:${this.#env.network()}`;
  }

  // A storage may be full, or forbidden: then nothing is kept, and all goes on.

  /** What is kept under this name; `null` if nothing is. */
  read(key: string): unknown {
    try {
      return JSON.parse(this.#env.storage?.getItem(this.#key(key)) ?? "null");
    } catch {
      return null;
    }
  }

  /** Keeps a value under this name, or nothing. */
  write(key: string, value: unknown): void {
    try {
      if (value) this.#env.storage?.setItem(this.#key(key), JSON.stringify(value));
      else this.#env.storage?.removeItem(this.#key(key));
    } catch {}
  }

  #key(key: string): string {
    return `tidewire:${this.#base}:${key}`;
  }
}
