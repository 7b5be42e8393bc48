/** A client that polls a server which the test plays. */
import { beforeEach } from "node:test";
import { connect } from "../dist/index.js";
import { answer, World } from "./world.mjs";

export let world;
export let requests;
export let on;

beforeEach(() => {
  world = new World();
  requests = [];
  on = {};
});

/** A client that polls; `on[path]` answers each request of a path, or is a list of answers. */
export function client(options = {}, make = connect) {
  return make("https://x.test", {
    transports: ["poll"],
    environment: world.environment({
      fetch: async (url, init) => {
        const { pathname, searchParams } = new URL(url);
        const query = Object.fromEntries(searchParams);
        const request = {
          path: pathname,
          query,
          body: init.body && JSON.parse(init.body),
          ids: searchParams.getAll("eventId"),
          headers: init.headers,
        };
        requests.push(request);
        const given = on[pathname];
        const next = Array.isArray(given) ? given.shift() : given?.(request);
        if (next === undefined) throw new TypeError("Failed to fetch");
        if (next instanceof Error) throw next;
        return next;
      },
    }),
    ...options,
  });
}

export const problem = (status, code, headers = {}) =>
  new Response(JSON.stringify({ code, detail: `it is ${code}` }), {
    status,
    headers: { "Content-Type": "application/problem+json", ...headers },
  });
export const page = (messages, cursor, more = {}) =>
  answer(200, { messages, gaps: [], cursor, ...more });
export const paths = () => requests.map(({ path }) => path);
