// What is published, how large it is, and that it works the ways its readers will use it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { chat, example, npm } from "./examples.mjs";
import { isolated } from "../server.mjs";
import { CSP, fixture, packageFolder } from "./fixture.mjs";

const enabled = () => document.querySelector("#say:enabled") !== null;
const dist = join(packageFolder, "dist");
/** The page's own, so that nothing more is installed. */
const vite = join(packageFolder, "../../www/node_modules/vite/bin/vite.js");
const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;

test("the package has its bundles, its types and nothing else", () => {
  const [{ files }] = JSON.parse(npm(packageFolder, "pack", "--dry-run", "--json"));
  const paths = files.map(({ path }) => path).filter((path) => !/^dist\/[\w-]+\.d\.ts$/.test(path));
  assert.deepEqual(paths.sort(), ["README.md", "dist/LICENSE-APACHE", "dist/LICENSE-MIT", "dist/THIRD-PARTY.txt", "dist/service-worker.js", "dist/thread.js",
    "dist/tinderbox.js", "dist/tinderbox_web_bg.wasm", "dist/tinderbox_web_threads_bg.wasm", "dist/worker.js", "package.json"]);
});

test("the page's code is below 150 kB, compressed", async (t) => {
  let sum = 0;
  for (const file of ["tinderbox.js", "worker.js", "thread.js", "service-worker.js"]) {
    const size = gzipSync(await readFile(join(dist, file))).length;
    t.diagnostic(`${file}: ${kilobytes(size)}`);
    sum += size;
  }
  assert.ok(sum < 150_000, kilobytes(sum));
});

for (const name of ["tinderbox_web", "tinderbox_web_threads"]) test(`the module ${name} is below 5 MB, compressed`, async (t) => {
  const module = await readFile(join(dist, `${name}_bg.wasm`));
  // Node's own gzip is made for speed.
  const size = execFileSync("gzip", ["-9"], { input: module, maxBuffer: module.length }).length;
  t.diagnostic(`${kilobytes(module.length)}, gzip ${kilobytes(size)}, brotli ${kilobytes(brotliCompressSync(module, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }).length)}`);
  assert.ok(size < 5_000_000, kilobytes(size));
});

