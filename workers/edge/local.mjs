// The Worker in workerd on this machine, as it would be uploaded: what `wrangler deploy` makes of it and of wrangler.toml.
//   node workers/edge/local.mjs [ASSETS FOLDER]     with the port in PORT (8787)
// Not `wrangler dev`: its proxy goes astray while the first request loads the model.

import {execFileSync} from "node:child_process";
import {mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync} from "node:fs";
import {createRequire} from "node:module";
import {tmpdir} from "node:os";
import {extname, join} from "node:path";
import {fileURLToPath} from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const toml = join(here, "../../wrangler.toml");
const require = createRequire(import.meta.url);
const {unstable_getMiniflareWorkerOptions: optionsOf, unstable_readConfig: readConfig} = require("wrangler");
// Of the version that wrangler runs.
const {Miniflare} = createRequire(require.resolve("wrangler/package.json"))("miniflare");

/** What would be uploaded: a folder, its modules with the entry first, and a folder of assets. */
export function bundle() {
    const folder = mkdtempSync(join(tmpdir(), "tinderbox-edge-"));
    process.on("exit", () => rmSync(folder, {recursive: true, force: true}));
    const assets = join(folder, "assets");
    mkdirSync(assets);
    writeFileSync(join(assets, "page.html"), "<h1>a page</h1>");
    const out = join(folder, "out");
    const wrangler = require.resolve("wrangler/bin/wrangler.js");
    execFileSync(process.execPath, [wrangler, "deploy", "--dry-run", "--outdir", out, "--assets", assets, "--config", toml], {
        stdio: ["ignore", "ignore", "inherit"], env: {...process.env, WRANGLER_SEND_METRICS: "false"}
    });
    const modules = readdirSync(out).flatMap((name) => {
        const type = {".js": "ESModule", ".wasm": "CompiledWasm"}[extname(name)];
        return type ? [{type, path: join(out, name)}] : [];
    });
    // The first is the entry.
    modules.sort((a, b) => b.type.localeCompare(a.type));
    return {modulesRoot: out, modules, assets};
}

/** What wrangler.toml says, in miniflare's words, but for its folder of assets: a clone has none until it is built. */
export const configured = optionsOf({...readConfig({config: toml}, {hideWarnings: true}), assets: undefined}).workerOptions;
let built;

/**
 * Starts the Worker with these variables over those of wrangler.toml, and assets from a folder: a page of its own where
 * none is given, no assets at all for `false` (what stands in front of a Worker with assets on this machine does not tell
 * it of clients that go). `options` are miniflare's, for bindings; `entry` is a module that stands before the Worker's own,
 * which it imports as "./index.js".
 */
export async function worker({vars = {}, assets, port = 0, options = {}, entry} = {}) {
    built ??= bundle();
    const {compatibilityDate, compatibilityFlags, bindings, durableObjects, ratelimits} = configured;
    const directory = assets ?? built.assets;
    const first = entry && {type: "ESModule", path: join(built.modulesRoot, "entry.mjs"), contents: entry};
    const instance = new Miniflare({
        modulesRoot: built.modulesRoot,
        modules: first ? [first, ...built.modules] : built.modules,
        compatibilityDate,
        compatibilityFlags,
        bindings: {...bindings, MODEL: "", ...vars},
        durableObjects,
        ratelimits,
        assets: directory ? {directory, binding: "ASSETS", routerConfig: {has_user_worker: true}} : undefined,
        host: "127.0.0.1",
        port,
        // Where the caller is would be asked of the internet.
        cf: false,
        ...options
    });
    const url = await instance.ready;
    return {url: url.origin, instance, stop: () => instance.dispose()};
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const {MODEL, NODES = "[]", PORT = "8787"} = process.env;
    const {url} = await worker({
        vars: {MODEL: MODEL ?? configured.bindings.MODEL, NODES}, assets: process.argv[2], port: Number(PORT)
    });
    console.log(`The edge is ready at ${url} (the demo page, and the API under /v1); Ctrl-C stops it.`);
}
