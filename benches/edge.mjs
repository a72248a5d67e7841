// Measures the edge Worker in workerd:
//   node benches/edge.mjs FILE.gguf --litellm PROGRAM [--requests 300] [--rounds 3] [--out benches/results]
// Its hop in front of a node beside LiteLLM's proxy in front of the same node, and the model in its isolate beside wllama on
// one thread in Chromium, on the same packed file.

import {execFileSync, spawn} from "node:child_process";
import {createHash, randomBytes} from "node:crypto";
import {mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync} from "node:fs";
import {createServer} from "node:net";
import {once} from "node:events";
import {createRequire} from "node:module";
import {tmpdir} from "node:os";
import {basename, join} from "node:path";
import {fileURLToPath} from "node:url";
import {parseArgs} from "node:util";

import {gguf} from "../tests/web/package/tiny.mjs";
import {bundle, configured, worker} from "../workers/edge/local.mjs";
import {chromium, words} from "./chromium.mjs";
import {RESULTS, circumstances, compare, keep, median} from "./report.mjs";

const {values, positionals: [file]} = parseArgs({
    allowPositionals: true,
    options: {
        litellm: {type: "string"},
        requests: {type: "string", default: "300"},
        rounds: {type: "string", default: "3"},
        out: {type: "string", default: RESULTS}
    }
});
if (!file || !values.litellm) {
    console.error("usage: edge.mjs FILE.gguf --litellm PROGRAM");
    process.exit(2);
}
/** Both proxies ask for one: LiteLLM's does not start without. */
const KEY = `sk-${randomBytes(32).toString("hex")}`;
const binary = process.env.TINDERBOX ?? fileURLToPath(new URL("../target/release/tinderbox", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tinderbox-bench-"));
const stops = [() => rmSync(folder, {recursive: true})];

async function freePort() {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const {port} = server.address();
    server.close();
    await once(server, "close");
    return port;
}

/** Starts a server and waits until a path of it is answered. */
async function start(program, args, port, path, env = {}) {
    const child = spawn(program, args, {stdio: "ignore", env: {...process.env, ...env}});
    stops.push(() => child.kill());
    const url = `http://127.0.0.1:${port}`;
    for (const end = Date.now() + 90_000; !(await fetch(url + path).then(({ok}) => ok, () => false));) {
        if (child.exitCode !== null || Date.now() > end) {
            throw new Error(`${program} does not answer`);
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return {url, pid: child.pid};
}

/** Processor time that the threads of processes have had, in milliseconds (the kernel's schedstat). */
function cpu(pids) {
    const nanoseconds = pids.flatMap((pid) => readdirSync(`/proc/${pid}/task`).map((thread) =>
        Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0])));
    return nanoseconds.reduce((sum, value) => sum + value, 0) / 1e6;
}

/** The processes that a process started. */
const children = (parent) => readdirSync("/proc").filter((pid) => {
    try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ")[1] === String(parent);
    } catch {
        // It has ended since.
        return false;
    }
}).map(Number);

const percentile = (list, share) => list.toSorted((a, b) => a - b)[Math.min(list.length - 1, Math.floor(share * list.length))];

/** A node whose own time is next to nothing: a made-up model of two layers. */
async function node() {
    const tiny = join(folder, "tiny.gguf");
    writeFileSync(tiny, gguf());
    const port = await freePort();
    return start(binary, ["serve", "--model", tiny, "--device", "cpu", "--threads", "1", "--port", String(port)], port, "/health");
}

async function litellm(behind) {
    const config = join(folder, "litellm.yaml");
    const model = `{model_name: tiny, litellm_params: {model: openai/tiny, api_base: "${behind}/v1", api_key: none}}`;
    writeFileSync(config, `model_list:\n  - ${model}\n`);
    const port = await freePort();
    const args = ["--config", config, "--host", "127.0.0.1", "--port", String(port), "--telemetry", "False"];
    const env = {LITELLM_MASTER_KEY: KEY, LITELLM_LOCAL_MODEL_COST_MAP: "True", LITELLM_LOG: "ERROR", NO_DOCS: "True"};
    return start(values.litellm, args, port, "/health/liveliness", env);
}

/** The Worker in workerd alone: miniflare has a Worker of its own in front of it, which also takes time. */
async function bare(vars) {
    const {modulesRoot, modules} = bundle();
    const port = await freePort();
    const kinds = {ESModule: "esModule", CompiledWasm: "wasm"};
    const listed = modules.map(({type, path}) => `(name = "${basename(path)}", ${kinds[type]} = embed "${basename(path)}")`);
    const bindings = Object.entries(vars).map(([name, text]) => `(name = "${name}", text = ${JSON.stringify(text)})`);
    const config = join(modulesRoot, "bench.capnp");
    writeFileSync(config, `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .edge), (name = "internet", network = (allow = ["public", "private"]))],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]);
const edge :Workerd.Worker = (
  modules = [${listed.join(", ")}], bindings = [${bindings.join(", ")}],
  compatibilityDate = "${configured.compatibilityDate}", compatibilityFlags = ${JSON.stringify(configured.compatibilityFlags)});`);
    const program = createRequire(import.meta.resolve("../workers/edge/local.mjs")).resolve("@cloudflare/workerd-linux-64/bin/workerd");
    return start(program, ["serve", config], port, "/health");
}

/** One request; the time until its first byte for a stream, until its end for a whole answer. */
async function ask(url, stream) {
    const body = {model: "tiny", messages: [{role: "user", content: "hello"}], max_tokens: stream ? 4 : 1, temperature: 0, stream};
    const begun = performance.now();
    const response = await fetch(`${url}/v1/chat/completions`, {
        method: "POST", headers: {"content-type": "application/json", authorization: `Bearer ${KEY}`}, body: JSON.stringify(body)
    });
    const reader = response.body.getReader();
    const first = await reader.read();
    const heard = performance.now();
    let bytes = first.value?.length ?? 0;
    for (let next; !(next = await reader.read()).done;) {
        bytes += next.value.length;
    }
    if (!response.ok || bytes < 20) {
        throw new Error(`${url}: status ${response.status}, ${bytes} bytes`);
    }
    return (stream ? heard : performance.now()) - begun;
}

/** The hop: the same requests to the node, through the edge and through LiteLLM's proxy, one after the other in turn. */
async function hop() {
    const behind = await node();
    const edge = await bare({
        NODES: JSON.stringify([{name: "node", url: behind.url}]), KEYS: createHash("sha256").update(KEY).digest("hex")
    });
    const proxy = await litellm(behind.url);
    const places = {
        node: {url: behind.url, pids: [behind.pid]},
        tinderbox: {url: edge.url, pids: [edge.pid]},
        litellm: {url: proxy.url, pids: [proxy.pid, ...children(proxy.pid)]}
    };
    const result = {};
    for (const [kind, stream] of [["whole answer", false], ["first byte of a stream", true]]) {
        const seen = Object.fromEntries(Object.keys(places).map((name) => [name, {ms: [], cpu: []}]));
        for (let n = -30; n < Number(values.requests); n++) {
            for (const [name, {url, pids}] of Object.entries(places)) {
                const spent = cpu(pids);
                const ms = await ask(url, stream);
                if (n >= 0) {
                    seen[name].ms.push(ms);
                    seen[name].cpu.push(cpu(pids) - spent);
                }
            }
        }
        const share = (name, part) => percentile(seen[name].ms, part);
        const added = (name) => [0.5, 0.99].map((part) => share(name, part) - share("node", part));
        console.log(`\n${kind}, ms: p50 and p99 of ${values.requests}`);
        console.log("".padEnd(22), ...["p50", "p99", "added p50", "added p99", "CPU p50"].map((word) => word.padStart(10)));
        for (const name of Object.keys(places)) {
            const figures = [share(name, 0.5), share(name, 0.99), ...added(name), median(seen[name].cpu)];
            console.log(name.padEnd(22), ...figures.map((figure) => figure.toFixed(2).padStart(10)));
        }
        const ratios = added("tinderbox").map((ours, index) => ours / added("litellm")[index]);
        console.log(`added by tinderbox / added by LiteLLM: p50 ${ratios[0].toFixed(2)}, p99 ${ratios[1].toFixed(2)}`);
        result[kind] = {ratios: {p50: ratios[0], p99: ratios[1]}, ...seen};
    }
    keep({...circumstances(), requests: Number(values.requests), kinds: result}, values.out, "litellm-hop");
}

/** The isolate as its client sees it: its own clock stands still while it computes. */
async function isolate({prompt, decode}, assets) {
    const context = prompt + decode + 16;
    const edge = await worker({assets, vars: {MODEL: "packed", CONTEXT: String(context), BUDGET: String(context)}});
    const complete = async (prompt, tokens) => {
        const begun = performance.now();
        const response = await fetch(`${edge.url}/v1/completions`, {
            method: "POST", body: JSON.stringify({prompt, max_tokens: tokens, temperature: 0, stream: true})
        });
        const times = [];
        for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
            const count = chunk.split('"choices":[{').length - 1;
            times.push(...Array(count).fill(performance.now()));
        }
        return {first: (times[0] - begun) / 1000, rate: (times.length - 1) / (times.at(-1) - times[0]) * 1000, count: times.length};
    };
    try {
        const cold = await complete("Hello", 1);
        const {first, rate, count} = await complete(words(prompt), decode);
        return {
            engine: "tinderbox", device: "workerd, 1 thread", load_s: cold.first, ttft_s: first,
            prefill_tokens_per_s: prompt / first, decode_tokens_per_s: rate, pieces: count
        };
    } finally {
        await edge.stop();
    }
}

try {
    await hop();
    const models = join(folder, "models/packed");
    execFileSync(binary, ["pack", "--model", file, "--embedding", "q4_1", "--out", models], {stdio: "ignore"});
    const parts = readdirSync(models).filter((name) => name.endsWith(".gguf")).sort();
    const browsers = await chromium(models);
    stops.push(() => browsers.close());
    await compare({
        file,
        setups: {isolate: {device: "cpu", threads: 1, prompt: 256, decode: 64}},
        rounds: Number(values.rounds),
        out: values.out,
        ours: (setup) => isolate(setup, folder),
        theirs: (setup) => browsers.measure("wllama", parts, setup),
        rival: "wllama"
    });
} finally {
    for (const stop of stops.reverse()) {
        await stop();
    }
}
