/** Builds `dist` from nothing: modules with their types, and one file for a script tag. */
import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = process.argv[2] ?? join(root, "dist");

rmSync(out, { recursive: true, force: true });
execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "--outDir", out], {
  cwd: root,
  stdio: "inherit",
});
await build({
  absWorkingDir: root,
  entryPoints: ["src/global.ts"],
  outfile: join(out, "tidewire.js"),
  bundle: true,
  minify: true,
  charset: "utf8",
  format: "iife",
  globalName: "tidewire",
  target: ["es2022"],
  legalComments: "none",
  logLevel: "warning",
  banner: { js: "/* Tidewire client, Apache-2.0. Made by clients/javascript: do not edit. */" },
});
copyFileSync(join(root, "../../LICENSE"), join(root, "LICENSE"));
