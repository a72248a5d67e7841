// Measures what the prefix cache and guesses save, over HTTP on one server:
//   node benches/saved.mjs FILE.gguf [--threads 1] [--rounds 5] [--guesses 0,2,4,8] [--out benches/results]

import {spawn} from "node:child_process";
import {once} from "node:events";
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
const TASKS = {
    quote: `Repeat the following text word for word, then summarise it in one sentence.\n\n${PASSAGE}`,
    free: "Write a short story about a fisherman who finds a bottle with a letter."
};

/** Runs `work` with the address of a server of its own. */
async function served(options, work) {
    const binary = process.env.TINDERBOX ?? join(here, "../target/release/tinderbox");
    const server = spawn(binary, ["serve", "--model", file, "--device", "cpu", "--threads", values.threads, "--port", "0", ...options],
        {stdio: ["ignore", "pipe", "ignore"]});
    try {
        for await (const line of createInterface({input: server.stdout})) {
            if (line.includes("address")) {
                return await work(line.trim().split(/\s+/).at(-1));
            }
        }
        throw new Error("the server did not start");
    } finally {
        server.kill();
        await once(server, "exit");
    }
}

async function post(url, path, body) {
    const response = await fetch(url + path, {method: "POST", body: JSON.stringify({temperature: 0, ...body})});
    const answer = await response.json();
    if (!response.ok) {
        throw new Error(JSON.stringify(answer));
    }
    return answer;
}

/** Milliseconds to the first token of a prompt of 500 tokens and 20 more, new and after another with the same 500. */
async function firstTokens(url, round) {
    const tokens = (count, seed) => Array.from({length: count}, (_, at) => 1000 + (at * at * 31 + at * 7 + seed * 977) % 40000);
    const ask = async (tail) => {
        const start = performance.now();
        const prompt = [...tokens(500, round), ...tokens(20, tail)];
        const {usage} = await post(url, "/v1/completions", {prompt, max_tokens: 1});
        return {ms: performance.now() - start, cached: usage.prompt_tokens_details.cached_tokens};
    };
    return {fresh: await ask(1000 + round), cached: await ask(2000 + round)};
}

/** Tokens a second of an answer, its first token left out: that is the prompt's. */
async function decode(url, content) {
    const ask = async (max_tokens) => {
        const start = performance.now();
        const body = {messages: [{role: "user", content}], max_tokens, ignore_eos: true};
        const {usage, choices: [{message}]} = await post(url, "/v1/chat/completions", body);
        return {s: (performance.now() - start) / 1000, tokens: usage.completion_tokens, text: message.content};
    };
    // The prompt is in the cache from the second time on.
    await ask(1);
    const [first, whole] = [await ask(1), await ask(160)];
    return {tokens_per_s: (whole.tokens - 1) / (whole.s - first.s), text: whole.text};
}

const rounds = Array.from({length: Number(values.rounds)}, (_, round) => round);
const result = {...circumstances(), file: basename(file), threads: Number(values.threads)};

result.first_token = await served([], async (url) => {
    await firstTokens(url, rounds.length);
    const runs = [];
    for (const round of rounds) {
        runs.push(await firstTokens(url, round));
    }
    return runs;
});
for (const kind of ["fresh", "cached"]) {
    const runs = result.first_token.map((run) => run[kind]);
    console.log(`first token, ${runs[0].cached} of 520 cached: ${median(runs.map((run) => run.ms)).toFixed(1)} ms`);
}

result.guesses = {};
let texts;
for (const most of values.guesses.split(",")) {
    result.guesses[most] = await served(["--speculate", most], async (url) => {
        const tasks = {};
        let before = {right: 0, all: 0};
        for (const [task, content] of Object.entries(TASKS)) {
            const runs = [];
            for (const _ of rounds) {
                runs.push(await decode(url, content));
            }
            const {details} = await (await fetch(`${url}/health`)).json();
            const [right, all] = (details.guessed_tokens ?? "0 0").match(/\d+/g).map(Number);
            tasks[task] = {
                tokens_per_s: median(runs.map((run) => run.tokens_per_s)),
                right: right - before.right,
                guessed: all - before.all,
                text: runs[0].text
            };
            before = {right, all};
            const {tokens_per_s, guessed, ...rest} = tasks[task];
            console.log(`${task}, ${most} guesses: ${tokens_per_s.toFixed(1)} tokens/s, ${rest.right} of ${guessed} right`);
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
