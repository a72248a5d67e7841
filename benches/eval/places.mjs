// The places that are judged. Each takes the files of its weights and the sequences, and gives its device and, for every token but
// a sequence's first, the likeliest token in its place and the log-probability of the one that is there.

import {basename, dirname, join} from "node:path";

import {serveNative} from "../../tests/web/native.mjs";
import {worker} from "../../workers/edge/local.mjs";
import {chromium} from "../chromium.mjs";
import {llamaCpp} from "./forced.mjs";

/** Of a sequence: a multiple of 16 that every line of LAMBADA fits in. */
const CONTEXT = 512;

const inTurn = async (sequences, answer) => {
    const answers = [];
    for (const ids of sequences) answers.push(await answer(ids));
    return answers;
};

/** By llama.cpp on a device. */
const llama = (device) => async (file, sequences) => {
    const engine = await llamaCpp(file, device);
    try {
        return {device: engine.device, answers: await inTurn(sequences, (ids) => engine.force(ids))};
    } finally {
        await engine.close();
    }
};

/** By Tinderbox: the same request in the same dialect everywhere. `open(file)` gives `{device, post, close}`. */
const tinderbox = (open) => async (file, sequences) => {
    const place = await open(file);
    try {
        const answers = await inTurn(sequences, async (ids) => {
            const {status, body} = await place.post("/v1/completions", {
                prompt: ids, echo: true, logprobs: 1, max_tokens: 1, temperature: 0, return_tokens_as_token_ids: true
            });
            if (status !== 200) throw new Error(`status ${status}: ${JSON.stringify(body)}`);
            const {tokens, token_logprobs: logprobs, top_logprobs: tops} = body.choices[0].logprobs;
            // Best first, by name.
            const number = (name) => Number(name.slice("token_id:".length));
            if (ids.some((id, index) => number(tokens[index]) !== id)) throw new Error("another prompt came back");
            return ids.slice(1).map((_, index) => ({
                argmax: number(Object.keys(tops[index + 1])[0]), logprob: logprobs[index + 1]
            }));
        });
        return {device: place.device, answers};
    } finally {
        await place.close();
    }
};

const post = (origin) => async (path, body) => {
    const headers = {"content-type": "application/json"};
    const response = await fetch(origin + path, {method: "POST", headers, body: JSON.stringify(body)});
    return {status: response.status, body: await response.json()};
};

const native = (device) => tinderbox(async (file) => {
    const server = await serveNative(file, ["--device", device, "--context", String(CONTEXT), "--max-sequences", "1"]);
    return {device: server.device, post: post(server.url), close: () => server.close()};
});

const tab = (device, threads) => tinderbox(async (file) => {
    const browsers = await chromium(dirname(file));
    try {
        const engine = await browsers.open([basename(file)], {device, threads, context: CONTEXT});
        return {device: engine.description, post: engine.post, close: () => engine.close().finally(browsers.close)};
    } catch (error) {
        await browsers.close();
        throw error;
    }
});

/** The isolate reads the same weights in parts, from the assets beside the file. */
const isolate = tinderbox(async (file) => {
    const size = String(CONTEXT);
    const edge = await worker({assets: join(dirname(file), "assets"), vars: {MODEL: "packed", CONTEXT: size, BUDGET: size}});
    return {device: "workerd, 1 thread", post: post(edge.url), close: () => edge.stop()};
});

/**
 * By name: which weights a place has (`own` as the file came, `wide` the same in 32 bits, `packed` for the edge), and what computes.
 * A rival comes first: the others with such weights are set beside it.
 */
export const PLACES = {
    "llama.cpp": {rival: true, weights: "own", run: llama("cpu")},
    "llama.cpp, weights in F32": {weights: "wide", run: llama("cpu")},
    "llama.cpp, Vulkan": {weights: "own", run: llama("vulkan")},
    "native, CPU": {weights: "own", run: native("cpu")},
    "native, Vulkan": {weights: "own", run: native("vulkan")},
    "tab, 1 thread": {weights: "own", run: tab("cpu", 1)},
    "tab, 2 threads": {weights: "own", run: tab("cpu", 2)},
    "tab, WebGPU": {weights: "own", run: tab("webgpu", 1)},
    "llama.cpp, packed": {rival: true, weights: "packed", run: llama("cpu")},
    "isolate, packed": {weights: "packed", run: isolate}
};
