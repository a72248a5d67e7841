// The edge as a router: keys, places, faults. Each test says what the client saw.

import assert from "node:assert/strict";
import {test} from "node:test";

import {edge, good, json, keep, nodes, post, scripted, until} from "./edge.mjs";

const CHAT = "/v1/chat/completions";
const ASK = {model: "m", messages: [{role: "user", content: "Hello?"}], max_tokens: 4};

test("a request is passed on whole, and its answer comes back whole", async () => {
    const node = await keep(scripted((request, response) => {
        response.writeHead(418, {"content-type": "text/plain", "x-of-the-node": "yes"});
        response.end("short and stout");
    }));
    const {url} = await keep(edge({vars: {NODES: nodes({url: node.url, secret: "N_KEY"}), N_KEY: "node-key"}}));
    const response = await post(`${url}/v1/completions?x=1`, {prompt: "grüße"}, {
        headers: {authorization: "Bearer mine", "x-request-id": "id-1", "x-request-timeout": "30"}
    });
    assert.equal(response.status, 418);
    assert.equal(await response.text(), "short and stout");
    const headers = Object.fromEntries(response.headers);
    assert.equal(headers["x-of-the-node"], "yes");
    assert.equal(headers["x-tinderbox-place"], "node");
    assert.equal(headers["x-tinderbox-node"], "n0");
    assert.equal(headers["x-request-id"], "id-1");
    const [request] = node.requests;
    assert.equal(request.url, "/v1/completions?x=1");
    assert.equal(request.body, '{"prompt":"grüße"}');
    assert.equal(request.headers["x-request-id"], "id-1");
    assert.equal(request.headers["x-request-timeout"], "30", "a deadline, like all that is not of the connection");
    assert.equal(request.headers.authorization, "Bearer node-key", "the caller's key stays here");

    const page = await fetch(`${url}/page`);
    assert.equal(await page.text(), "<h1>a page</h1>");
    assert.equal((await fetch(`${url}/`, {method: "POST", body: "{}"})).status, 418, "LoRAX asks at /");
});

test("a stream comes through as it is made, and its end is the node's", async () => {
    const gates = [];
    const node = await keep(scripted(async (request, response) => {
        response.writeHead(200, {"content-type": "text/event-stream", "x-accel-buffering": "no"});
        for (let n = 0; n < 3; n++) {
            response.write(`data: {"n":${n}}\n\n`);
            await new Promise((resolve) => gates.push(resolve));
        }
        response.end("data: [DONE]\n\n");
    }));
    const {url} = await keep(edge({vars: {NODES: nodes({url: node.url})}}));
    const response = await post(url + CHAT, ASK);
    const seen = [];
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        seen.push(chunk);
        gates.shift()?.();
    }
    assert.deepEqual(seen, ['data: {"n":0}\n\n', 'data: {"n":1}\n\n', 'data: {"n":2}\n\n', "data: [DONE]\n\n"]);
});

test("a node that breaks off in mid-stream is told of in the dialect, never by a silent end", async () => {
    const node = await keep(scripted(async (request, response) => {
        const type = request.url.includes("engines") ? "application/json" : "text/event-stream";
        response.writeHead(200, {"content-type": type, "x-accel-buffering": "no"});
        response.write("data: {}\n\n");
        await new Promise((resolve) => setTimeout(resolve, 100));
        response.destroy();
    }));
    const {url} = await keep(edge({vars: {NODES: nodes({url: node.url})}}));
    const last = async (path) => {
        const text = await (await post(url + path, {...ASK, stream: true})).text();
        return text.split("\n\n").at(-2);
    };
    const openai = JSON.parse((await last(CHAT)).replace("data: ", ""));
    assert.match(openai.error.message, /broke off/);
    const lorax = JSON.parse((await last("/generate_stream")).replace("data: ", ""));
    assert.match(lorax.error, /broke off/);
    assert.ok(lorax.error_type);
    const textsynth = JSON.parse(await last("/v1/engines/m/completions"));
    assert.match(textsynth.error, /broke off/);
});

test("what a node cannot answer another does, before the first byte", async () => {
    const dead = await scripted(good);
    dead.stop();
    const busy = await keep(scripted((request, response) => json(response, 503, {}, {"retry-after": "30"})));
    const gateway = await keep(scripted((request, response) => json(response, 502, {})));
    const closing = await keep(scripted((request, response) => response.destroy()));
    const guarded = await keep(scripted((request, response) => json(response, 401, {})));
    const fine = await keep(scripted(good));
    for (const bad of [{url: dead.url}, busy, gateway, closing, {url: guarded.url, secret: "WRONG"}]) {
        const list = nodes({url: bad.url, secret: bad.secret}, {url: fine.url});
        const it = await edge({vars: {NODES: list, WRONG: "wrong"}});
        try {
            const answers = await Promise.all(Array.from({length: 12}, () => post(it.url + CHAT, ASK)));
            for (const answer of answers) {
                assert.deepEqual(await answer.json(), {from: "good"});
                assert.equal(answer.headers.get("x-tinderbox-node"), "n1");
            }
        } finally {
            await it.stop();
        }
    }
});

