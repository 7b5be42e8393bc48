/** Why it was aborted. React Native's signals do not say, and cannot throw by themselves. */
export function reasonOf(signal: AbortSignal): unknown {
  return signal.reason ?? Object.assign(new Error("aborted"), { name: "AbortError" });
}

/** @throws the signal's reason, if it is aborted */
export function check(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw reasonOf(signal);
}
