/** Fails when what most applications load is larger than it may be. Usage: node scripts/size.mjs */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Bytes, minified and as `gzip -9` makes them: the client with all its transports, and what is apart. */
const LIMITS = {
  index: 13.25 * 1024,
  tabs: 14.75 * 1024,
  upload: 2.75 * 1024,
  react: 600,
  vue: 600,
};

let failed = false;
for (const [name, limit] of Object.entries(LIMITS)) {
  const { outputFiles } = await build({
    entryPoints: [join(root, "dist", `${name}.js`)],
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: ["es2022"],
    external: ["react", "vue"],
  });
  const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  const verdict = size > limit ? "too large" : "fits";
  failed ||= size > limit;
  console.log(`${name.padEnd(8)} ${size} of ${limit} bytes: ${verdict}`);
}
process.exitCode = failed ? 1 : 0;
