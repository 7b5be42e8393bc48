/** What the client uses of the world, so that tests and other runtimes can give their own. */
export interface Environment {
  readonly fetch?: typeof fetch;
  readonly WebSocket?: typeof WebSocket;
  readonly EventSource?: typeof EventSource;
  /** Ms of a clock that never goes back. */
  now(): number;
  /** Unix time in ms. */
  wall(): number;
  /** From 0 to below 1. */
  random(): number;
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  /** Calls back soon, after letting the page do what it has to. */
  defer(callback: () => void): void;
  /** Where the winner and cursors are kept; absent: nowhere. */
  readonly storage?: Pick<Storage, "getItem" | "setItem" | "removeItem">;
  /** Whether the page is out of sight. */
  hidden(): boolean;
  /** What kind of network this is, as far as the browser says. */
  network(): string;
  /** Calls back at `online`, `offline`, `visible`, `hidden` and `pagehide`; returns how to stop. */
  listen(callback: (event: PageEvent) => void): () => void;
}

export type PageEvent = "online" | "offline" | "visible" | "hidden" | "pagehide";

/** The world as it is here: in a page, a worker, Node, or React Native. */
export function environment(given: Partial<Environment> = {}): Environment {
  const world = globalThis as Partial<typeof globalThis> & {
    setImmediate?: (f: () => void) => void;
  };
  const { document, navigator } = world;
  return {
    fetch: world.fetch?.bind(world),
    WebSocket: world.WebSocket,
    EventSource: world.EventSource,
    now: () => performance.now(),
    wall: Date.now,
    random: Math.random,
    setTimeout: (callback, ms) => setTimeout(callback, ms),
    clearTimeout: (timer) => clearTimeout(timer as number),
    defer: world.setImmediate?.bind(world) ?? deferred(world.MessageChannel),
    storage: storage(),
    hidden: () => !!document?.hidden,
    network: () =>
      (navigator as { connection?: { type?: string } } | undefined)?.connection?.type ?? "",
    listen(callback) {
      const abort = new AbortController();
      const { signal } = abort;
      for (const name of ["online", "offline", "pagehide"] as const) {
        world.addEventListener?.(name, () => callback(name), { signal });
      }
      const seen = () => callback(document!.hidden ? "hidden" : "visible");
      document?.addEventListener("visibilitychange", seen, { signal });
      return () => abort.abort();
    },
    ...given,
  };
}

/** A timer of 0 ms waits for a second in a page that is hidden; a message to oneself does not. */
function deferred(channel: typeof MessageChannel | undefined): (callback: () => void) => void {
  if (!channel) return (callback) => setTimeout(callback);
  const waiting: (() => void)[] = [];
  let ports: MessageChannel | undefined;
  return (callback) => {
    if (!ports) {
      ports = new channel();
      ports.port1.onmessage = () => waiting.shift()?.();
    }
    waiting.push(callback);
    ports.port2.postMessage(0);
  };
}

function storage(): Storage | undefined {
  try {
    // Reading the property throws where a page may store nothing. Node warns of its own.
    return typeof window === "undefined" ? undefined : window.localStorage;
  } catch {
    return undefined;
  }
}
