import type { Environment } from "./environment.js";
import { failureOf, refused, TidewireError } from "./errors.js";

/** Gives a token that is good now. What it throws is taken for a failure that may pass. */
export type GetToken = () => string | Promise<string>;

/** Codes of 401 after which another token may do better. */
const AGAIN = new Set(["token_expired", "invalid_token", "unauthorized"]);
/** Ms before its end at which a token is replaced, at most; a fifth of its life if that is less. */
const EARLY = 60_000;

/** What a client shows of who it is. Tokens and keys go into headers; a WebSocket gets a ticket. */
export class Credentials {
  readonly #env: Environment;
  readonly #get: GetToken | undefined;
  readonly #key: string | undefined;
  #token: string | undefined;
  #due = Number.POSITIVE_INFINITY;
  #asking: Promise<string> | undefined;
  /** The token was asked for in place of a refused one, and no server has taken it yet. */
  #trial = false;

  constructor(
    env: Environment,
    { token, getToken, apiKey }: { token?: string; getToken?: GetToken; apiKey?: string },
  ) {
    this.#env = env;
    this.#get = getToken;
    this.#key = apiKey;
    this.#token = token;
  }

  /** Ms until the next token should be shown; infinite: there is no other. */
  get dueIn(): number {
    return this.#due - this.#env.now();
  }

  /** The token to show now, if one is. */
  async token(): Promise<string | undefined> {
    if (!this.#get || (this.#token && this.dueIn > 0)) return this.#token;
    this.#asking ??= this.#ask(this.#get).finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  /** The token that there is now. */
  get shown(): string | undefined {
    return this.#token;
  }

  headers(token: string | undefined): Record<string, string> {
    if (token) return { Authorization: `Bearer ${token}` };
    return this.#key ? { "X-API-Key": this.#key } : {};
  }

  /** The key in a URL, where no header can be set. */
  get keyInUrl(): readonly (readonly [string, string])[] {
    return this.#key ? [["api_key", this.#key]] : [];
  }

  /** The server has taken what was shown. */
  accepted(): void {
    this.#trial = false;
  }

  /** What it comes to that the server has answered so to who showed `token`. */
  after(failure: TidewireError, token: string | undefined): TidewireError {
    if (!this.#get || !failure.final || !AGAIN.has(failure.code)) return failure;
    if (token && token === this.#token) {
      if (this.#trial) return failure;
      this.#trial = true;
      this.#token = undefined;
    }
    return new TidewireError("later", failure.message, failure.code, 0);
  }

  async #ask(get: GetToken): Promise<string> {
    let token: unknown;
    try {
      token = await get();
    } catch (error) {
      // Its text is not ours: it may have anything in it.
      throw error instanceof TidewireError ? error : failureOf("getToken has failed");
    }
    if (typeof token !== "string" || !/^[!-~]+$/.test(token)) {
      throw refused("what getToken has given is no token");
    }
    this.#token = token;
    this.#due = this.#env.now() + this.#life(token);
    return token;
  }

  /** Ms for which to show it: by its claims, if it has any. */
  #life(token: string): number {
    try {
      const claims = token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/");
      const { exp, iat } = JSON.parse(atob(claims)) as { exp: number; iat?: number };
      const left = exp * 1000 - this.#env.wall();
      // A clock that is wrong here is no reason to ask for tokens without end.
      const life = Math.max(iat ? Math.min(left, (exp - iat) * 1000) : left, 10_000);
      return life - Math.min(EARLY, life / 5);
    } catch {
      return Number.POSITIVE_INFINITY;
    }
  }
}
