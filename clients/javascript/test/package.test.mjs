/** What is published: the same each time, and whole enough for an empty project. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const run = (command, args, cwd) =>
  execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
let work;

before(() => {
  work = mkdtempSync(join(tmpdir(), "tidewire-package-"));
});
after(() => rmSync(work, { recursive: true, force: true }));

/** The files below a folder, with what is in them. */
function contents(folder) {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) =>
    one.isFile(),
  );
  return new Map(
    names
      .map(({ parentPath, path, name }) => join(parentPath ?? path, name))
      .sort()
      .map((file) => [relative(folder, file), readFileSync(file, "utf8")]),
  );
}

describe("the build", () => {
  it("is the same each time, byte for byte", () => {
    const again = join(work, "again");
    run(process.execPath, ["scripts/build.mjs", again], ROOT);
    assert.deepEqual(contents(again), contents(join(ROOT, "dist")));
  });

  it("is what the server serves", () => {
    const served = join(ROOT, "../../src/tidewire/console/static/client.js");
    const built = readFileSync(join(ROOT, "dist/tidewire.js"), "utf8");
    assert.ok(readFileSync(served, "utf8") === built, "run: make client");
  });

  it("names no place of this machine", () => {
    for (const [name, text] of contents(join(ROOT, "dist"))) {
      assert.ok(!text.includes(ROOT) && !/sourceMappingURL/.test(text), name);
    }
  });
});

describe("the package", () => {
  let project;

  before(() => {
    // Packed from a copy, because packing builds.
    const copy = join(work, "copy");
    mkdirSync(copy);
    for (const name of ["dist", "package.json", "README.md", "LICENSE"])
      cpSync(join(ROOT, name), join(copy, name), { recursive: true });
    const [{ filename }] = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts"], copy));
    project = join(work, "project");
    mkdirSync(project);
    writeFileSync(join(project, "package.json"), '{"name":"empty","private":true,"type":"module"}');
    run(
      "npm",
      ["install", "--offline", "--no-audit", "--no-fund", "--omit=peer", join(copy, filename)],
      project,
    );
    for (const name of ["react", "vue", "@vue", "@types", "csstype", "@babel"]) {
      symlinkSync(join(ROOT, "node_modules", name), join(project, "node_modules", name));
    }
  });

  it("has what is built, and nothing else", () => {
    const names = readdirSync(join(project, "node_modules/tidewire")).sort();
    assert.deepEqual(names, ["LICENSE", "README.md", "dist", "package.json"]);
  });

  it("brings no dependencies", () => {
    const { dependencies = {} } = JSON.parse(readFileSync(join(ROOT, "package.json")));
    assert.deepEqual(dependencies, {});
  });

  it("runs", () => {
    const text =
      'import { connect } from "tidewire"; import { upload } from "tidewire/upload"; import { connectShared } from "tidewire/tabs"; import { connect as small } from "tidewire/core"; console.log(connect("https://x.test").url, small("https://y.test").url, typeof upload, typeof connectShared)';
    assert.equal(
      run(process.execPath, ["--input-type=module", "-e", text], project),
      "https://x.test https://y.test function function\n",
    );
  });

  for (const [name, options] of [
    ["a bundler", { module: "ESNext", moduleResolution: "Bundler" }],
    ["Node", { module: "NodeNext", moduleResolution: "NodeNext" }],
  ]) {
    it(`type-checks as ${name} sees it`, () => {
      writeFileSync(
        join(project, "app.ts"),
        `import { connect, type Message, TidewireError } from "tidewire";
         import { connect as small } from "tidewire/core";
         import { connectShared } from "tidewire/tabs";
         import { upload } from "tidewire/upload";
         import { useChannel } from "tidewire/react";
         import { useChannel as useInVue } from "tidewire/vue";
         const client = connect("https://x.test", { getToken: async () => "t", transports: ["websocket", "sse"] });
         client.subscribe<{ text: string }>("news", (message) => message.data.text.length, { since: -5 });
         export async function read(): Promise<Message<number> | undefined> {
           for await (const message of client.channel<number>("news")) return message;
           const { seq } = await client.publish("news", new Uint8Array(1));
           await upload(client, "files", new Blob([String(seq)]));
           return undefined;
         }
         client.on("state", ({ status }) => status === "live");
         client.on("error", (error) => error instanceof TidewireError && error.final);
         small("https://x.test").subscribe<number>("news", ({ data, seq }) => data + seq);
         // @ts-expect-error the core has no past
         small("https://x.test").subscribe("news", () => {}, { since: -5 });
         export const bindings = [useChannel, useInVue, connectShared];
         // @ts-expect-error a transport that there is not
         connect("https://x.test", { transports: ["pigeon"] });`,
      );
      const compilerOptions = {
        ...options,
        target: "ES2022",
        lib: ["ES2022", "DOM"],
        types: [],
        strict: true,
        noEmit: true,
        skipLibCheck: false,
      };
      writeFileSync(
        join(project, "tsconfig.json"),
        JSON.stringify({ compilerOptions, files: ["app.ts"] }),
      );
      run(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", "."], project);
    });
  }
});
