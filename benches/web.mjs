// Measures the browser package and wllama (llama.cpp in wasm) in Chromium on the same file, in turn, and prints ratios:
//   node benches/web.mjs FILE.gguf [--setups cpu1,cpu2,webgpu] [--rounds 3] [--out benches/results]

import {basename, dirname, join} from "node:path";
import {fileURLToPath} from "node:url";
import {parseArgs} from "node:util";

import {launch} from "../tests/web/browser.mjs";
import {isolated, serve} from "../tests/web/server.mjs";
import {RESULTS, compare, pick} from "./report.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const {values, positionals: [file]} = parseArgs({
    allowPositionals: true,
    options: {
        setups: {type: "string", default: "cpu1,cpu2,webgpu"},
        rounds: {type: "string", default: "3"},
        out: {type: "string", default: RESULTS}
    }
});
if (!file) {
    console.error("usage: web.mjs FILE.gguf");
    process.exit(2);
}

// Ours has one thread in a tab whatever it is given. A software adapter gives a token or less a second.
const SETUPS = {
    cpu1: {device: "cpu", threads: 1, prompt: 256, decode: 64},
    cpu2: {device: "cpu", threads: 2, prompt: 256, decode: 64},
    webgpu: {device: "webgpu", threads: 1, prompt: 16, decode: 8}
};

const server = await serve({
    "/": join(root, "benches/web"),
    "/tinderbox/": join(root, "crates/web/dist"),
    "/wllama/": join(root, "tests/web/node_modules/@wllama/wllama/esm"),
    "/models/": dirname(file)
}, {headers: isolated});

/** Runs in a worker: counts what is sent to the GPU. */
function countDispatches() {
    globalThis.dispatches = 0;
    for (const name of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]) {
        const dispatch = GPUComputePassEncoder.prototype[name];
        GPUComputePassEncoder.prototype[name] = function (...sizes) {
            globalThis.dispatches += 1;
            return dispatch.apply(this, sizes);
        };
    }
}

/** How many dispatches the engine in `page` makes for a token: what two more tokens add. */
async function dispatchesPerToken(page) {
    const [worker] = page.workers();
    await worker.evaluate(countDispatches);
    const counts = [];
    for (const tokens of [1, 3]) {
        await page.evaluate((tokens) => window.again(tokens), tokens);
        counts.push(await worker.evaluate(() => globalThis.dispatches));
    }
    return (counts[1] - 2 * counts[0]) / 2;
}

/** One measurement in a browser of its own, so that nothing is warm. */
async function measure(engine, {prompt, decode, ...setup}) {
    const browser = await launch();
    try {
        const page = await browser.newPage();
        page.on("pageerror", (error) => console.error(`${engine}: ${error.message}`));
        await page.goto(server.origin);
        await page.waitForFunction(() => window.measure);
        const task = {
            ...setup,
            model: `/models/${basename(file)}`,
            // One token a word with every vocabulary that is compared here.
            prompt: Array.from({length: prompt}, () => " the").join(""),
            decode,
            context: prompt + decode + 16
        };
        const result = await page.evaluate(([engine, task]) => window.measure(engine, task), [engine, task]);
        if (engine === "tinderbox" && setup.device === "webgpu") {
            result.dispatches_per_token = await dispatchesPerToken(page);
            console.log(`tinderbox: ${result.dispatches_per_token} dispatches a token`);
        }
        return result;
    } finally {
        await browser.close();
    }
}

await compare({
    file,
    setups: pick(SETUPS, values.setups.split(",")),
    rounds: Number(values.rounds),
    out: values.out,
    ours: (setup) => measure("tinderbox", setup),
    theirs: (setup) => measure("wllama", setup),
    rival: "wllama"
});
await server.close();