test("its types are enough for a strict TypeScript", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tinderbox-types-"));
  const program = `
    import { Tinderbox, TinderboxError, serve, type Engine, type Progress } from "tinderbox-web";
    import { answerRequests } from "tinderbox-web/service-worker";
    const engine: Engine = await Tinderbox.load({ model: "x", onProgress: (progress: Progress) => console.log(progress.phase) });
    for await (const chunk of await engine.chat.completions.create({ messages: [], stream: true })) chunk.choices[0]?.delta.content;
    const answer = await engine.completions.create({ prompt: "x", stop_token_ids: [2], include_stop_str_in_output: true, best_of: 2 });
    await engine.chat.completions.create({ messages: [], max_completion_tokens: 4, min_tokens: 1, ignore_eos: true, skip_special_tokens: false });
    const rate: number | undefined = answer.usage?.timings.tokens_per_second;
    const code: "quota" | string = new TinderboxError("quota", "").code;
    void serve(engine); answerRequests({ paths: ["/v1/"] }); export { rate, code };
    // @ts-expect-error a role that is none
    void engine.chat.completions.create({ messages: [{ role: "abacus", content: "" }] });`;
  try {
    await symlink(join(packageFolder, "node_modules"), join(folder, "tools"));
    await writeFile(join(folder, "package.json"), '{"type":"module"}');
    await writeFile(join(folder, "program.ts"), program);
    execFileSync("mkdir", ["node_modules"], { cwd: folder });
    await symlink(packageFolder, join(folder, "node_modules/tinderbox-web"));
    const typescript = dirname(createRequire(join(packageFolder, "package.json")).resolve("typescript/package.json"));
    for (const resolution of [["--module", "nodenext"], ["--module", "esnext", "--moduleResolution", "bundler"]]) {
      execFileSync(process.execPath, [join(typescript, "bin/tsc"), "--noEmit", "--strict", "--target", "es2022",
        "--lib", "es2022,dom", ...resolution, "program.ts"], { cwd: folder, encoding: "utf8", stdio: "pipe" });
    }
  } catch (error) {
    assert.fail(error.stdout || error.message);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a tarball installs beside a Vite app, which builds and answers on several threads", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tinderbox-app-"));
  const app = `
    import { Tinderbox } from "tinderbox-web";
    const engine = await Tinderbox.load({ model: "/models/tiny.gguf", device: "cpu" });
    const { choices } = await engine.completions.create({ prompt: "hello", max_tokens: 4, temperature: 0 });
    const { threads } = await engine.report();
    document.title = choices[0].finish_reason + ", " + threads + " of " + navigator.hardwareConcurrency + " threads";`;
  const world = await fixture({ mounts: { "/": join(folder, "dist") }, headers: { "content-security-policy": CSP, ...isolated } });
  try {
    const [{ filename }] = JSON.parse(npm(packageFolder, "pack", "--json", "--pack-destination", folder));
    await writeFile(join(folder, "package.json"), '{ "type": "module", "private": true }');
    await writeFile(join(folder, "vite.config.js"), 'export default { worker: { format: "es" }, build: { target: "es2022" } };');
    await writeFile(join(folder, "index.html"), '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/app.js"></script>');
    await writeFile(join(folder, "app.js"), app);
    npm(folder, "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", `./${filename}`);
    execFileSync(process.execPath, [vite, "build", "--logLevel", "error"], { cwd: folder, stdio: "pipe", encoding: "utf8" });
    const page = await world.open({ ready: () => document.title !== "" });
    const [, cores] = /^length, (\d+) of \1 threads$/.exec(await page.title()) ?? [];
    assert.ok(cores > 1, await page.title());
    assert.deepEqual(world.complaints, []);
  } catch (error) {
    assert.fail(error.stderr || error.message);
  } finally {
    await world.close();
    await rm(folder, { recursive: true });
  }
});

test("the page of one HTML file chats in 20 lines", async (t) => {
  const lines = (await readFile(join(example("plain"), "index.html"), "utf8")).trimEnd().split("\n").length;
  assert.ok(lines <= 20, `${lines} lines`);
  const world = await fixture({ mounts: { "/": example("plain"), "/tinderbox/": dist }, headers: {} });
  try {
    if (!world.real) return t.skip("the model is not here");
    const page = await world.open({ ready: enabled });
    assert.match(await chat(page, "Hello"), /> Hello\n./);
  } finally {
    await world.close();
  }
});

test("Vite's build of the example chats", async (t) => {
  const folder = example("vite");
  npm(folder, "run", "build");
  const world = await fixture({ mounts: { "/": join(folder, "dist") } });
  try {
    if (!world.real) return t.skip("the model is not here");
    const page = await world.open({ ready: enabled });
    assert.match(await chat(page, "Hello"), /> Hello\n./);
    assert.deepEqual(world.complaints, []);
  } finally {
    await world.close();
  }
});

test("Vite's development server chats", async (t) => {
  const folder = example("vite");
  const world = await fixture();
  const { createServer } = await import(join(folder, "node_modules/vite/dist/node/index.js"));
  const server = await createServer({ root: folder, logLevel: "error", server: { host: "127.0.0.1", port: 0, proxy: { "/models": world.server.origin } } });
  try {
    if (!world.real) return t.skip("the model is not here");
    await server.listen();
    const page = await world.open({ url: `http://127.0.0.1:${server.httpServer.address().port}`, ready: enabled });
    assert.match(await chat(page, "Hello"), /> Hello\n./);
  } finally {
    await server.close();
    await world.close();
  }
});
