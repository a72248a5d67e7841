// Scores LAMBADA and Winogrande with llama.cpp (npm node-llama-cpp, prebuilt), as lm-evaluation-harness does with us:
//   node benches/eval/llama.mjs MODEL.gguf FOLDER [LIMIT]
// Prints one line of JSON.

import {readFileSync} from "node:fs";
import {availableParallelism} from "node:os";
import {join} from "node:path";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const [file, folder, limit = "500"] = process.argv.slice(2);
if (!folder) {
    console.error("usage: llama.mjs MODEL.gguf FOLDER [LIMIT]");
    process.exit(2);
}
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath: file, gpuLayers: 0});
const context = await model.createContext({contextSize: 2048, batchSize: 512, threads: availableParallelism(), ignoreMemorySafetyChecks: true});
const sequence = context.getSequence();

/** The first lines of a file of JSON lines. */
const lines = (name) => readFileSync(join(folder, name), "utf8").trim().split("\n").slice(0, Number(limit)).map((line) => JSON.parse(line));

/** Sum of the log-probabilities of a continuation's tokens, and whether each was the likeliest. */
async function score(before, after) {
    const tokens = [...model.tokenize(before + after)];
    const start = model.tokenize(before).length;
    await sequence.clearHistory();
    const input = tokens.slice(0, -1).map((token, index) =>
        (index + 1 < start ? token : [token, {generateNext: {probabilities: true, token: true}}]));
    const output = await sequence.controlledEvaluate(input);
    let sum = 0;
    let greedy = true;
    for (let place = start; place < tokens.length; place++) {
        const {probabilities} = output[place - 1].next;
        sum += Math.log(probabilities.get(tokens[place]));
        // The map is in the order of the probabilities.
        greedy &&= probabilities.keys().next().value === tokens[place];
    }
    return {sum, greedy};
}

const words = [];
for (const {context: before, continuation} of lines("lambada_openai.jsonl")) words.push(await score(before, ` ${continuation}`));
const pairs = [];
for (const {context_options: options, continuation, gold} of lines("winogrande.jsonl")) {
    const sums = [];
    for (const option of options) sums.push((await score(option, ` ${continuation}`)).sum);
    pairs.push((sums[1] > sums[0] ? 1 : 0) === gold);
}

const mean = (list) => list.reduce((sum, x) => sum + Number(x), 0) / list.length;
console.log(JSON.stringify({
    engine: `node-llama-cpp 3.22.1, ${llama.llamaCppRelease.release}`,
    lambada: {perplexity: Math.exp(-mean(words.map(({sum}) => sum))), acc: mean(words.map(({greedy}) => greedy)), lines: words.length},
    winogrande: {acc: mean(pairs), lines: pairs.length}
}));
await llama.dispose();
