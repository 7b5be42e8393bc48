/** WebSocket: one socket, one envelope a text frame. */

import { Lost, Refused } from "./connection.js";
import { size } from "./http.js";

const RECONNECT = new Set([1001, 1006, 1011, 1012, 1013, 4408, 4429]);
const PING = 20_000; // ms of silence after which the page asks whether the server is there
const PATIENCE = 8000; // ms until the answer must be there

/** @param {import("./connection.js").Link} link */
export async function followWebSocket(link) {
  const url = await link.door("ws");
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  await new Promise((_, reject) => {
    const socket = new WebSocket(url);
    let goodbye = null; // the close envelope
    let silence; // a socket can stay open on a dead network: only an answer proves it alive
    link.asked();

    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => {
        socket.send(JSON.stringify({ type: "ping", ref: 0 }));
        silence = setTimeout(() => end(new Lost("The server fell silent.")), PATIENCE);
      }, PING);
    };
    const end = (error) => {
      clearTimeout(silence);
      link.signal.removeEventListener("abort", cut);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
      reject(error);
    };
    const cut = () => end(link.signal.reason);
    link.signal.addEventListener("abort", cut);

    socket.onopen = listen;
    socket.onmessage = ({ data }) => {
      listen();
      link.took(size(data));
      const envelope = JSON.parse(data);
      if (envelope.type === "message") link.message(envelope);
      else if (envelope.type === "ready") {
        link.moved(envelope.id);
        link.opened();
      } else if (envelope.type === "gap") link.gap(envelope);
      else if (envelope.type === "close") goodbye = envelope;
    };
    socket.onclose = ({ code, reason }) => {
      const said = goodbye?.reason || reason;
      if (RECONNECT.has(code) || goodbye?.retry !== undefined) {
        end(new Lost(said ? `Closed: ${said}.` : "The server is away.", goodbye?.retry));
      } else end(new Refused(`Closed with code ${code}${said ? `: ${said}` : ""}.`, code));
    };
  });
}
