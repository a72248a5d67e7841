// Measures `tinderbox bench` and a rival on the same file, in turn, and prints ratios:
//   node benches/compare.mjs FILE.gguf [--setups cpu1,cpu2,vulkan] [--rounds 3] [--out benches/results]
//     [--rival transformers] in place of llama.cpp, and for it [--python python3], which has pytorch.py's packages

import {execFileSync} from "node:child_process";
import {dirname, join} from "node:path";
import {fileURLToPath} from "node:url";
import {parseArgs} from "node:util";

import {FIGURES, RESULTS, compare, pick} from "./report.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const {values, positionals: [file]} = parseArgs({
    allowPositionals: true,
    options: {
        setups: {type: "string", default: "cpu1,cpu2,vulkan"},
        rounds: {type: "string", default: "3"},
        rival: {type: "string", default: "llama.cpp"},
        python: {type: "string", default: "python3"},
        out: {type: "string", default: RESULTS}
    }
});
if (!file) {
    console.error("usage: compare.mjs FILE.gguf");
    process.exit(2);
}

// Short ones for models of a billion weights. Fewer tokens on Vulkan: where it is lavapipe, llama.cpp gives one or two a second.
const SETUPS = {
    cpu1: {device: "cpu", threads: 1, prompt: 512, decode: 128},
    cpu2: {device: "cpu", threads: 2, prompt: 512, decode: 128},
    cpu1short: {device: "cpu", threads: 1, prompt: 128, decode: 32},
    cpu2short: {device: "cpu", threads: 2, prompt: 128, decode: 32},
    cpu1long: {device: "cpu", threads: 1, prompt: 4096, decode: 64},
    cpu2long: {device: "cpu", threads: 2, prompt: 4096, decode: 64},
    cpu1eight: {device: "cpu", threads: 1, prompt: 64, decode: 64, sequences: 8},
    cpu2eight: {device: "cpu", threads: 2, prompt: 64, decode: 64, sequences: 8},
    vulkan: {device: "vulkan", threads: 2, prompt: 64, decode: 8},
    // Minutes a round on a software adapter.
    vulkan512: {device: "vulkan", threads: 2, prompt: 512, decode: 16},
    // Of a real GPU.
    gpu: {device: "vulkan", threads: 2, prompt: 2048, decode: 256},
    gpu32: {device: "vulkan", threads: 2, prompt: 64, decode: 256, sequences: 32}
};

/** The JSON that a program prints on its last line. */
function json(program, ...args) {
    const output = execFileSync(program, args.map(String), {encoding: "utf8", stdio: ["ignore", "pipe", "inherit"]});
    return JSON.parse(output.trim().split("\n").at(-1));
}

/** One measurement of ours, in the words of llama.mjs. */
function tinderbox({device, threads, prompt, decode, sequences = 1}) {
    const binary = process.env.TINDERBOX ?? join(here, "../target/release/tinderbox");
    const report = json(binary, "bench", "--json", "--model", file, "--device", device, "--threads", threads,
        "--context", prompt + decode, "--max-sequences", sequences, "--batch", sequences,
        "--prompt-tokens", prompt, "--output-tokens", decode, "--repetitions", 1);
    const [figures] = report.results;
    return {
        engine: "tinderbox",
        device: report.device,
        load_s: report.load_s,
        // Of the last sequence, as llama.mjs has it.
        ttft_s: sequences * prompt / figures.prefill_tokens_per_s,
        prefill_tokens_per_s: figures.prefill_tokens_per_s,
        decode_tokens_per_s: figures.decode_tokens_per_s,
        peak_memory_bytes: report.peak_bytes,
        baseline_memory_bytes: 0,
        report
    };
}

const flags = ({device, threads, prompt, decode, sequences = 1}) =>
    ["--model", file, "--device", device, "--threads", threads, "--prompt", prompt, "--decode", decode, "--sequences", sequences];

/** One measurement of each rival. */
const RIVALS = {
    "llama.cpp": (setup) => json(process.execPath, join(here, "llama.mjs"), ...flags(setup)),
    transformers: (setup) => json(values.python, join(here, "pytorch.py"), ...flags({...setup, device: setup.device === "cpu" ? "cpu" : "cuda"}))
};

await compare({
    file,
    setups: pick(SETUPS, values.setups.split(",")),
    rounds: Number(values.rounds),
    out: values.out,
    ours: tinderbox,
    theirs: pick(RIVALS, [values.rival])[values.rival],
    rival: values.rival,
    // Memory is without the runtime that a rival is called from, which takes its share before the model is loaded.
    figures: [...FIGURES, ["peak memory MB", (run) => (run.peak_memory_bytes - run.baseline_memory_bytes) / 1e6, false]]
});
