// The edge as a router: keys, places, faults. Each test says what the client saw.

import assert from "node:assert/strict";
import {connect} from "node:net";
import {test} from "node:test";
import {setTimeout as sleep} from "node:timers/promises";

import {edge, good, json, keep, nodes, post, scripted, until} from "./edge.mjs";
import {FAULTS, fault} from "./faults.mjs";

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

test("of two nodes the one with the earlier first token is asked, not that with the earlier head", async () => {
    const streams = (head, token) => async (request, response) => {
        await sleep(head);
        response.writeHead(200, {"content-type": "text/event-stream"});
        response.flushHeaders();
        await sleep(token);
        response.end("data: [DONE]\n\n");
    };
    const slow = await keep(scripted(streams(0, 400)));
    const quick = await keep(scripted(streams(20, 0)));
    const {url} = await keep(edge({vars: {NODES: nodes({url: slow.url, models: ["m", "only"]}, {url: quick.url, models: ["m"]})}}));
    await (await post(url + CHAT, {...ASK, model: "only"})).text();
    for (let n = 0; n < 5; n++) {
        await (await post(url + CHAT, {...ASK, model: "m"})).text();
    }
    assert.deepEqual([slow.requests.length, quick.requests.length], [1, 5]);
});

test("a node that breaks off in mid-stream is told of in the dialect, never by a silent end", async () => {
    const node = await keep(scripted(async (request, response) => {
        // Of the second header a proxy may leave nothing.
        const head = request.url.includes("engines")
            ? {"content-type": "application/json", "x-accel-buffering": "no"} : {"content-type": "text/event-stream"};
        response.writeHead(200, head);
        response.write("data: {}\n\ndata: {");
        await new Promise((resolve) => setTimeout(resolve, 100));
        response.destroy();
    }));
    const {url} = await keep(edge({vars: {NODES: nodes({url: node.url})}}));
    /** What comes behind the node's bytes. */
    const last = async (path, body) => {
        // It rests now and then.
        await until(async () => (await (await fetch(`${url}/health`)).json()).nodes[0].takes_requests, "it takes requests");
        const text = await (await post(url + path, {...ASK, ...body, stream: true})).text();
        return text.replace("data: {}\n\ndata: {\n\n", "");
    };
    const [openai, done, ...none] = (await last(CHAT)).split("\n\n");
    assert.match(JSON.parse(openai.replace("data: ", "")).error.message, /broke off/);
    assert.deepEqual([done, ...none], ["data: [DONE]", ""]);
    const lorax = JSON.parse((await last("/generate_stream")).replace("data: ", ""));
    assert.match(lorax.error, /broke off/);
    assert.ok(lorax.error_type);
    assert.match(JSON.parse(await last("/v1/engines/m/completions")).error, /broke off/);
    const locallab = "data: [ERROR] internal error: the node that computed the answer broke off\n";
    assert.equal(await last("/generate", {prompt: "x"}), `${locallab}\n`);
    const [line, chunk] = (await last("/chat")).trim().split("\n");
    assert.equal(`${line}\n`, locallab);
    assert.match(JSON.parse(chunk).error, /broke off/);
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

test("a busy node is not left alone for longer than a minute, whatever it asks for", async () => {
    for (const wait of ["86400", "18446744073709551615", "Wed, 21 Oct 2099 07:28:00 GMT"]) {
        const busy = await keep(scripted((request, response) => json(response, 429, {}, {"retry-after": wait})));
        const {url} = await keep(edge({vars: {NODES: nodes({url: busy.url})}}));
        assert.equal((await post(url + CHAT, ASK)).headers.get("retry-after"), wait);
        const answer = await post(url + CHAT, ASK);
        assert.equal(answer.status, 503);
        assert.ok(Number(answer.headers.get("retry-after")) <= 60);
    }
});

test("a client that goes is no failure of the node, and no other node is asked for it", async () => {
    const slow = await keep(scripted((request, response) => {
        if (request.headers["x-fault"] !== "gone") {
            good(request, response);
        }
    }));
    const other = await keep(scripted(good));
    const list = nodes({url: slow.url, weight: 1000}, {url: other.url});
    const {url} = await keep(edge({assets: false, vars: {NODES: list}, entry: FAULTS}));
    let gone = 0;
    while (gone < 6) {
        const before = slow.requests.length;
        await (await post(url + CHAT, ASK, fault("gone"))).text();
        gone += slow.requests.length - before;
    }
    assert.ok(other.requests.every(({headers}) => headers["x-fault"] !== "gone"));
    const {nodes: [{takes_requests: takes}]} = await (await fetch(`${url}/health`)).json();
    assert.equal(takes, true);
});

test("a client that leaves streams is no failure of the node", async () => {
    let open = 0;
    const node = await keep(scripted((request, response) => {
        open += 1;
        response.writeHead(200, {"content-type": "text/event-stream"});
        const writes = setInterval(() => response.write("data: {}\n\n"), 50);
        response.on("close", () => {
            open -= 1;
            clearInterval(writes);
        });
    }));
    const {url} = await keep(edge({assets: false, vars: {NODES: nodes({url: node.url})}}));
    for (let n = 0; n < 4; n++) {
        const controller = new AbortController();
        const response = await post(url + CHAT, ASK, {signal: controller.signal});
        await response.body.getReader().read();
        controller.abort();
        await until(() => open === 0, "the node knows");
    }
    const {nodes: [{takes_requests: takes}]} = await (await fetch(`${url}/health`)).json();
    assert.equal(takes, true);
});

test("what needs no model does not load it, and no header breaks it", async () => {
    // A model that cannot be loaded.
    const {url} = await keep(edge({vars: {MODEL: "missing"}, entry: FAULTS}));
    assert.match(await (await fetch(`${url}/docs`)).text(), /<!doctype html>/i);
    assert.equal((await (await fetch(`${url}/v1/models/missing`)).json()).id, "missing");
    assert.equal((await fetch(`${url}/favicon.ico`)).status, 404);
    assert.equal((await post(`${url}/nothing/here`, ASK)).status, 404);
    assert.equal((await fetch(url + CHAT)).status, 405);
    assert.match((await (await post(url + CHAT, {...ASK, model: "missing"})).json()).error.message, /could not be loaded/);

    const {hostname, port} = new URL(url);
    const socket = connect(port, hostname);
    let heard = "";
    socket.on("data", (data) => (heard += data)).on("error", () => {});
    socket.write(Buffer.from("GET /docs HTTP/1.1\r\nhost: edge\r\nx-odd: a\x01b\x7fc\xff\r\nx-fine: \xc3\xa9\r\n\r\n", "latin1"));
    await until(() => heard.includes("\r\n\r\n"), "it answers");
    socket.destroy();
    assert.match(heard, /^HTTP\/1.1 200 /);
    assert.match(heard, /x-instances: 1\r\n/i);
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
