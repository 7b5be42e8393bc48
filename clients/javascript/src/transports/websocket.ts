import { address, type Query } from "../address.js";
import { closed } from "../closing.js";
import { type Envelope, isEnvelope } from "../envelope.js";
import { failureOf, TidewireError } from "../errors.js";
import { type Http, json } from "../http.js";
import type { Attempt, Context, Sink, Transport } from "./transport.js";

const SUBPROTOCOL = "tidewire.v1.json.batch";
/** Ms within which the server must say over HTTP why there is no WebSocket. */
const DIAGNOSIS = 5_000;

/** Each frame is an array of envelopes, so that many cost little. */
export const websocket: Transport = {
  name: "websocket",
  watch: "ask",
  isThere: (env) => !!env.WebSocket,
  open(context, sink) {
    const socket = new Socket(context, sink);
    void socket.run();
    return socket;
  },
};

class Socket implements Attempt {
  readonly #context: Context;
  readonly #sink: Sink;
  #socket: WebSocket | undefined;
  #token: string | undefined;
  #spoken = false;
  #closed = false;

  constructor(context: Context, sink: Sink) {
    this.#context = context;
    this.#sink = sink;
  }

  async run(): Promise<void> {
    const { env, http } = this.#context;
    try {
      this.#token = await http.credentials.token();
      const query = [...(await credentialsInUrl(http, this.#token)), ...this.#context.query()];
      if (this.#closed) return;
      const url = address(http.base, "/ws", query).replace(/^http/, "ws");
      const socket = new env.WebSocket!(url, SUBPROTOCOL);
      this.#socket = socket;
      socket.onmessage = ({ data }) => this.#take(data);
      socket.onclose = ({ code, reason }) => void this.#end(code, reason);
      // Some say no more than this when a handshake fails.
      socket.onerror = () => this.#spoken || void this.#end(1006, "");
    } catch (error) {
      this.#fail(failureOf(error));
    }
  }

  probe(): void {
    if (this.#socket?.readyState === 1) this.#socket.send('{"type":"ping"}');
  }

  close(): void {
    this.#closed = true;
    const socket = this.#socket;
    if (socket) {
      socket.onmessage = socket.onclose = socket.onerror = null;
      socket.close(1000);
    }
  }

  #take(data: unknown): void {
    this.#spoken = true;
    this.#sink.heard();
    let envelopes: unknown;
    try {
      envelopes = JSON.parse(data as string);
    } catch {}
    const all = Array.isArray(envelopes) ? envelopes : [envelopes];
    if (all.every(isEnvelope)) void this.#sink.take(all as Envelope[]);
    else this.#fail(new TidewireError("alien", "this is not a Tidewire envelope"));
  }

  async #end(code: number, reason: string): Promise<void> {
    this.#socket!.onclose = this.#socket!.onerror = null;
    const { credentials } = this.#context.http;
    this.#fail(
      this.#spoken ? credentials.after(closed(code, reason), this.#token) : await this.#diagnosis(),
    );
  }

  /** A browser does not say why a handshake has failed, so the server is asked over HTTP. */
  async #diagnosis(): Promise<TidewireError> {
    const { http, channels, env } = this.#context;
    if (!env.fetch) return new TidewireError("cut", "no WebSocket");
    try {
      const body = JSON.stringify({ channels });
      await http.call("POST", "/negotiate", { body, timeout: DIAGNOSIS }, json);
      return new TidewireError("cut", "WebSockets are blocked on the way", "blocked");
    } catch (error) {
      return failureOf(error);
    }
  }

  #fail(failure: TidewireError): void {
    if (this.#closed) return;
    this.close();
    this.#sink.ended(failure);
  }
}

/** URLs end up in logs, so a token is exchanged for a ticket, which is good once. */
export async function credentialsInUrl(http: Http, token: string | undefined): Promise<Query> {
  if (!token) return http.credentials.keyInUrl;
  const { ticket } = await http.call("POST", "/tickets", {}, json<{ ticket: string }>);
  return [["ticket", ticket]];
}
