// Forced decoding of LAMBADA on every place, judged by a float oracle (oracle.py) and set beside llama.cpp:
//   node benches/eval/agreement.mjs FILE.gguf LAMBADA.jsonl --python PROGRAM [--predictions 512] [--skip "tab, WebGPU"] [--out FOLDER]
// Every engine gets the same token ids, a line at a time, until so many tokens are predicted. PROGRAM is a Python with
// requirements.txt beside this file.

import {execFileSync, spawnSync} from "node:child_process";
import {mkdtempSync, readFileSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {basename, extname, join} from "node:path";
import {fileURLToPath} from "node:url";
import {parseArgs} from "node:util";

import {RESULTS, circumstances, keep} from "../report.mjs";
import {llamaCpp} from "./forced.mjs";
import {PLACES} from "./places.mjs";

const {values, positionals: [file, text]} = parseArgs({
    allowPositionals: true,
    options: {
        python: {type: "string"},
        predictions: {type: "string", default: "512"},
        skip: {type: "string", multiple: true, default: []},
        out: {type: "string", default: RESULTS}
    }
});
const skippable = Object.keys(PLACES).filter((name) => !PLACES[name].rival);
const unknown = values.skip.find((name) => !skippable.includes(name));
if (!text || !values.python || unknown) {
    console.error(unknown ? `no place ${unknown} to skip; there are: ${skippable.join("; ")}`
        : "usage: agreement.mjs FILE.gguf LAMBADA.jsonl --python PROGRAM");
    process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), "tinderbox-agreement-"));
process.on("exit", () => rmSync(folder, {recursive: true}));

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const python = (name, args, input) => execFileSync(values.python, [here(name), ...args], {input, maxBuffer: 1 << 30, encoding: "utf8"});
const lines = (text) => text.trim().split("\n").map((line) => JSON.parse(line));

/** Token ids of the first lines, cut so that they hold just so many predictions: a line's first token is none. */
async function sequencesOf(count) {
    const {tokenize, close} = await llamaCpp(file);
    const sequences = [];
    for (const {context, continuation} of lines(readFileSync(text, "utf8"))) {
        if (count === 0) break;
        const ids = tokenize(`${context} ${continuation}`).slice(0, count + 1);
        sequences.push(ids);
        count -= ids.length - 1;
    }
    await close();
    return sequences;
}

const pack = (out, ...options) => {
    const binary = process.env.TINDERBOX ?? here("../../target/release/tinderbox");
    const {error, status, stderr} = spawnSync(binary, ["pack", "--model", file, "--embedding", "q4_1", "--out", out, ...options], {encoding: "utf8"});
    if (error || status !== 0) throw error ?? new Error(stderr.trim());
};

/** Makes the file of some weights. */
const FILES = {
    own: () => file,
    wide() {
        const wide = join(folder, "wide.gguf");
        python("widen.py", [file, wide]);
        return wide;
    },
    /** One file for those who can take it, and beside it the assets that the isolate is served. */
    packed() {
        pack(folder, "--part-mib", "4096");
        pack(join(folder, "assets/models/packed"));
        return join(folder, "model-00001-of-00001.gguf");
    }
};

/** What the oracle says of the weights of a file. */
function oracle(file, sequences) {
    const answers = lines(python("oracle.py", [file], sequences.map((ids) => JSON.stringify(ids)).join("\n")));
    return answers.map(({argmax, logprobs}) => argmax.map((id, index) => ({argmax: id, logprob: logprobs[index]})));
}

const mean = (list) => list.reduce((sum, x) => sum + x, 0) / list.length;
const perplexity = (tokens) => Math.exp(-mean(tokens.map(({logprob}) => logprob)));

/** How far answers are from the oracle's; where they differ: line, place in it, the oracle's token and theirs. */
function judged(answers, truth) {
    const [ours, theirs] = [answers.flat(), truth.flat()];
    const differs = answers.flatMap((line, number) => line.flatMap(({argmax}, place) => {
        const right = truth[number][place].argmax;
        return argmax === right ? [] : [[number, place + 1, right, argmax].join(" ")];
    }));
    return {
        agrees: ours.length - differs.length,
        off: mean(ours.map(({logprob}, index) => Math.abs(logprob - theirs[index].logprob))),
        perplexity: perplexity(ours),
        differs
    };
}

const sequences = await sequencesOf(Number(values.predictions));
const predictions = sequences.reduce((sum, ids) => sum + ids.length - 1, 0);
const result = {...circumstances(), file: basename(file), predictions, lines: sequences.length, oracle: {}, places: {}};
const row = (name, ...cells) => console.log(`| ${[name, ...cells].join(" | ")} |`);
console.log(`${basename(file)}, ${predictions} predictions in ${sequences.length} lines`);
row("", `argmax as the oracle's, of ${predictions}`, "log-probability off by", "perplexity", "of llama.cpp's", "on");
row("---", "---", "---", "---", "---", "---");

const [files, truths, rivals] = [{}, {}, {}];
for (const [name, {rival, weights, run}] of Object.entries(PLACES)) {
    if (values.skip.includes(name)) continue;
    try {
        files[weights] ??= FILES[weights]();
        const of = weights === "wide" ? "own" : weights;
        if (!truths[of]) {
            truths[of] = oracle(files[of], sequences);
            result.oracle[of] = {perplexity: perplexity(truths[of].flat())};
            row(`oracle${of === "packed" ? ", packed" : ""}`, predictions, 0, result.oracle[of].perplexity.toFixed(3), "", "64-bit floats");
        }
        const begun = performance.now();
        const {device, answers} = await run(files[weights], sequences);
        const seconds = (performance.now() - begun) / 1000;
        const figures = judged(answers, truths[of]);
        if (rival) rivals[of] = figures;
        const ratio = figures.perplexity / rivals[of].perplexity;
        result.places[name] = {device, seconds, ratio, ...figures};
        row(name, figures.agrees, figures.off.toFixed(4), figures.perplexity.toFixed(3), ratio.toFixed(4), device);
    } catch (error) {
        result.places[name] = {error: String(error)};
        row(name, "", "", "", "", `not run: ${String(error).split("\n")[0]}`);
    }
}
keep(result, values.out, `agreement-${basename(file, extname(file))}`);
// What a place that failed has left running keeps nobody here.
process.exit();
