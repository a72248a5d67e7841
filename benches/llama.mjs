// Measures llama.cpp (npm node-llama-cpp, prebuilt) on one GGUF file and prints one line of JSON:
//   node benches/llama.mjs --model FILE [--device cpu|vulkan] [--threads 2] [--prompt 512] [--decode 128] [--sequences 1] [--rounds 1]
// Figures are medians over the rounds that follow one untimed round; of several sequences, together.

import {statSync} from "node:fs";
import {parseArgs} from "node:util";

const {values} = parseArgs({
    options: {
        model: {type: "string"},
        device: {type: "string", default: "cpu"},
        threads: {type: "string", default: "2"},
        prompt: {type: "string", default: "512"},
        decode: {type: "string", default: "128"},
        sequences: {type: "string", default: "1"},
        rounds: {type: "string", default: "1"}
    }
});
if (!values.model || !["cpu", "vulkan"].includes(values.device)) {
    console.error("usage: llama.mjs --model FILE [--device cpu|vulkan] [--threads N] [--prompt N] [--decode N] [--sequences N] [--rounds N]");
    process.exit(2);
}
const [threads, prompt, decode, sequences, rounds] =
    ["threads", "prompt", "decode", "sequences", "rounds"].map((name) => Number(values[name]));

// llama.cpp ignores Vulkan adapters of type CPU (lavapipe) and computes on the CPU without a word, unless one is named.
if (values.device === "vulkan") process.env.GGML_VK_VISIBLE_DEVICES ??= "0";

const {getLlama, LlamaLogLevel} = await import("node-llama-cpp");

/** Seconds from a point of process.hrtime.bigint() until now. */
const since = (start) => Number(process.hrtime.bigint() - start) / 1e9;

/** The middle value. */
const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];

const llama = await getLlama({
    gpu: values.device === "vulkan" ? "vulkan" : false,
    build: "never",
    skipDownload: true,
    logLevel: LlamaLogLevel.error,
    maxThreads: threads
});
if (values.device === "vulkan" && llama.gpu !== "vulkan") throw new Error("the Vulkan backend did not load");

const baseline = process.memoryUsage().rss;
const loading = process.hrtime.bigint();
const model = await llama.loadModel({modelPath: values.model, gpuLayers: values.device === "vulkan" ? "max" : 0});
const context = await model.createContext({
    contextSize: prompt + decode + 8,
    sequences,
    batchSize: 512,
    threads: {ideal: threads, min: threads},
    ignoreMemorySafetyChecks: true
});
const load = since(loading);
const together = Array.from({length: sequences}, () => context.getSequence());

/** A greedy answer of each sequence: seconds until all have their first token, and seconds for `decode` tokens more of each. */
async function answer() {
    for (const sequence of together) await sequence.clearHistory();
    const tokens = Array.from({length: prompt}, (_, i) => 100 + ((i * 37) % 1000));
    const start = process.hrtime.bigint();
    const answers = together.map((sequence) => sequence.evaluate(tokens, {temperature: 0, yieldEogToken: true}));
    await Promise.all(answers.map((answer) => answer.next()));
    const first = since(start);
    const after = process.hrtime.bigint();
    await Promise.all(answers.map(async (answer) => {
        for (let i = 0; i < decode; i++) await answer.next();
    }));
    const rest = since(after);
    for (const answer of answers) await answer.return();
    return {first, rest};
}

await answer();
const timed = [];
for (let round = 0; round < rounds; round++) timed.push(await answer());

console.log(JSON.stringify({
    engine: "llama.cpp",
    version: `node-llama-cpp 3.22.1, ${llama.llamaCppRelease.release}`,
    device: values.device === "vulkan" ? (await llama.getGpuDeviceNames()).join(", ") : "cpu",
    model_bytes: statSync(values.model).size,
    threads,
    prompt_tokens: prompt,
    decode_tokens: decode,
    sequences,
    load_s: load,
    ttft_s: median(timed.map(({first}) => first)),
    prefill_tokens_per_s: sequences * prompt / median(timed.map(({first}) => first)),
    decode_tokens_per_s: sequences * decode / median(timed.map(({rest}) => rest)),
    peak_memory_bytes: process.resourceUsage().maxRSS * 1024,
    baseline_memory_bytes: baseline
}));
await llama.dispose();
