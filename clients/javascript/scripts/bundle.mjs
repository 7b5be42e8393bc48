/** One file of a module and all that it imports, minified. */
import { build } from "esbuild";
import { minify } from "terser";

/**
 * The text that `entry` becomes.
 *
 * @param format `esm`, or `iife` for a script tag, which then makes the global `tidewire`
 */
export async function bundle(entry, format = "esm", banner = "") {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    charset: "utf8",
    format,
    globalName: "tidewire",
    target: ["es2022"],
    external: ["react", "vue"],
    legalComments: "none",
    logLevel: "warning",
  });
  const { code } = await minify(outputFiles[0].text, {
    module: format === "esm",
    ecma: 2022,
    compress: { passes: 3 },
    format: { preamble: banner },
  });
  return `${code}\n`;
}
