// Who may ask at the edge, how often and how much: keys in a secret and in KV, limits, budgets, bodies.

import assert from "node:assert/strict";
import {createHash} from "node:crypto";
import {connect} from "node:net";
import {test} from "node:test";

import {edge, good, json, keep, nodes, post, scripted, until} from "./edge.mjs";
import {FAULTS, fault} from "./faults.mjs";

const CHAT = "/v1/chat/completions";
const ASK = {model: "m", messages: [{role: "user", content: "Hello?"}], max_tokens: 4};

const sum = (key) => createHash("sha256").update(key).digest("hex");
const ask = (url, key, body = ASK, path = CHAT) =>
    post(url + path, body, {headers: key ? {authorization: `Bearer ${key}`} : {}});

/** An edge whose keys are in KV, each with what it allows. */
async function guarded(grants, options = {}, more = {}) {
    const fine = await keep(scripted(good));
    const it = await keep(edge({
        vars: {NODES: nodes({url: fine.url}), KEYS: sum("of the secret")},
        options: {kvNamespaces: ["API_KEYS"], ...options}, ...more
    }));
    const store = await it.instance.getKVNamespace("API_KEYS");
    for (const [key, grant] of Object.entries(grants)) {
        await store.put(sum(key), JSON.stringify(grant));
    }
    return {...it, node: fine, store};
}

test("keys are asked for where there are any, on all paths but the open ones", async () => {
    const fine = await keep(scripted(good));
    const {url} = await keep(edge({vars: {NODES: nodes({url: fine.url}), KEYS: sum("right")}}));
    const answered = (authorization) => post(url + CHAT, ASK, {headers: authorization ? {authorization} : {}});
    for (const wrong of [undefined, "Bearer wrong", "right"]) {
        const answer = await answered(wrong);
        assert.equal(answer.status, 401);
        assert.equal((await answer.json()).error.code, "invalid_api_key");
    }
    assert.equal((await answered("Bearer right")).status, 200);
    assert.equal(fine.requests.length, 1);
    assert.equal(fine.requests[0].headers.authorization, undefined, "our keys are not the node's business");
    assert.equal((await fetch(`${url}/health`)).status, 200);
});

test("a key in KV is a key, beside those of the secret", async () => {
    const {url, store, node} = await guarded({alice: {name: "Alice"}, broken: {limits: 3}});
    assert.equal((await ask(url, "alice")).status, 200);
    assert.equal((await ask(url, "of the secret")).status, 200);
    assert.equal((await ask(url, "nobody")).status, 401);
    const broken = await ask(url, "broken");
    assert.equal(broken.status, 500);
    assert.doesNotMatch(await broken.text(), new RegExp(sum("broken")));
    assert.equal(node.requests.length, 2);
    // What was found is believed for a minute.
    await store.delete(sum("alice"));
    assert.equal((await ask(url, "alice")).status, 200);
});

test("with KV down keys of the secret are still let in, others are told to come back", async () => {
    // A binding on which every call of KV's fails.
    const {url} = await keep(edge({
        vars: {NODES: nodes({url: (await keep(scripted(good))).url}), KEYS: sum("of the secret")},
        options: {serviceBindings: {API_KEYS: () => new Response("down", {status: 500})}}
    }));
    assert.equal((await ask(url, "of the secret")).status, 200);
    const answer = await ask(url, "alice");
    assert.equal(answer.status, 503);
    assert.ok(Number(answer.headers.get("retry-after")) >= 1);
    assert.match((await answer.json()).error.message, /Keys cannot be looked up/);
    const lorax = await ask(url, "alice", {inputs: "x"}, "/lorax/generate");
    assert.equal(lorax.status, 503);
    assert.ok((await lorax.json()).error_type);
});

