// Scores LAMBADA and Winogrande with llama.cpp (npm node-llama-cpp, prebuilt), as lm-evaluation-harness does with us:
//   node benches/eval/llama.mjs MODEL.gguf FOLDER [LIMIT]
// Prints one line of JSON.

import {readFileSync} from "node:fs";
import {join} from "node:path";

import {llamaCpp} from "./forced.mjs";

const [file, folder, limit = "500"] = process.argv.slice(2);
if (!folder) {
    console.error("usage: llama.mjs MODEL.gguf FOLDER [LIMIT]");
    process.exit(2);
}
const llama = await llamaCpp(file);

/** The first lines of a file of JSON lines. */
const lines = (name) => readFileSync(join(folder, name), "utf8").trim().split("\n").slice(0, Number(limit)).map((line) => JSON.parse(line));

/** Sum of the log-probabilities of a continuation's tokens, and whether each was the likeliest. */
async function score(before, after) {
    const ids = llama.tokenize(before + after);
    const start = llama.tokenize(before).length;
    const places = await llama.force(ids, start);
    const sum = places.reduce((sum, {logprob}) => sum + logprob, 0);
    const greedy = places.every(({argmax}, index) => argmax === ids[start + index]);
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
    engine: llama.version,
    lambada: {perplexity: Math.exp(-mean(words.map(({sum}) => sum))), acc: mean(words.map(({greedy}) => greedy)), lines: words.length},
    winogrande: {acc: mean(pairs), lines: pairs.length}
}));
await llama.close();
