// Measures two engines in turn, prints their medians and ratios, and keeps the raw answers with machine, commit and command.

import {execFileSync} from "node:child_process";
import {mkdirSync, writeFileSync} from "node:fs";
import {cpus, loadavg, totalmem} from "node:os";
import {basename, dirname, extname, join} from "node:path";
import {fileURLToPath} from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** Where results are kept. */
export const RESULTS = join(here, "results");

/** What every bench compares: its name, its value in a measurement, and whether more is better. */
export const FIGURES = [
    ["load s", (run) => run.load_s, false],
    ["first token s", (run) => run.ttft_s, false],
    ["prefill tokens/s", (run) => run.prefill_tokens_per_s, true],
    ["decode tokens/s", (run) => run.decode_tokens_per_s, true]
];

/** The middle value. */
export const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];

/**
 * Runs `rounds` rounds of each of `setups` (objects by name). `ours` and `theirs` measure one setup; `rival` is what to
 * call the second. A ratio above 1 means that Tinderbox is better.
 */
export async function compare({file, setups, rounds, ours, theirs, rival, out = RESULTS, figures = FIGURES}) {
    const result = {...circumstances(), file: basename(file), setups: {}};
    for (const [name, setup] of Object.entries(setups)) {
        const runs = [];
        for (let round = 0; round < rounds; round++) {
            runs.push({tinderbox: await ours(setup), [rival]: await theirs(setup)});
        }
        const [first] = runs;
        console.log(`\n${name}: ${setup.threads} threads, ${setup.prompt} prompt tokens, ${setup.decode} decoded`);
        console.log(`tinderbox on ${first.tinderbox.device}; ${rival} on ${first[rival].device}`);
        console.log("".padEnd(20), "tinderbox".padStart(12), rival.padStart(12), "ratio".padStart(8));
        const medians = {};
        for (const [label, value, more] of figures) {
            // Not every rival has every figure.
            if (value(first[rival]) === undefined) continue;
            const mine = median(runs.map((run) => value(run.tinderbox)));
            const other = median(runs.map((run) => value(run[rival])));
            const ratio = more ? mine / other : other / mine;
            medians[label] = {tinderbox: mine, [rival]: other, ratio};
            console.log(label.padEnd(20), mine.toFixed(2).padStart(12), other.toFixed(2).padStart(12), ratio.toFixed(2).padStart(8));
        }
        result.setups[name] = {...setup, medians, rounds: runs};
    }

    keep(result, out, `${rival}-${basename(file, extname(file))}`);
}

/** When, where and by what command something is measured. */
export const circumstances = () => ({
    date: new Date().toISOString(),
    commit: execFileSync("git", ["describe", "--always", "--dirty"], {cwd: here, encoding: "utf8"}).trim(),
    command: ["node", ...process.argv.slice(1).map((argument) => basename(argument))].join(" "),
    machine: {cpu: cpus()[0].model, cores: cpus().length, memory_bytes: totalmem(), load_before: loadavg()[0]}
});

/** Writes a result into a folder, under its date and a name. */
export function keep(result, out, name) {
    mkdirSync(out, {recursive: true});
    const path = join(out, `${result.date.slice(0, 19).replaceAll(":", "")}-${name}.json`);
    writeFileSync(path, JSON.stringify(result, null, 1) + "\n");
    console.log(`\nwritten: ${path}`);
}

/** What is asked for by name, in that order; ends the process where there is no such thing. */
export function pick(known, names) {
    const unknown = names.find((name) => !(name in known));
    if (unknown) {
        console.error(`no ${unknown}; there are ${Object.keys(known).join(", ")}`);
        process.exit(2);
    }
    return Object.fromEntries(names.map((name) => [name, known[name]]));
}
