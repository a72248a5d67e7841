// Measures the browser package and wllama (llama.cpp in wasm) in Chromium on the same file, in turn, and prints ratios:
//   node benches/web.mjs FILE.gguf [--setups cpu1,cpu2,webgpu] [--rounds 3] [--out benches/results]
//     [--lavapipe CHROMIUM], of scripts/chromium-lavapipe.sh, for the setup `lavapipe`

import {basename, dirname} from "node:path";
import {parseArgs} from "node:util";

import {chromium} from "./chromium.mjs";
import {RESULTS, compare, pick} from "./report.mjs";

const {values, positionals: [file]} = parseArgs({
    allowPositionals: true,
    options: {
        setups: {type: "string"},
        lavapipe: {type: "string"},
        rounds: {type: "string", default: "3"},
        out: {type: "string", default: RESULTS}
    }
});
if (!file) {
    console.error("usage: web.mjs FILE.gguf");
    process.exit(2);
}

// On SwiftShader, a few tokens a second, wllama computes on the CPU; lavapipe has the `shader-f16` that its WebGPU wants.
const SETUPS = {
    cpu1: {device: "cpu", threads: 1, prompt: 256, decode: 64},
    cpu2: {device: "cpu", threads: 2, prompt: 256, decode: 64},
    webgpu: {device: "webgpu", adapter: "swiftshader", threads: 1, prompt: 16, decode: 8},
    ...(values.lavapipe && {lavapipe: {device: "webgpu", adapter: "lavapipe", threads: 1, prompt: 128, decode: 24}})
};

const browsers = await chromium(dirname(file));
const measure = (engine) => ({adapter, ...setup}) => browsers.measure(engine, [basename(file)], setup, values[adapter]);
await compare({
    file,
    setups: pick(SETUPS, values.setups?.split(",") ?? Object.keys(SETUPS)),
    rounds: Number(values.rounds),
    out: values.out,
    ours: measure("tinderbox"),
    theirs: measure("wllama"),
    rival: "wllama"
});
await browsers.close();