test("with KV down a key that was seen is believed for an hour, and one that was not is not let in", async () => {
    const {url, node} = await guarded({alice: {}, bob: {}}, {}, {entry: FAULTS});
    const status = async (key, name) => {
        const {headers} = fault(name);
        return (await post(url + CHAT, ASK, {headers: {...headers, authorization: `Bearer ${key}`}})).status;
    };
    assert.equal(await status("alice"), 200);
    assert.equal(await status("nobody"), 401);
    await fetch(`${url}/health`, fault("kv"));
    // Beyond the minute in which it is not asked.
    assert.equal(await status("alice", "minute"), 200);
    assert.equal(await status("nobody"), 401);
    assert.equal(await status("bob"), 503, "KV knows it, we do not");
    assert.equal(node.requests.length, 2);
    for (let n = 0; n < 60; n++) {
        await fetch(`${url}/health`, fault("minute"));
    }
    assert.equal(await status("alice"), 503);
});

/** The local rate limiter begins anew with each minute of the clock: waits for the next where this one is nearly over. */
async function freshMinute() {
    const left = 60_000 - Date.now() % 60_000;
    if (left < 10_000) {
        await new Promise((resolve) => setTimeout(resolve, left));
    }
}

test("a key over its limit is told when to come back, and no other is", async () => {
    const {url, node} = await guarded({
        slow: {limiter: "SLOW"}, fast: {}, lost: {limiter: "MISSING"}, reader: {limiter: "SLOW"}
    }, {
        ratelimits: {SLOW: {simple: {limit: 2, period: 60}}, RATE_LIMITER: {simple: {limit: 5, period: 60}}}
    });
    const statuses = async (key, count) => {
        const answers = [];
        for (let n = 0; n < count; n++) {
            answers.push(await ask(url, key));
        }
        return answers.map(({status}) => status);
    };
    await freshMinute();
    assert.deepEqual(await statuses("slow", 4), [200, 200, 429, 429]);
    assert.deepEqual(await statuses("fast", 6), [200, 200, 200, 200, 200, 429]);
    const refused = await ask(url, "slow", {prompt: "x"}, "/v1/engines/m/completions");
    assert.equal(refused.status, 429);
    assert.ok(Number(refused.headers.get("retry-after")) >= 1);
    assert.equal(typeof (await refused.json()).error, "string", "TextSynth's form");
    assert.equal((await ask(url, "lost")).status, 500);
    assert.equal(node.requests.length, 7);
    const read = async (path) => (await fetch(url + path, {headers: {authorization: "Bearer reader"}})).status;
    assert.deepEqual([await read("/metrics"), await read("/v1/models"), await read("/metrics")], [200, 200, 429]);
    assert.equal(await read("/health"), 200, "probes are open");
});

test("a key's tokens of a day are counted over all its requests", async () => {
    const {url, node} = await guarded({thrifty: {tokens_per_day: 1000}, other: {tokens_per_day: 1000}});
    const of = async (key, tokens) => (await ask(url, key, {...ASK, max_tokens: tokens})).status;
    // Requests at once count one after the other.
    const statuses = await Promise.all([of("thrifty", 400), of("thrifty", 400), of("thrifty", 400)]);
    assert.deepEqual(statuses.sort(), [200, 200, 429]);
    const refused = await ask(url, "thrifty", {...ASK, max_tokens: 400});
    const wait = Number(refused.headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 86400, "until tomorrow");
    assert.equal(await of("thrifty", 50), 200, "a smaller one fits");
    assert.equal(await of("other", 400), 200);
    assert.equal(node.requests.length, 4);
});

test("a page of another origin may ask with its key, of those that are listed", async () => {
    const fine = await keep(scripted((request, response) => json(response, 200, {}, {"access-control-allow-origin": "*"})));
    const page = {origin: "https://page.example"};
    const allowed = async (url, path, options) => (await fetch(url + path, options)).headers.get("access-control-allow-origin");
    const open = await keep(edge({vars: {NODES: nodes({url: fine.url}), KEYS: sum("k")}}));
    const preflight = await fetch(open.url + CHAT, {method: "OPTIONS", headers: {
        ...page, "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"
    }});
    assert.equal(preflight.status, 200, "without a key");
    assert.equal(preflight.headers.get("access-control-allow-headers"), "authorization,content-type");
    assert.equal(preflight.headers.get("access-control-allow-origin"), "*");
    assert.equal(fine.requests.length, 0);
    assert.equal(await allowed(open.url, CHAT, {method: "POST", headers: page, body: "{}"}), "*", "a refusal can be read");

    const listed = await keep(edge({vars: {NODES: nodes({url: fine.url}), CORS: "https://page.example,https://b.example"}}));
    const asked = (headers) => allowed(listed.url, CHAT, {method: "POST", headers, body: JSON.stringify(ASK)});
    assert.equal(await asked(page), page.origin);
    assert.equal(await asked({origin: "https://evil.example"}), null);
});

