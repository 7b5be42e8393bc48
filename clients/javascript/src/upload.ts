import { check } from "./aborting.js";
import { address } from "./address.js";
import { backOff } from "./backoff.js";
import type { Client } from "./client.js";
import { type Close, closed, closedBy } from "./closing.js";
import type { Receipt } from "./envelope.js";
import type { Environment } from "./environment.js";
import { failureOf, refused, TidewireError } from "./errors.js";
import { Sha256 } from "./sha256.js";
import { credentialsInUrl } from "./transports/websocket.js";

/** Bytes in one frame. */
const CHUNK = 128 << 10;
/** Bytes that may wait to be sent. */
const AHEAD = 1 << 20;
/** Ms between looks at how many wait. */
const LOOK_EVERY = 10;
/** Ms without any progress after which it is given up. */
const PATIENCE = 60_000;
/** The server knows better where it was: that is asked for on a new connection. */
const AGAIN = new Set(["wrong_offset", "storage_unavailable", "engine_unavailable", "unavailable"]);

export interface UploadOptions {
  /** A label without slashes; that of a `File` if it is not given. */
  readonly name?: string;
  readonly contentType?: string;
  /** Unguessable where others use the server, too. Without one it follows from the content. */
  readonly id?: string;
  /** Told how many bytes the server has kept safely. */
  readonly onProgress?: (kept: number) => void;
  readonly signal?: AbortSignal;
}

interface Answer {
  readonly type: string;
  readonly ref?: number;
  readonly upload?: string;
  readonly number?: number;
  readonly offset?: number;
  readonly id?: string;
  readonly code?: string | number;
  readonly message?: string;
  readonly reason?: string;
  readonly retry?: number;
}

/**
 * Uploads a file to a channel over WebSockets, as many as it takes, and gives the receipt of the
 * message that tells of it. The same file uploaded again goes on where it was cut.
 *
 * @throws TidewireError if the server does not take it, or a minute has passed without progress
 */
export async function upload(
  client: Client,
  channel: string,
  file: Blob,
  options: UploadOptions = {},
): Promise<Receipt> {
  const { env } = client;
  const { signal, onProgress } = options;
  if (!env.WebSocket) throw refused("an upload needs a WebSocket");
  const sha256 = await digest(file, signal);
  const name = options.name ?? (file as File).name ?? "file";
  const kind = options.contentType ?? (file.type || "application/octet-stream");
  const same = new TextEncoder().encode(JSON.stringify([channel, name, kind, sha256]));
  const announcement = {
    type: "upload",
    ref: 1,
    upload: options.id ?? new Sha256().update(same).hex().slice(0, 32),
    channel,
    name,
    size: file.size,
    sha256,
    content_type: kind,
  };
  const backoff = backOff(env.random);
  let most = -1;
  let end = env.now() + PATIENCE;
  const progress = (kept: number) => {
    onProgress?.(kept);
    if (kept <= most) return;
    most = kept;
    end = env.now() + PATIENCE;
    backoff.reset();
  };
  for (;;) {
    try {
      return await attempt(client, file, announcement, progress, signal);
    } catch (error) {
      check(signal);
      const failure = failureOf(error);
      const delay = backoff.next(failure.retry);
      if (failure.final || env.now() + delay > end) throw failure;
      await pause(env, delay);
    }
  }
}

async function attempt(
  { env, http }: Client,
  file: Blob,
  announcement: { readonly upload: string },
  progress: (kept: number) => void,
  signal: AbortSignal | undefined,
): Promise<Receipt> {
  const query = await credentialsInUrl(http, await http.credentials.token());
  check(signal);
  const url = address(http.base, "/ws", query).replace(/^http/, "ws");
  const socket = new env.WebSocket!(url, "tidewire.v1.json");
  const stop = () => socket.close(1000);
  signal?.addEventListener("abort", stop);
  try {
    return await new Promise<Receipt>((resolve, reject) => {
      let sending = false;
      socket.onopen = () => socket.send(JSON.stringify(announcement));
      socket.onerror = () => reject(new TidewireError("cut", "the connection broke"));
      socket.onclose = ({ code, reason }) => reject(closed(code, reason));
      socket.onmessage = ({ data }) => {
        const said = JSON.parse(data as string) as Answer;
        if (said.type === "close") {
          reject(closedBy(said as unknown as Close));
        } else if (said.upload !== announcement.upload && said.ref !== 1) {
          return;
        } else if (said.type === "error") {
          const kind = AGAIN.has(String(said.code)) ? "cut" : "refused";
          reject(new TidewireError(kind, String(said.message), String(said.code)));
        } else if (said.id) {
          progress(file.size);
          resolve(said as unknown as Receipt);
        } else if (said.offset !== undefined) {
          progress(said.offset);
          if (said.number === undefined || sending) return;
          sending = true;
          send(socket, file, said.number, said.offset, (ms) => pause(env, ms)).catch(reject);
        }
      };
    });
  } finally {
    signal?.removeEventListener("abort", stop);
    socket.onmessage = socket.onclose = socket.onerror = null;
    socket.close(1000);
  }
}

/** Sends what is left, no faster than it goes. */
async function send(
  socket: WebSocket,
  file: Blob,
  number: number,
  begin: number,
  pause: (ms: number) => Promise<void>,
): Promise<void> {
  for (let offset = begin; offset < file.size; offset += CHUNK) {
    const bytes = await bytesIn(file, offset);
    const frame = new Uint8Array(12 + bytes.length);
    const head = new DataView(frame.buffer);
    head.setUint32(0, number);
    head.setUint32(4, Math.floor(offset / 2 ** 32));
    head.setUint32(8, offset >>> 0);
    frame.set(bytes, 12);
    while (socket.bufferedAmount > AHEAD) await pause(LOOK_EVERY);
    if (socket.readyState !== 1) return; // whoever reads the answers is told
    socket.send(frame);
  }
}

function pause(env: Environment, ms: number): Promise<void> {
  return new Promise((resolve) => {
    env.setTimeout(resolve, ms);
  });
}

async function digest(file: Blob, signal: AbortSignal | undefined): Promise<string> {
  const sha256 = new Sha256();
  for (let offset = 0; offset < file.size; offset += CHUNK) {
    check(signal);
    sha256.update(await bytesIn(file, offset));
  }
  return sha256.hex();
}

async function bytesIn(file: Blob, offset: number): Promise<Uint8Array> {
  try {
    return new Uint8Array(await file.slice(offset, offset + CHUNK).arrayBuffer());
  } catch {
    throw refused("the file cannot be read, or has changed");
  }
}