test("a node that does not answer in time is given up", async () => {
    const slow = await keep(scripted(() => new Promise(() => {})));
    const fine = await keep(scripted(good));
    const list = nodes({url: slow.url, weight: 1000}, {url: fine.url});
    const {url} = await keep(edge({vars: {NODES: list, NODE_PATIENCE: "1"}}));
    for (let n = 0; n < 4; n++) {
        assert.deepEqual(await (await post(url + CHAT, ASK)).json(), {from: "good"});
    }
    assert.ok(slow.requests.length > 0);
});

test("where no node can answer the client is told when to come back, in its dialect", async () => {
    const dead = await scripted(good);
    dead.stop();
    const {url} = await keep(edge({vars: {NODES: nodes({url: dead.url, models: ["m"]})}}));
    for (const [path, message] of [
        [CHAT, (body) => body.error.message],
        ["/generate_stream", (body) => body.error],
        ["/v1/engines/m/completions", (body) => body.error],
        ["/generate", (body) => body.detail]
    ]) {
        const answer = await post(url + path, ASK);
        assert.equal(answer.status, 503, path);
        assert.ok(Number(answer.headers.get("retry-after")) >= 1);
        assert.match(message(await answer.json()), /No node can answer now/);
    }
    const unknown = await post(url + CHAT, {...ASK, model: "other"});
    assert.equal(unknown.status, 404);
    assert.match((await unknown.json()).error.message, /`other` does not exist. Served here: m/);
    const health = await fetch(`${url}/health`);
    assert.equal(health.status, 503);
    assert.equal((await health.json()).nodes[0].takes_requests, false);
});

test("busy nodes' own answer is passed on, with its Retry-After", async () => {
    const busy = await keep(scripted((request, response) => json(response, 429, {error: "full"}, {"retry-after": "7"})));
    const {url} = await keep(edge({vars: {NODES: nodes({url: busy.url})}}));
    const answer = await post(url + CHAT, ASK);
    assert.equal(answer.status, 429);
    assert.equal(answer.headers.get("retry-after"), "7");
    assert.deepEqual(await answer.json(), {error: "full"});
});

// Of a client that leaves while a node still computes a whole answer the runtime hears nothing, for it notices by writing.
test("a client that leaves a stream is gone for the node, too", async () => {
    let waiting = 0;
    const node = await keep(scripted((request, response) => {
        waiting += 1;
        response.on("close", () => (waiting -= 1));
        response.writeHead(200, {"content-type": "text/event-stream", "x-accel-buffering": "no"});
        const writes = setInterval(() => response.write("data: {}\n\n"), 100);
        response.on("close", () => clearInterval(writes));
    }));
    const {url} = await keep(edge({assets: false, vars: {NODES: nodes({url: node.url})}}));
    const controller = new AbortController();
    const asked = post(url + CHAT, {...ASK, stream: true}, {signal: controller.signal}).then((answer) => answer.text());
    await until(() => waiting === 1, "the node has the request");
    controller.abort();
    await assert.rejects(asked);
    await until(() => waiting === 0, "the node knows", 2);
});

test("a wrong wish, an impossible wish and a broken configuration are said", async () => {
    const fine = await keep(scripted(good));
    const {url} = await keep(edge({vars: {NODES: nodes({url: fine.url})}}));
    const wish = (place) => post(url + CHAT, ASK, {headers: {"x-tinderbox-place": place}});
    assert.equal((await wish("moon")).status, 400);
    assert.equal((await wish("node")).status, 200);
    const broken = await keep(edge({vars: {NODES: "[{}]"}}));
    const answer = await post(broken.url + CHAT, ASK);
    assert.equal(answer.status, 500);
    assert.match((await answer.json()).error.message, /NODES: missing field `name`/);
});

test("models of all nodes are listed with the node that has them", async () => {
    const node = await keep(scripted((request, response) => json(response, 200, {object: "list", data: [{id: "m"}]})));
    const dead = await scripted(good);
    dead.stop();
    const {url} = await keep(edge({vars: {NODES: nodes({url: node.url}, {url: dead.url})}}));
    const {data} = await (await fetch(`${url}/v1/models`)).json();
    assert.deepEqual(data, [{id: "m", place: "node", node: "n0"}]);
});
