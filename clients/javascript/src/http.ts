import { check, reasonOf } from "./aborting.js";
import { address, type Query } from "./address.js";
import type { Credentials } from "./credentials.js";
import type { Environment } from "./environment.js";
import { alien, failureOf, silent, TidewireError } from "./errors.js";

export const TIMEOUT = 10_000;

export interface RequestOptions {
  readonly query?: Query;
  readonly body?: string;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
  /** Ms until the request is given up; reading its answer counts. */
  readonly timeout?: number;
  /** The answer is read when `read` has ended, until the signal ends it. */
  readonly streamed?: boolean;
}

/** These say that an address is not there for this client; another may be. */
const ABSENT = new Set(["not_found", "method_not_allowed", "upgrade_required"]);

/** Requests to one server, with what shows who asks. */
export class Http {
  readonly base: string;
  readonly credentials: Credentials;
  readonly #env: Environment;

  constructor(env: Environment, base: string, credentials: Credentials) {
    this.#env = env;
    this.base = base;
    this.credentials = credentials;
  }

  /**
   * What `read` makes of the answer: 200, 204 or 304. With a token that was refused and can be
   * replaced it tries once more.
   *
   * @throws TidewireError as the server says; `cut` if it has not answered; what `signal` says
   */
  async call<T>(
    method: string,
    path: string,
    options: RequestOptions,
    read: (answer: Response) => T | Promise<T>,
  ): Promise<T> {
    for (let first = true; ; first = false) {
      try {
        return await this.#once(method, path, options, read);
      } catch (error) {
        if (!first || (error as Partial<TidewireError>).retry !== 0) throw error;
      }
    }
  }

  async #once<T>(
    method: string,
    path: string,
    { query, body, headers, signal, timeout = TIMEOUT, streamed }: RequestOptions,
    read: (answer: Response) => T | Promise<T>,
  ): Promise<T> {
    const { credentials } = this;
    check(signal);
    const token = await credentials.token();
    const abort = new AbortController();
    const follow = () => abort.abort(reasonOf(signal!));
    let late = false;
    const timer = this.#env.setTimeout(() => {
      late = true;
      abort.abort();
    }, timeout);
    signal?.addEventListener("abort", follow);
    try {
      const answer = await this.#env.fetch!(address(this.base, path, query), {
        method,
        body,
        headers: {
          ...credentials.headers(token),
          ...(body === undefined ? {} : { "Content-Type": "application/json" }),
          ...headers,
        },
        signal: abort.signal,
        cache: "no-store",
      });
      if (!answer.ok && answer.status !== 304) {
        throw credentials.after(await failureIn(answer), token);
      }
      credentials.accepted();
      return await read(answer);
    } catch (error) {
      check(signal);
      throw late ? silent() : failureOf(error);
    } finally {
      this.#env.clearTimeout(timer);
      if (!streamed) signal?.removeEventListener("abort", follow);
    }
  }
}

/** Whether the answer is of this type, so that it is from the server and not from something between. */
export function isOfType(answer: Response, type: string): boolean {
  return !!answer.headers.get("Content-Type")?.toLowerCase().startsWith(type);
}

/** The JSON of an answer. */
export async function json<T>(answer: Response): Promise<T> {
  const text = isOfType(answer, "application/json") ? await answer.text() : "";
  try {
    return JSON.parse(text) as T;
  } catch {
    throw foreign(answer);
  }
}

/** Checks that the server has said that it is done. */
export function nothing(answer: Response): void {
  if (answer.status !== 204) throw foreign(answer);
}

export function foreign({ status }: Response): TidewireError {
  return alien(`HTTP ${status}`);
}

/** What an HTTP error stands for. Without the server's own kind of document it is somebody else's. */
async function failureIn(answer: Response): Promise<TidewireError> {
  const { status } = answer;
  const retry = retryAfter(answer.headers.get("Retry-After"));
  let problem: { detail?: string; code?: string } = {};
  if (isOfType(answer, "application/problem+json")) {
    problem = (await answer.json().catch(() => problem)) as typeof problem;
  }
  const { code, detail = `HTTP ${status}` } = problem;
  if (status === 429 || status === 408 || (status >= 500 && (code || retry !== undefined))) {
    return new TidewireError("later", detail, code, retry);
  }
  if (!code) return foreign(answer);
  return new TidewireError(ABSENT.has(code) ? "alien" : "refused", detail, code);
}

/** Ms of a `Retry-After`: seconds, or a date. */
function retryAfter(value: string | null): number | undefined {
  if (!value) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(ms, 0);
}
