/** Builds `dist` from nothing: modules with their types, and one file for a script tag. */
import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { bundle } from "./bundle.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = process.argv[2] ?? join(root, "dist");

rmSync(out, { recursive: true, force: true });
execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "--outDir", out], {
  cwd: root,
  stdio: "inherit",
});
const banner = "/* Tidewire client, Apache-2.0. Made by clients/javascript: do not edit. */";
writeFileSync(join(out, "tidewire.js"), await bundle(join(root, "src/global.ts"), "iife", banner));
copyFileSync(join(root, "../../LICENSE"), join(root, "LICENSE"));
