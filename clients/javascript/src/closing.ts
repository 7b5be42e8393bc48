import { refused, TidewireError } from "./errors.js";

/** Close codes after which another connection is of no use. */
const FINAL = new Set([1002, 1003, 1007, 1009, 4400, 4401, 4403, 4409]);
/** Those by which the server says that it is to be asked again. */
const LATER = new Set([1001, 1011, 1012, 1013, 4408, 4429]);
const NAMES: { readonly [code: number]: string } = {
  4401: "unauthorized",
  4403: "forbidden",
  4409: "replaced",
};

/** What the end of a stream with this close code stands for; `retry` in ms, if the server gave one. */
export function closed(code: number, reason: string, retry?: number): TidewireError {
  const said = `closed: ${code} ${reason}`;
  if (FINAL.has(code) && retry === undefined) return refused(said, NAMES[code]);
  const kind = LATER.has(code) || retry !== undefined ? "later" : "cut";
  return new TidewireError(kind, said, NAMES[code], retry);
}
