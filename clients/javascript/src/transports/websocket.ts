import { address, type Query } from "../address.js";
import { closed } from "../closing.js";
import { type Envelope, isEnvelope } from "../envelope.js";
import { alien, failureOf, TidewireError } from "../errors.js";
import { type Http, json } from "../http.js";
import type { Transport } from "./transport.js";

const SUBPROTOCOL = "tidewire.v1.json.batch";
/** Ms within which the server must say over HTTP why there is no WebSocket. */
const DIAGNOSIS = 5_000;

/** Each frame is an array of envelopes, so that many cost little. */
export const websocket: Transport = {
  name: "websocket",
  watch: "ask",
  isThere: (env) => !!env.WebSocket,
  open({ env, http, query, channels }, sink) {
    let socket: WebSocket | undefined;
    let token: string | undefined;
    let spoken = false;
    let isClosed = false;

    const close = () => {
      isClosed = true;
      if (socket) {
        socket.onmessage = socket.onclose = socket.onerror = null;
        socket.close(1000);
      }
    };
    const fail = (error: unknown) => {
      if (isClosed) return;
      close();
      sink.ended(failureOf(error));
    };
    const take = (data: string) => {
      spoken = true;
      sink.heard();
      let envelopes: unknown;
      try {
        envelopes = JSON.parse(data);
      } catch {}
      const all = Array.isArray(envelopes) ? envelopes : [envelopes];
      if (all.every(isEnvelope)) void sink.take(all as Envelope[]);
      else fail(alien("a frame without type"));
    };
    const end = async (code: number, reason: string) => {
      socket!.onclose = socket!.onerror = null;
      if (spoken) throw http.credentials.after(closed(code, reason), token);
      // A browser does not say why a handshake has failed, so the server is asked over HTTP.
      if (env.fetch) {
        const body = JSON.stringify({ channels });
        await http.call("POST", "/negotiate", { body, timeout: DIAGNOSIS }, json);
      }
      throw new TidewireError("cut", "WebSockets are blocked on the way", "blocked");
    };
    const run = async () => {
      token = await http.credentials.token();
      const parameters = [...(await credentialsInUrl(http, token)), ...query()];
      if (isClosed) return;
      const url = address(http.base, "/ws", parameters).replace(/^http/, "ws");
      socket = new env.WebSocket!(url, SUBPROTOCOL);
      socket.onmessage = ({ data }) => take(data);
      socket.onclose = ({ code, reason }) => end(code, reason).catch(fail);
      // Some say no more than this when a handshake fails.
      socket.onerror = () => spoken || end(1006, "").catch(fail);
    };
    run().catch(fail);
    return {
      close,
      probe: () => socket?.readyState === 1 && socket.send('{"type":"ping"}'),
    };
  },
};

/** URLs end up in logs, so a token is exchanged for a ticket, which is good once. */
export async function credentialsInUrl(http: Http, token: string | undefined): Promise<Query> {
  if (!token) return http.credentials.keyInUrl;
  const { ticket } = await http.call("POST", "/tickets", {}, json<{ ticket: string }>);
  return [["ticket", ticket]];
}
