// Measures what the prefix cache and guesses save, over HTTP on one server:
//   node benches/saved.mjs FILE.gguf [--threads 1] [--rounds 5] [--guesses 0,2,4,8] [--out benches/results]

import {spawn} from "node:child_process";
import {once} from "node:events";
import {readFileSync} from "node:fs";
import {basename, dirname, extname, join} from "node:path";
import {createInterface} from "node:readline";
import {fileURLToPath} from "node:url";
import {parseArgs} from "node:util";

import {RESULTS, circumstances, keep, median} from "./report.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const {values, positionals: [file]} = parseArgs({
    allowPositionals: true,
    options: {
        threads: {type: "string", default: "1"},
        rounds: {type: "string", default: "5"},
        guesses: {type: "string", default: "0,2,4,8"},
        out: {type: "string", default: RESULTS}
    }
});
if (!file) {
    console.error("usage: saved.mjs FILE.gguf");
    process.exit(2);
}

const PASSAGE = "The lighthouse stands on a rock two miles from the shore. Its lamp was lit for the first time in 1847, and three "
    + "keepers lived there with their families until 1962. In winter the boat could not land for weeks, so flour, oil and coal were "
    + "stored in the cellar. The keepers wrote down the wind, the height of the waves and every ship that passed, and their books are "
    + "kept in the museum of the town.";
// A small model quotes best what it has seen quoted; what it writes freely in a chat repeats little.
const TASKS = {
    quote: ["/v1/completions", {prompt: `Text: ${PASSAGE}\n\nCopy: ${PASSAGE}\n\nCopy: The lighthouse`}],
    free: ["/v1/chat/completions",
        {messages: [{role: "user", content: "Write a short story about a fisherman who finds a bottle with a letter."}]}]
};

/** Runs `work` with the address of a server of its own. */
async function served(options, work) {
    const binary = process.env.TINDERBOX ?? join(here, "../target/release/tinderbox");
    const server = spawn(binary, ["serve", "--model", file, "--device", "cpu", "--threads", values.threads, "--port", "0", ...options],
        {stdio: ["ignore", "pipe", "ignore"]});
    try {
        for await (const line of createInterface({input: server.stdout})) {
            if (line.includes("address")) {
                return await work({url: line.trim().split(/\s+/).at(-1), pid: server.pid});
            }
        }
        throw new Error("the server did not start");
    } finally {
        server.kill();
        await once(server, "exit");
    }
}

/** Seconds of processor time that a process took so far; a busy machine leaves them as they are. */
function cpu(pid) {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function post({url}, path, body) {
    const response = await fetch(url + path, {method: "POST", body: JSON.stringify({temperature: 0, ...body})});
    const answer = await response.json();
    if (!response.ok) {
        throw new Error(JSON.stringify(answer));
    }
    return answer;
}

/** Time to the first token of a prompt of 500 tokens and 20 more, new and after another with the same 500. */
async function firstTokens(server, round) {
    const tokens = (count, seed) => Array.from({length: count}, (_, at) => 1000 + (at * at * 31 + at * 7 + seed * 977) % 40000);
    const ask = async (tail) => {
        const [start, before] = [performance.now(), cpu(server.pid)];
        const prompt = [...tokens(500, round), ...tokens(20, tail)];
        const {usage} = await post(server, "/v1/completions", {prompt, max_tokens: 1});
        const cached = usage.prompt_tokens_details.cached_tokens;
        return {ms: performance.now() - start, cpu_ms: 1000 * (cpu(server.pid) - before), cached};
    };
    return {fresh: await ask(1000 + round), cached: await ask(2000 + round)};
}

/** Tokens a second of an answer and a second of processor time, its first token left out: that is the prompt's. */
async function decode(server, [path, body]) {
    const ask = async (max_tokens) => {
        const [start, before] = [performance.now(), cpu(server.pid)];
        const {usage, choices: [{text, message}]} = await post(server, path, {...body, max_tokens, ignore_eos: true});
        return {
            s: (performance.now() - start) / 1000,
            cpu_s: cpu(server.pid) - before,
            tokens: usage.completion_tokens,
            text: text ?? message.content
        };
    };
    // The prompt is in the cache from the second time on.
    await ask(1);
    const [first, whole] = [await ask(1), await ask(100)];
    const rate = (key) => (whole.tokens - 1) / (whole[key] - first[key]);
    return {tokens_per_s: rate("s"), tokens_per_cpu_s: rate("cpu_s"), text: whole.text};
}

const rounds = Array.from({length: Number(values.rounds)}, (_, round) => round);
const result = {...circumstances(), file: basename(file), threads: Number(values.threads)};

result.first_token = await served([], async (server) => {
    await firstTokens(server, rounds.length);
    const runs = [];
    for (const round of rounds) {
        runs.push(await firstTokens(server, round));
    }
    return runs;
});
for (const kind of ["fresh", "cached"]) {
    const runs = result.first_token.map((run) => run[kind]);
    console.log(`first token, ${runs[0].cached} of 520 cached: ${median(runs.map((run) => run.ms)).toFixed(0)} ms, `
        + `${median(runs.map((run) => run.cpu_ms)).toFixed(0)} ms of processor time`);
}

result.guesses = {};
let texts;
for (const most of values.guesses.split(",")) {
    result.guesses[most] = await served(["--speculate", most], async (server) => {
        const tasks = {};
        let before = {right: 0, all: 0};
        for (const [task, asked] of Object.entries(TASKS)) {
            const runs = [];
            for (const _ of rounds) {
                runs.push(await decode(server, asked));
            }
            const {details} = await (await fetch(`${server.url}/health`)).json();
            const [right, all] = (details.guessed_tokens ?? "0 0").match(/\d+/g).map(Number);
            tasks[task] = {
                tokens_per_s: median(runs.map((run) => run.tokens_per_s)),
                tokens_per_cpu_s: median(runs.map((run) => run.tokens_per_cpu_s)),
                right: right - before.right,
                guessed: all - before.all,
                text: runs[0].text
            };
            before = {right, all};
            const figures = tasks[task];
            console.log(`${task}, ${most} guesses: ${figures.tokens_per_s.toFixed(1)} tokens/s, `
                + `${figures.tokens_per_cpu_s.toFixed(1)} a second of processor time, ${figures.right} of ${figures.guessed} right`);
        }
        return tasks;
    });
    const now = Object.values(result.guesses[most]).map((task) => task.text);
    texts ??= now;
    if (now.join() !== texts.join()) {
        throw new Error(`an answer changed with ${most} guesses`);
    }
}
keep(result, values.out, `saved-${basename(file, extname(file))}`);
