// Bundles the package to dist/. TINDERBOX_WASM names the folder of wasm-bindgen's output (`--target web`).
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, resolve } from "node:path";
import { parse } from "smol-toml";

const here = import.meta.dirname;
const wasm = resolve(here, process.env.TINDERBOX_WASM ?? "../../target/web-wasm");
const { model: models } = parse(await readFile(resolve(here, "../node/catalog.toml"), "utf8"));
// A tab loads by name what is one file.
const catalog = models.filter(({ file }) => file.length === 1)
  .map(({ name, description, licence, file: [{ name: file, bytes, sha256 }] }) => ({ name, description, licence, bytes, sha256, file }));

await rm(resolve(here, "dist"), { recursive: true, force: true });
await build({
  absWorkingDir: here,
  entryPoints: { tinderbox: "js/index.ts", worker: "js/worker.ts", thread: "js/thread.ts", "service-worker": "js/service-worker.ts" },
  outdir: "dist",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "eof",
  alias: {
    "tinderbox-wasm": resolve(wasm, "tinderbox_web.js"),
    "tinderbox-wasm-threads": resolve(wasm, "tinderbox_web_threads.js"),
  },
  define: { CATALOG: JSON.stringify(catalog) },
});
for (const module of ["tinderbox_web_bg.wasm", "tinderbox_web_threads_bg.wasm"]) {
  await copyFile(resolve(wasm, module), resolve(here, "dist", module));
}

// The licences of what is in the bundles go with them.
const bundled = ["eventsource-parser", "hash-wasm"];
const texts = bundled.map(async (name) => `${name}\n\n${await readFile(resolve(here, "node_modules", name, "LICENSE"), "utf8")}`);
await writeFile(resolve(here, "dist/THIRD-PARTY.txt"), (await Promise.all(texts)).join("\n\n"));
for (const licence of ["LICENSE-APACHE", "LICENSE-MIT"]) await copyFile(resolve(here, "../..", licence), resolve(here, "dist", licence));

const typescript = dirname(createRequire(import.meta.url).resolve("typescript/package.json"));
execFileSync(process.execPath, [resolve(typescript, "bin/tsc"), "--emitDeclarationOnly", "--declaration"], {
  cwd: here, stdio: "inherit",
});
