/** What goes over the wire, counted on its way: the client is given these in place of the browser's. */

/** The addresses that each transport asks itself; others are asked for the past. */
const OWN = { websocket: [], sse: ["sse"], longpoll: ["poll", "longpoll"], poll: ["poll"] };
const encoder = new TextEncoder();

/** How many bytes a text takes in UTF-8. */
export const size = (text) => encoder.encode(text).length;

/**
 * The environment of a client whose requests and bytes are told to a feed.
 *
 * @param {string} transport the one that it uses
 * @param {(what: (feed: import("./feed.js").Feed) => void) => void} tell
 */
export function metered(transport, tell) {
  const asked = () => tell((feed) => feed.asked());
  const took = (bytes) => tell((feed) => feed.took(bytes));
  const Socket = globalThis.WebSocket;
  return {
    storage: undefined, // each visit begins anew
    WebSocket:
      Socket &&
      class extends Socket {
        constructor(...given) {
          super(...given);
          asked();
          this.addEventListener("message", ({ data }) => took(size(data)));
        }
      },
    async fetch(url, init) {
      const path = new URL(url).pathname.split("/").at(-1);
      if (!OWN[transport].includes(path)) return fetch(url, init);
      asked();
      if (transport === "poll") tell((feed) => feed.resting(null));
      const answer = await fetch(url, init);
      if (answer.status === 304) tell((feed) => (feed.unchanged += 1));
      const interval = Number(answer.headers.get("Tidewire-Poll-Interval"));
      if (transport === "poll" && interval) tell((feed) => feed.resting(Date.now() + interval * 1000));
      return counting(answer, took);
    },
  };
}

/** The same answer, whose body is counted as it is read. */
function counting(answer, took) {
  const { body, status, headers } = answer;
  // Some browsers give these a body, too, and nobody may make another that has one.
  if (status === 204 || status === 304) return answer;
  const count = new TransformStream({
    transform(chunk, next) {
      took(chunk.byteLength);
      next.enqueue(chunk);
    },
  });
  return new Response(body?.pipeThrough(count), { status, headers });
}