test("LocalLab's own limit holds in its dialect alone", async () => {
    const fine = await keep(scripted(good));
    const {url} = await keep(edge({vars: {NODES: nodes({url: fine.url}), LOCALLAB_RATE: "3"}}));
    const statuses = [];
    for (let n = 0; n < 5; n++) {
        statuses.push((await post(`${url}/generate`, {prompt: "x"})).status);
    }
    assert.deepEqual(statuses, [200, 200, 200, 429, 429]);
    const refused = await post(`${url}/chat`, {messages: []});
    assert.equal(refused.status, 429);
    assert.match((await refused.json()).detail, /Too many requests/);
    assert.equal((await post(`${url}/generate`, {inputs: "x"})).status, 200, "LoRAX has none");
    assert.equal((await post(url + CHAT, ASK)).status, 200);
});

test("a body over the limit, and one that never ends, are refused before any node hears of them", async () => {
    const fine = await keep(scripted(good));
    const {url} = await keep(edge({vars: {NODES: nodes({url: fine.url}), BODY_LIMIT: "1000", BODY_PATIENCE: "1"}}));
    const answer = await post(url + CHAT, {...ASK, user: "x".repeat(1000)});
    assert.equal(answer.status, 413);
    assert.match((await answer.json()).error.message, /larger than the 1000 bytes/);

    const {hostname, port} = new URL(url);
    const socket = connect(port, hostname);
    let heard = "";
    socket.on("data", (data) => (heard += data)).on("error", () => {});
    socket.write(`POST ${CHAT} HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{`);
    const drip = setInterval(() => socket.write(" "), 100);
    await until(() => /not complete after 1 s/.test(heard), "the edge gives up");
    clearInterval(drip);
    socket.destroy();
    assert.match(heard, /^HTTP\/1.1 400 /);

    assert.equal(fine.requests.length, 0);
    assert.equal((await post(url + CHAT, ASK)).status, 200);
});

test("neither keys nor prompts are ever logged", async () => {
    let log = "";
    const listen = (stream) => stream.on("data", (data) => (log += data));
    const dead = await scripted(good);
    dead.stop();
    const broken = await keep(scripted((request, response) => {
        response.writeHead(200, {"content-type": "text/event-stream", "x-accel-buffering": "no"});
        response.write("data: {}\n\n");
        setTimeout(() => response.destroy(), 100);
    }));
    const {url, store} = await guarded({}, {
        handleRuntimeStdio: (stdout, stderr) => [stdout, stderr].forEach(listen),
        bindings: {
            NODES: nodes({url: dead.url, secret: "NODE_KEY", models: ["dead"]}, {url: broken.url, models: ["broken"]}),
            NODE_KEY: "key-of-the-node"
        }
    });
    await store.put(sum("key-of-alice"), '{"limiter": "MISSING"}');
    await store.put(sum("key-of-bob"), "no grant");
    await store.put(sum("key-of-carol"), "{}");
    const prompt = "a-secret-prompt";
    for (const key of ["key-of-alice", "key-of-bob", "key-of-carol", "key-of-nobody"]) {
        for (const model of ["dead", "broken", "unknown"]) {
            for (const body of [{model, prompt, max_tokens: 3}, {model, messages: [{role: "user", content: prompt}], stream: true}]) {
                await (await ask(url, key, body, body.prompt ? "/v1/completions" : CHAT)).text();
            }
        }
        await (await ask(url, key, prompt, `/v1/engines/${prompt}/completions?${prompt}`)).text();
    }
    await until(() => log.includes("broke off") && log.includes("limits of a key"), "something was logged");
    for (const secret of ["key-of-", prompt, sum("key-of-alice"), sum("key-of-bob")]) {
        assert.ok(!log.includes(secret), `${secret} in\n${log}`);
    }
});
