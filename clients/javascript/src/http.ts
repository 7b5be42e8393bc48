import { check, reasonOf } from "./aborting.js";
import { address, type Query } from "./address.js";
import { Backoff } from "./backoff.js";
import type { Credentials } from "./credentials.js";
import type { Environment } from "./environment.js";
import { failureOf, TidewireError } from "./errors.js";

export const TIMEOUT = 10_000;

export interface RequestOptions {
  readonly query?: Query;
  readonly body?: string;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
  /** Ms until the request is given up; reading its answer counts. */
  readonly timeout?: number;
}

/** These say that an address is not there for this client; another may be. */
const ABSENT = new Set(["not_found", "method_not_allowed", "upgrade_required"]);

/** Requests to one server, with what shows who asks. */
export class Http {
  readonly base: string;
  readonly credentials: Credentials;
  readonly #env: Environment;
  readonly #sleepers = new Set<() => void>();

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
    try {
      return await this.#once(method, path, options, read);
    } catch (error) {
      if (!(error instanceof TidewireError && error.kind === "later" && error.retry === 0))
        throw error;
      return this.#once(method, path, options, read);
    }
  }

  /**
   * Tries until it succeeds, is refused, or `within` ms are over.
   *
   * @throws what the last attempt has thrown
   */
  async patiently<T>(
    attempt: () => Promise<T>,
    within = Number.POSITIVE_INFINITY,
    signal?: AbortSignal,
  ): Promise<T> {
    const backoff = new Backoff(this.#env.random);
    const end = this.#env.now() + within;
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        const { final, kind, retry } = failureOf(error);
        const delay = backoff.next(retry);
        if (final || signal?.aborted || this.#env.now() + delay > end) throw error;
        await this.pause(delay, kind !== "later");
      }
    }
  }

  /** Ends after `ms`; or, if it is `light`, when there is a connection again. */
  pause(ms: number, light = false): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#env.setTimeout(done, ms);
      if (light) this.#sleepers.add(done);
      const { clearTimeout } = this.#env;
      const sleepers = this.#sleepers;
      function done(): void {
        clearTimeout(timer);
        sleepers.delete(done);
        resolve();
      }
    });
  }

  /** There is a connection again: what waits for the network need wait no longer. */
  wake(): void {
    for (const done of this.#sleepers) done();
  }

  async #once<T>(
    method: string,
    path: string,
    { query, body, headers, signal, timeout = TIMEOUT }: RequestOptions,
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
      if (late) throw new TidewireError("silent", "no answer in time");
      throw failureOf(error);
    } finally {
      this.#env.clearTimeout(timer);
      // What is streamed ends with the signal; nothing else is left to end.
      if (!signal || !isStream(headers)) signal?.removeEventListener("abort", follow);
    }
  }
}

export const EVENT_STREAM = "text/event-stream";

function isStream(headers: Record<string, string> | undefined): boolean {
  return headers?.Accept === EVENT_STREAM;
}

/** Whether the answer is of this type, so that it is from the server and not from something between. */
export function isOfType(answer: Response, type: string): boolean {
  const given = answer.headers.get("Content-Type") ?? "";
  return given.split(";")[0]!.trim().toLowerCase() === type;
}

/** The JSON of an answer. */
export async function json<T>(answer: Response): Promise<T> {
  const text = isOfType(answer, "application/json") ? await answer.text() : "";
  try {
    return JSON.parse(text) as T;
  } catch {
    throw alien(answer);
  }
}

/** Checks that the server has said that it is done. */
export function nothing(answer: Response): void {
  if (answer.status !== 204) throw alien(answer);
}

export function alien({ status }: Response): TidewireError {
  return new TidewireError("alien", `not an answer of the server: HTTP ${status}`);
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
  if (!code) return alien(answer);
  return new TidewireError(ABSENT.has(code) ? "alien" : "refused", detail, code);
}

/** Ms of a `Retry-After`: seconds, or a date. */
function retryAfter(value: string | null): number | undefined {
  if (!value) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(ms, 0);
}
