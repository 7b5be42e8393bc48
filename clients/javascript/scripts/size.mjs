/** Fails when what an application loads is larger than it may be. Usage: node scripts/size.mjs */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { bundle } from "./bundle.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Bytes, minified and as `gzip -9` makes them, with all that the entry imports. */
const LIMITS = {
  core: 9 * 1024,
  index: 13 * 1024,
  tabs: 14.5 * 1024,
  upload: 2.75 * 1024,
  react: 600,
  vue: 600,
};

for (const [name, limit] of Object.entries(LIMITS)) {
  const text = await bundle(join(root, "dist", `${name}.js`));
  const size = gzipSync(text, { level: 9 }).length;
  if (size > limit) process.exitCode = 1;
  console.log(`${name.padEnd(8)} ${size} of ${limit} bytes${size > limit ? ": too large" : ""}`);
}
