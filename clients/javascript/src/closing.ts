import { type FailureKind, TidewireError } from "./errors.js";

/** Close codes after which another connection is of no use. */
const FINAL = new Set([1002, 1003, 1007, 1009, 4400, 4401, 4403, 4409]);
/** Those by which the server says that it is to be asked again. */
const LATER = new Set([1001, 1011, 1012, 1013, 4408, 4429]);
const NAMES: { readonly [code: number]: string } = {
  4401: "unauthorized",
  4403: "forbidden",
  4409: "replaced",
};

/** What the end of a stream with this close code stands for. */
export function closed(
  code: number,
  reason = "",
  retry?: number,
  kind: FailureKind = FINAL.has(code) ? "refused" : LATER.has(code) ? "later" : "cut",
): TidewireError {
  return new TidewireError(kind, `closed: ${code} ${reason}`, NAMES[code], retry);
}

/** The same for a `close` envelope: without a time after which to come back it is for good. */
export function closedBy({ code, reason, retry }: Close): TidewireError {
  return closed(code, reason, retry, retry === undefined ? "refused" : "later");
}

/** The fields of a `close` envelope; `retry` in ms. */
export interface Close {
  readonly code: number;
  readonly reason?: string;
  readonly retry?: number;
}
