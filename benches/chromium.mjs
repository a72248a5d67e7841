// The engines that run in a page, measured in Chromium.

import {join} from "node:path";
import {fileURLToPath} from "node:url";

import {launch} from "../tests/web/browser.mjs";
import {isolated, serve} from "../tests/web/server.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

/** A prompt of so many tokens: one a word with every vocabulary that is compared here. */
export const words = (count) => Array.from({length: count}, () => " the").join("");

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

/** Serves a folder of models to browsers: `measure` tells the speed of an engine, `open` gives Tinderbox to ask. */
export async function chromium(folder) {
    const server = await serve({
        "/": join(root, "benches/web"),
        "/tinderbox/": join(root, "crates/web/dist"),
        "/wllama/": join(root, "tests/web/node_modules/@wllama/wllama/esm"),
        "/models/": folder
    }, {headers: isolated});
    return {
        close: () => server.close(),
        measure: (...task) => measure(server.origin, ...task),
        open: (...task) => open(server.origin, ...task)
    };
}

/** The page in a browser of its own, so that nothing is warm. */
async function blank(origin, name, path) {
    const browser = await launch({path});
    try {
        const page = await browser.newPage();
        page.on("pageerror", (error) => console.error(`${name}: ${error.message}`));
        await page.goto(origin);
        await page.waitForFunction(() => window.measure);
        return {browser, page};
    } catch (error) {
        await browser.close();
        throw error;
    }
}

const paths = (models) => models.map((name) => `/models/${name}`);

/** Tinderbox with files of the folder; `post(path, body)` gives `{status, body}`. */
async function open(origin, models, setup) {
    const {browser, page} = await blank(origin, "tinderbox");
    try {
        const description = await page.evaluate((setup) => window.load(setup), {...setup, models: paths(models)});
        return {
            description,
            post: (path, body) => page.evaluate((asked) => window.post(...asked), [path, body]),
            close: () => browser.close()
        };
    } catch (error) {
        await browser.close();
        throw error;
    }
}

/** One measurement, in the browser at `path` or the usual one. */
async function measure(origin, engine, models, {prompt, decode, ...setup}, path) {
    const {browser, page} = await blank(origin, engine, path);
    try {
        const task = {
            ...setup,
            models: paths(models),
            prompt: words(prompt),
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
