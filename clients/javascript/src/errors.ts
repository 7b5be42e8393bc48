/**
 * Why something did not work, and what that says about trying again:
 *
 * - `cut`: it was not answered, or the connection broke;
 * - `silent`: nothing was heard for longer than the server promised;
 * - `alien`: somebody else has answered, such as a captive portal or a proxy with a page of errors;
 * - `later`: the server wants to be asked again later;
 * - `refused`: the server does not want to be asked again.
 */
export type FailureKind = "cut" | "silent" | "alien" | "later" | "refused";

/** Every error that this client raises, but for those of an `AbortSignal`. */
export class TidewireError extends Error {
  override readonly name = "TidewireError";
  readonly kind: FailureKind;
  /** The server's stable code, such as `forbidden`; else the kind. */
  readonly code: string;
  /** Milliseconds after which the server wants to be asked again, if it said so. */
  retry: number | undefined;

  constructor(kind: FailureKind, message: string, code: string = kind, retry?: number) {
    super(message);
    this.kind = kind;
    this.code = code;
    this.retry = retry;
  }

  /** Whether trying again is of no use. */
  get final(): boolean {
    return this.kind === "refused";
  }
}

/** Whatever was thrown, as an error of ours; what is none of them is a failure to reach anybody. */
export function failureOf(error: unknown): TidewireError {
  return error instanceof TidewireError
    ? error
    : new TidewireError("cut", error instanceof Error ? error.message : String(error));
}

/** Somebody else has answered: `what` is not what the server says. */
export function alien(what: string): TidewireError {
  return new TidewireError("alien", `not what a Tidewire server says: ${what}`);
}

export function silent(): TidewireError {
  return new TidewireError("silent", "nothing was heard in time");
}

export function refused(message: string, code?: string): TidewireError {
  return new TidewireError("refused", message, code);
}
