// Measures `tinderbox bench` and llama.cpp on the same file, in turn, and prints ratios:
//   node benches/compare.mjs FILE.gguf [--setups cpu1,cpu2,vulkan] [--rounds 3] [--out benches/results]
// The raw answers go into a file of OUT with machine, commit and command. A ratio above 1 means that Tinderbox is better.

import {execFileSync} from "node:child_process";
import {mkdirSync, writeFileSync} from "node:fs";
import {cpus, loadavg, totalmem} from "node:os";
import {basename, dirname, join} from "node:path";
import {fileURLToPath} from "node:url";
import {parseArgs} from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const {values, positionals: [file]} = parseArgs({
    allowPositionals: true,
    options: {
        setups: {type: "string", default: "cpu1,cpu2,vulkan"},
        rounds: {type: "string", default: "3"},
        out: {type: "string", default: join(here, "results")}
    }
});

// Fewer tokens on Vulkan: where it is lavapipe, llama.cpp gives one or two a second.
const SETUPS = {
    cpu1: {device: "cpu", threads: 1, prompt: 512, decode: 128},
    cpu2: {device: "cpu", threads: 2, prompt: 512, decode: 128},
    vulkan: {device: "vulkan", threads: 2, prompt: 64, decode: 8}
};
const setups = values.setups.split(",");
const unknown = setups.find((name) => !(name in SETUPS));
if (!file || unknown) {
    console.error(unknown ? `no setup ${unknown}; there are ${Object.keys(SETUPS).join(", ")}` : "usage: compare.mjs FILE.gguf");
    process.exit(2);
}

/** The JSON that a program prints on its last line. */
function json(program, ...args) {
    const output = execFileSync(program, args.map(String), {encoding: "utf8", stdio: ["ignore", "pipe", "inherit"]});
    return JSON.parse(output.trim().split("\n").at(-1));
}

/** One measurement of ours, in the words of llama.mjs. */
function tinderbox({device, threads, prompt, decode}) {
    const binary = process.env.TINDERBOX ?? join(here, "../target/release/tinderbox");
    const report = json(binary, "bench", "--json", "--model", file, "--device", device, "--threads", threads,
        "--context", prompt + decode, "--max-sequences", 1, "--prompt-tokens", prompt, "--output-tokens", decode, "--repetitions", 1);
    const [figures] = report.results;
    return {
        engine: "tinderbox",
        device: report.device,
        load_s: report.load_s,
        ttft_s: figures.first_token_s,
        prefill_tokens_per_s: figures.prefill_tokens_per_s,
        decode_tokens_per_s: figures.decode_tokens_per_s,
        peak_memory_bytes: report.peak_bytes,
        baseline_memory_bytes: 0,
        report
    };
}

/** One measurement of llama.cpp. */
function llama({device, threads, prompt, decode}) {
    return json(process.execPath, join(here, "llama.mjs"),
        "--model", file, "--device", device, "--threads", threads, "--prompt", prompt, "--decode", decode);
}

/** The middle value. */
const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];

// What is compared: its name, its value in a measurement, and whether more is better. Memory is without the runtime
// that llama.cpp is called from: Node takes its share before the model is loaded.
const FIGURES = [
    ["load s", (run) => run.load_s, false],
    ["first token s", (run) => run.ttft_s, false],
    ["prefill tokens/s", (run) => run.prefill_tokens_per_s, true],
    ["decode tokens/s", (run) => run.decode_tokens_per_s, true],
    ["peak memory MB", (run) => (run.peak_memory_bytes - run.baseline_memory_bytes) / 1e6, false]
];

const result = {
    date: new Date().toISOString(),
    commit: execFileSync("git", ["describe", "--always", "--dirty"], {cwd: here, encoding: "utf8"}).trim(),
    command: ["node", ...process.argv.slice(1).map((argument) => basename(argument))].join(" "),
    machine: {cpu: cpus()[0].model, cores: cpus().length, memory_bytes: totalmem(), load_before: loadavg()[0]},
    file: basename(file),
    setups: {}
};
for (const name of setups) {
    const setup = SETUPS[name];
    const rounds = [];
    for (let round = 0; round < Number(values.rounds); round++) {
        rounds.push({tinderbox: tinderbox(setup), llama: llama(setup)});
    }
    const {device} = rounds[0].tinderbox;
    console.log(`\n${name}: ${setup.threads} threads, ${setup.prompt} prompt tokens, ${setup.decode} decoded, ${device}`);
    console.log("".padEnd(20), "tinderbox".padStart(12), "llama.cpp".padStart(12), "ratio".padStart(8));
    const medians = {};
    for (const [label, value, more] of FIGURES) {
        const ours = median(rounds.map((round) => value(round.tinderbox)));
        const theirs = median(rounds.map((round) => value(round.llama)));
        const ratio = more ? ours / theirs : theirs / ours;
        medians[label] = {tinderbox: ours, llama: theirs, ratio};
        console.log(label.padEnd(20), ours.toFixed(2).padStart(12), theirs.toFixed(2).padStart(12), ratio.toFixed(2).padStart(8));
    }
    result.setups[name] = {...setup, medians, rounds};
}

mkdirSync(values.out, {recursive: true});
const path = join(values.out, `${result.date.slice(0, 19).replaceAll(":", "")}-${basename(file, ".gguf")}.json`);
writeFileSync(path, JSON.stringify(result, null, 1) + "\n");
console.log(`\nwritten: ${path}`);
