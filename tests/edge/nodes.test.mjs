// What the edge knows of its nodes: real ones under load of which one is killed, their health, their list, private ways.

import assert from "node:assert/strict";
import {mkdtempSync, rmSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {after, test} from "node:test";

import {gguf} from "../web/package/tiny.mjs";
import {edge, good, json, keep, node, nodes, post, scripted, until} from "./edge.mjs";
import {FAULTS, fault} from "./faults.mjs";

const CHAT = "/v1/chat/completions";
const ASK = {model: "m", messages: [{role: "user", content: "Hello?"}], max_tokens: 4};

const folder = mkdtempSync(join(tmpdir(), "tinderbox-tiny-"));
after(() => rmSync(folder, {recursive: true, force: true}));
const tiny = join(folder, "tiny.gguf");
writeFileSync(tiny, gguf());

const metric = async (url, name, labels = "") => {
    const text = await (await fetch(`${url}/metrics`)).text();
    const line = text.split("\n").find((line) => line.startsWith(`${name}${labels}`));
    return line && Number(line.split(" ").at(-1));
};

test("a node is killed under 32 streams: what had not begun goes to the other, what had is told", async () => {
    const [first, second] = [await keep(node(tiny)), await keep(node(tiny))];
    const {url} = await keep(edge({
        vars: {NODES: nodes({url: first.url}, {url: second.url})}, options: {ratelimits: {}}
    }));
    let killed = false, stop = false;
    const seen = {whole: 0, broken: 0, after: 0};
    /** One client, who asks again and again. */
    const client = async (seed) => {
        while (!stop) {
            const body = {prompt: "hello", max_tokens: 400, seed, stream: true, stream_options: {include_usage: true}};
            const response = await post(`${url}/v1/completions`, body);
            assert.equal(response.status, 200, "no request fails before its stream begins");
            const text = await response.text();
            assert.ok(text.endsWith("data: [DONE]\n\n"), "never a silent end");
            const last = text.trim().split("\n\n").at(-2);
            if (!last.startsWith('data: {"error"')) {
                seen.whole += 1;
                seen.after += killed;
            } else {
                assert.match(last, /broke off/);
                assert.equal(response.headers.get("x-tinderbox-node"), "n0");
                seen.broken += 1;
            }
        }
    };
    const clients = Promise.all(Array.from({length: 32}, (_, seed) => client(seed)));
    await until(() => seen.whole > 64, "both are at work", 60);
    await first.stop("SIGKILL");
    killed = true;
    await until(() => seen.after > 128, "the other takes all", 60);
    stop = true;
    await clients;
    assert.ok(seen.broken <= 32, JSON.stringify(seen));
    assert.ok(await metric(url, "tinderbox_edge_requests_total", '{node="n0",place="node",status="200"}') > 10);
    assert.equal(await metric(url, "tinderbox_edge_node_takes_requests", '{node="n1"}'), 1);
});

test("a node logs the identifier that the client has", async () => {
    const real = await keep(node(tiny));
    const {url} = await keep(edge({vars: {NODES: nodes({url: real.url})}}));
    const given = await post(`${url}/v1/completions`, {prompt: "hello", max_tokens: 2}, {headers: {"x-request-id": "given-7"}});
    assert.equal(given.headers.get("x-request-id"), "given-7");
    const made = await post(`${url}/v1/completions`, {prompt: "hello", max_tokens: 2});
    const id = made.headers.get("x-request-id");
    assert.match(id, /^[0-9a-f]{32}$/);
    await until(() => real.log().includes("given-7") && real.log().includes(id), "both are in the log");
});

test("a client that leaves frees the sequence of a real node within a second", async () => {
    const real = await keep(node(tiny));
    const {url} = await keep(edge({assets: false, vars: {NODES: nodes({url: real.url})}}));
    const controller = new AbortController();
    // Far more than a second's work.
    const body = {prompt: "hello", max_tokens: 480, n: 100, stream: true};
    const response = await post(`${url}/v1/completions`, body, {signal: controller.signal});
    await response.body.getReader().read();
    const running = () => metric(real.url, "tinderbox_running_sequences");
    await until(async () => await running() > 0, "it runs");
    controller.abort();
    await until(async () => await running() === 0, "it is free", 1);
});

test("a node that rests is looked at, and has requests again once it is well", async () => {
    let well = false;
    const sick = await keep(scripted(
        (request, response) => (well ? good(request, response) : response.destroy()),
        (request, response) => (well ? json(response, 200, {details: {running: "1", waiting: "2"}}) : response.destroy())
    ));
    const {url} = await keep(edge({vars: {NODES: nodes({url: sick.url})}}));
    for (let n = 0; n < 8; n++) {
        assert.equal((await post(url + CHAT, ASK)).status, 503);
    }
    const takes = async () => (await (await fetch(`${url}/health`)).json()).nodes[0].takes_requests;
    assert.equal(await takes(), false);
    const asked = sick.requests.length;
    well = true;
    // Only questions about the edge itself come by: it is its health that says so, not a request.
    await until(takes, "it takes requests", 25);
    assert.equal(sick.requests.length, asked);
    assert.equal((await post(url + CHAT, ASK)).status, 200);
});

test("a proxy that says that there is no node behind it does not make the node well", async () => {
    let looks = 0;
    const lost = await keep(scripted(good, (request, response) => {
        looks += 1;
        json(response, 530, {});
    }));
    const {url} = await keep(edge({vars: {NODES: nodes({url: lost.url})}, entry: FAULTS}));
    const takes = async (options) => (await (await fetch(`${url}/health`, options)).json()).nodes[0].takes_requests;
    for (let n = 1; n < 3; n++) {
        assert.equal(await takes(fault("minute")), true);
        await until(() => looks === n, "it is looked at");
    }
    await takes(fault("minute"));
    await until(async () => !await takes(), "it rests");
});

test("the list of nodes in KV is taken in place of the variable's", async () => {
    const [old, fresh] = [await keep(scripted(good)), await keep(scripted(good))];
    const it = await keep(edge({vars: {NODES: nodes({url: old.url})}, options: {kvNamespaces: ["CONFIG"]}}));
    const store = await it.instance.getKVNamespace("CONFIG");
    await store.put("nodes", nodes({url: fresh.url, name: "fresh", models: ["m"]}));
    const answer = await post(it.url + CHAT, ASK);
    assert.equal(answer.headers.get("x-tinderbox-node"), "fresh");
    assert.equal(old.requests.length, 0);
    const {nodes: listed} = await (await fetch(`${it.url}/health`)).json();
    assert.deepEqual(listed.map(({name}) => name), ["fresh"]);

    const empty = await keep(edge({vars: {NODES: nodes({url: old.url})}, options: {kvNamespaces: ["CONFIG"]}}));
    assert.equal((await post(empty.url + CHAT, ASK)).headers.get("x-tinderbox-node"), "n0", "no list changes nothing");

    const broken = await keep(edge({vars: {NODES: nodes({url: old.url})}, options: {kvNamespaces: ["CONFIG"]}}));
    await (await broken.instance.getKVNamespace("CONFIG")).put("nodes", '[{"name": "x", "url": "y", "secret": "NONE"}]');
    assert.equal((await post(broken.url + CHAT, ASK)).headers.get("x-tinderbox-node"), "n0", "a broken list changes nothing");
});

test("a node in a private network is reached through its binding", async () => {
    const asked = [];
    const it = await keep(edge({
        vars: {NODES: nodes({url: "http://gpu.internal:8080", binding: "GPU", secret: "GPU_KEY"}), GPU_KEY: "k"},
        options: {serviceBindings: {GPU: async (request) => {
            asked.push([request.url, request.headers.get("authorization")]);
            return Response.json({from: "gpu"}, {headers: {"x-of-the-node": "yes"}});
        }}}
    }));
    const answer = await post(it.url + CHAT, ASK);
    assert.deepEqual(await answer.json(), {from: "gpu"});
    assert.equal(answer.headers.get("x-of-the-node"), "yes");
    await until(() => asked.length === 2, "its health was asked for");
    assert.deepEqual(asked.map(([url]) => url).sort(), [
        "http://gpu.internal:8080/health", `http://gpu.internal:8080${CHAT}`
    ]);
    assert.ok(asked.every(([, key]) => key === "Bearer k"));
    const wrong = await keep(edge({vars: {NODES: nodes({url: "http://x", binding: "NONE"})}}));
    assert.match((await (await post(wrong.url + CHAT, ASK)).json()).error.message, /NODES: binding NONE/);
});
