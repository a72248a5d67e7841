// A model in the isolate: SmolLM2-135M-Instruct, packed, in real workerd.

import assert from "node:assert/strict";
import {execFileSync} from "node:child_process";
import {mkdtempSync, readFileSync, readdirSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {after, before, test} from "node:test";

import {TINDERBOX, edge, json, keep, node, nodes, post, scripted, smollm2} from "./edge.mjs";

const CHAT = "/v1/chat/completions";
const CONTEXT = 512;
const file = smollm2();
const skip = file ? false : "SKIP: SmolLM2 was not fetched";

let assets, native, it;

before(async () => {
    if (skip) {
        return;
    }
    assets = mkdtempSync(join(tmpdir(), "tinderbox-assets-"));
    const folder = join(assets, "models/smollm2");
    execFileSync(TINDERBOX, ["pack", "--model", file, "--embedding", "q4_1", "--out", folder]);
    const {files} = JSON.parse(readFileSync(join(folder, "manifest.json")));
    assert.deepEqual(readdirSync(folder).filter((name) => name.endsWith(".gguf")).sort(), files.map(({name}) => name));
    // The same file natively: the tokens that the isolate's must equal.
    native = await node(join(folder, files[0].name), ["--context", String(CONTEXT)]);
    it = await edge({assets, vars: {MODEL: "smollm2", CONTEXT: String(CONTEXT), BUDGET: "256"}});
});

after(async () => {
    await it?.stop();
    await native?.stop();
    if (assets) {
        rmSync(assets, {recursive: true, force: true});
    }
});

const question = (content, more = {}) => ({
    messages: [{role: "user", content}], max_tokens: 24, temperature: 0, ...more
});

/** The text and the tokens of a chat, whole. */
async function chat(url, body) {
    const response = await post(url + CHAT, {...body, logprobs: true});
    assert.equal(response.status, 200, await response.clone().text());
    const {choices: [choice], usage} = await response.json();
    return {
        text: choice.message.content, tokens: choice.logprobs.content.map(({bytes}) => bytes),
        place: response.headers.get("x-tinderbox-place"), usage, reason: choice.finish_reason
    };
}

const memory = async () => (await (await fetch(`${it.url}/health`)).json()).model.memory_bytes;

test("24 greedy tokens in the isolate are the native CPU's, and the memory is bounded", {skip}, async (t) => {
    const started = Date.now();
    const first = await chat(it.url, question("What is the capital of France?"));
    t.diagnostic(`from nothing to the end of an answer of ${first.tokens.length} tokens: ${Date.now() - started} ms`);
    assert.match(first.text, /Paris/);
    for (const content of ["Tell me a story about a fox.", "List three colours."]) {
        const [here, there] = [await chat(it.url, question(content)), await chat(native.url, question(content))];
        assert.equal(here.place, "edge");
        assert.equal(there.place, null);
        assert.equal(here.tokens.length, 24);
        assert.deepEqual(here.tokens, there.tokens);
        // What either knows already of a prompt depends on what it was asked before.
        const counts = ({prompt_tokens, completion_tokens, total_tokens}) => [prompt_tokens, completion_tokens, total_tokens];
        assert.deepEqual(counts(here.usage), counts(there.usage));
    }
    const long = question("word ".repeat(440), {max_tokens: 8});
    const answer = await post(it.url + CHAT, long, {headers: {"x-tinderbox-place": "edge"}});
    assert.equal(answer.status, 200, await answer.clone().text());
    const bytes = await memory();
    t.diagnostic(`linear memory ${(bytes / 1e6).toFixed(1)} MB with ${CONTEXT} tokens of context`);
    assert.ok(bytes < 110e6, `${bytes} bytes`);
});

test("two chats at once have the answers they have alone, whole and streamed", {skip}, async (t) => {
    const bodies = ["Name a planet.", "What is water?", "Count to five."].map((content) => question(content));
    const alone = [];
    for (const body of bodies) {
        alone.push((await chat(it.url, body)).text);
    }
    const streamed = async (body) => {
        const response = await post(it.url + CHAT, {...body, stream: true});
        const lines = (await response.text()).split("\n\n").filter((line) => line.startsWith("data: {"));
        return lines.map((line) => JSON.parse(line.slice(6)).choices[0]?.delta.content ?? "").join("");
    };
    const together = await Promise.all([streamed(bodies[0]), chat(it.url, bodies[1]), streamed(bodies[2])]);
    assert.deepEqual([together[0], together[1].text, together[2]], alone);
    // The most that the isolate holds at once.
    const bytes = await memory();
    t.diagnostic(`linear memory ${(bytes / 1e6).toFixed(1)} MB after chats at once`);
    assert.ok(bytes < 110e6, `${bytes} bytes`);
});

test("a stream comes in pieces, and one that is left does not hold up the next", {skip}, async () => {
    const controller = new AbortController();
    const response = await post(it.url + CHAT, question("Tell me a long story.", {max_tokens: 200, stream: true}), {
        signal: controller.signal, headers: {"x-tinderbox-place": "edge"}
    });
    const reader = response.body.getReader();
    for (let pieces = 0; pieces < 3; pieces++) {
        assert.equal((await reader.read()).done, false);
    }
    controller.abort();
    await reader.closed.catch(() => {});
    const {text} = await chat(it.url, question("What is the capital of France?"));
    assert.match(text, /Paris/);
});

test("all dialects answer in the isolate, and its models are listed", {skip}, async () => {
    const generated = await (await post(`${it.url}/lorax/generate`, {
        inputs: "The sky is", parameters: {max_new_tokens: 4}
    })).json();
    assert.equal(typeof generated.generated_text, "string");
    const {text} = await (await post(`${it.url}/v1/engines/smollm2/completions`, {
        prompt: "The sky is", max_tokens: 4, temperature: 0
    })).json();
    assert.ok(text.length > 0);
    const {tokens} = await (await post(`${it.url}/tokenize`, {prompt: "The sky is"})).json();
    assert.equal(tokens.length, 3);
    const {data} = await (await fetch(`${it.url}/v1/models`)).json();
    assert.deepEqual(data.map(({id, place}) => ({id, place})), [{id: "smollm2", place: "edge"}]);
    const unknown = await post(it.url + CHAT, question("x", {model: "other"}));
    assert.equal(unknown.status, 404);
});

test("small requests stay, large ones go to a node, and come back where it is dead", {skip}, async () => {
    const big = await scripted((request, response) => response.end("{}"));
    const both = await edge({
        assets, vars: {MODEL: "smollm2", CONTEXT: String(CONTEXT), BUDGET: "60", NODES: nodes({url: big.url})}
    });
    const place = async (body, headers) => {
        const response = await post(both.url + CHAT, body, {headers});
        await response.text();
        return response.headers.get("x-tinderbox-place");
    };
    try {
        assert.equal(await place(question("Hi", {max_tokens: 4})), "edge");
        assert.equal(await place(question("Hi", {max_tokens: 400})), "node");
        assert.equal(await place(question("Hi", {max_tokens: 4}), {"x-tinderbox-place": "node"}), "node");
        big.stop();
        assert.equal(await place(question("Hi, ".repeat(60), {max_tokens: 4})), "edge");
    } finally {
        big.stop();
        await both.stop();
    }
});

test("what all nodes are too busy for is answered here, where it fits", {skip}, async () => {
    const busy = await keep(scripted((request, response) => json(response, 429, {error: "full"}, {"retry-after": "7"})));
    const open = async () => (await keep(edge({
        assets, vars: {MODEL: "smollm2", CONTEXT: String(CONTEXT), BUDGET: "20", NODES: nodes({url: busy.url})}
    }))).url;
    const here = await post(await open() + CHAT, question("Hi, ".repeat(20), {max_tokens: 4}));
    assert.equal(here.headers.get("x-tinderbox-place"), "edge");
    assert.equal(here.status, 200, await here.text());
    const refused = await post(await open() + CHAT, question("Hi, ".repeat(1000), {max_tokens: 4}));
    assert.equal(refused.status, 429, "it does not fit, and a node has room later");
    assert.equal(refused.headers.get("retry-after"), "7");
    assert.equal(busy.requests.length, 2);
});

test("recorded answers of a real node come through the edge byte for byte, in every dialect", {skip}, async () => {
    let recorded;
    const player = await keep(scripted(async (request, response) => {
        response.writeHead(recorded.status, recorded.headers);
        // Cut anywhere: in frames, in words and in characters.
        for (let at = 0; at < recorded.bytes.length; at += 101) {
            response.write(recorded.bytes.subarray(at, at + 101));
            await new Promise((resolve) => setImmediate(resolve));
        }
        response.end();
    }));
    const {url} = await keep(edge({vars: {NODES: nodes({url: player.url})}}));
    const {data: [{id: model}]} = await (await fetch(`${native.url}/v1/models`)).json();
    const text = "Zähle die Wörter: 一二三 🙂";
    const stream = {stream: true, temperature: 0};
    for (const [path, body] of [
        [CHAT, question(text)],
        [CHAT, question(text, {stream: true, stream_options: {include_usage: true}})],
        ["/v1/completions", {prompt: text, max_tokens: 24, logprobs: 2, ...stream}],
        ["/generate_stream", {inputs: text, parameters: {max_new_tokens: 24}}],
        [`/v1/engines/${model}/completions`, {prompt: text, max_tokens: 24, ...stream}],
        ["/generate", {prompt: text, max_length: 24, ...stream}],
        ["/chat", {messages: [{role: "user", content: text}], max_tokens: 24, ...stream}],
        ["/litellm", {model, params: {prompt: text, max_tokens: 24}}],
        [CHAT, {messages: "wrong"}]
    ]) {
        const direct = await post(native.url + path, body);
        const bytes = Buffer.from(await direct.arrayBuffer());
        const headers = Object.fromEntries(direct.headers);
        for (const hop of ["connection", "keep-alive", "transfer-encoding", "content-length"]) {
            delete headers[hop];
        }
        assert.ok(bytes.length > 20, `${path}: ${bytes}`);
        assert.equal(direct.status, body.messages === "wrong" ? 400 : 200, `${path}: ${bytes}`);
        recorded = {status: direct.status, headers, bytes};
        const passed = await post(url + path, body);
        assert.equal(passed.status, direct.status, path);
        assert.ok(Buffer.from(await passed.arrayBuffer()).equals(bytes), path);
        // The edge's own: whose request it was, how long it took, and who may read it.
        const own = /^(x-request-id|x-process-time|vary|date|access-control-)/;
        for (const [name, value] of Object.entries(headers).filter(([name]) => !own.test(name))) {
            assert.equal(passed.headers.get(name), value, `${path}: ${name}`);
        }
    }
});
