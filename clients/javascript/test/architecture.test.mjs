/** ARCHITECTURE.md against the code: who may import whom, and what has no world of its own. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const SRC = fileURLToPath(new URL("../src", import.meta.url));

/** What each module imports at run time, by name; types are no dependency. */
const MODULES = new Map(
  readdirSync(SRC, { recursive: true })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => {
      const text = readFileSync(join(SRC, name), "utf8");
      const found = [...text.matchAll(/^(?:import|export) (?!type )[^;]*?from "([^"]+)"/gm)].map(
        ([, from]) =>
          from.startsWith(".")
            ? relative(SRC, join(SRC, dirname(name), from)).replace(/\.js$/, "")
            : `npm ${from}`,
      );
      return [name.replace(/\.ts$/, ""), { text, imports: found }];
    }),
);

/** From the bottom to the top: a module imports only what stands before it. */
const LAYERS = [
  ["aborting", "backoff", "binary", "environment", "envelope", "errors", "lines", "sha256"],
  [
    "address",
    "closing",
    "credentials",
    "eventstream",
    "fragments",
    "machine",
    "memory",
    "position",
  ],
  ["http", "inbox"],
  ["transports/transport", "link", "subscription"],
  ["transports/polling", "transports/websocket", "transports/sse"],
  ["transports/eventsource", "transports/longpoll", "transports/shortpoll"],
  ["client"],
  ["full/ledger", "full/patience"],
  ["full/acknowledging", "full/outbox", "full/subscription"],
  ["full/client"],
  ["core", "index", "tabs", "upload", "react", "vue"],
  ["global"],
];
const PURE = ["machine", "backoff", "position", "fragments", "full/ledger", "lines", "eventstream"];

describe("the architecture", () => {
  it("has a place for each module", () => {
    assert.deepEqual(LAYERS.flat().sort(), [...MODULES.keys()].sort());
  });

  it("has imports in one direction only", () => {
    const level = (name) => LAYERS.findIndex((layer) => layer.includes(name));
    const wrong = [...MODULES].flatMap(([name, { imports }]) =>
      imports
        .filter((other) => MODULES.has(other) && level(other) > level(name))
        .map((other) => `${name} imports ${other}`),
    );
    assert.deepEqual(wrong, []);
  });

  it("needs no packages but those of the bindings", () => {
    const foreign = [...MODULES].flatMap(([, { imports }]) =>
      imports.filter((other) => other.startsWith("npm ")),
    );
    assert.deepEqual([...new Set(foreign)].sort(), ["npm react", "npm vue"]);
  });

  for (const name of PURE) {
    it(`${name} has no timers, no I/O and no clock`, () => {
      const world =
        /\b(setTimeout|setInterval|queueMicrotask|fetch|WebSocket\(|localStorage|Date\.now|performance|navigator|document|await)\b/;
      const code = MODULES.get(name).text.replace(/\/\*[\s\S]*?\*\/|\/\/.*|"[^"]*"/g, "");
      assert.doesNotMatch(code, world);
    });
  }

  it("has no file of more than 600 lines", () => {
    for (const [name, { text }] of MODULES) assert.ok(text.split("\n").length <= 600, name);
  });
});
