/** A real Tidewire server on a free port, for tests. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../../..");
const STARTS_WITHIN = 20_000;

/** Those that are running: none outlives the tests, however they end. */
const running = new Set();
let keys = 0;
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Starts one; `settings` are those of its command line. Resolves to `{url, publish, stop, kill}`. */
export async function startServer(settings = {}, port = 0) {
  const directory = mkdtempSync(join(tmpdir(), "tidewire-js-"));
  const flags = Object.entries({ engine: "memory:", port, ...settings }).flatMap(([name, value]) =>
    value === true ? [`--${name}`] : [`--${name}`, String(value)],
  );
  const child = spawn(join(ROOT, ".venv/bin/tidewire"), ["serve", ...flags], {
    cwd: directory,
    env: { PATH: process.env.PATH, HOME: directory },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  let said = "";
  child.stderr.on("data", (text) => {
    said += text;
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const url = await new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`the server did not start: ${said}`)),
      STARTS_WITHIN,
    );
    child.once("exit", () => reject(new Error(`the server ended: ${said}`)));
    child.stdout.on("data", (text) => {
      const found = /tidewire listening on (\S+)/.exec(text);
      if (found) {
        clearTimeout(timer);
        resolve(found[1]);
      }
    });
  });
  const end = async (signal) => {
    child.kill(signal);
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  return {
    url,
    port: Number(new URL(url).port),
    async publish(channel, ...datas) {
      const messages = datas.map((data) => ({ channel, data, key: `test-${++keys}` }));
      const request = {
        method: "POST",
        headers: settings["api-key"] ? { "X-API-Key": settings["api-key"] } : {},
        body: JSON.stringify({ messages }),
      };
      // A kept connection may be closed in the very moment in which it is used again.
      const post = () => fetch(`${url}/publish`, request);
      const answer = await post().catch(post);
      if (!answer.ok) throw new Error(await answer.text());
      return (await answer.json()).results;
    },
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
  };
}

/** Resolves as soon as `holds()` is true; fails after 30 s. */
export async function until(holds, what = String(holds)) {
  const end = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
