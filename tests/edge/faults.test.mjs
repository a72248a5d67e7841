// What goes wrong with an isolate itself: its module traps, its CPU time ends, its model cannot be had.

import assert from "node:assert/strict";
import {execFileSync} from "node:child_process";
import {mkdtempSync, readFileSync, readdirSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {after, before, test} from "node:test";

import {TINDERBOX, edge, good, keep, nodes, post, scripted, smollm2, until} from "./edge.mjs";
import {FAULTS, fault} from "./faults.mjs";

const CHAT = "/v1/chat/completions";
const ASK = {messages: [{role: "user", content: "Hello?"}], max_tokens: 4, temperature: 0};
const file = smollm2();
const skip = file ? false : "SKIP: SmolLM2 was not fetched";

let assets;
before(() => {
    if (!skip) {
        assets = mkdtempSync(join(tmpdir(), "tinderbox-assets-"));
        const folder = join(assets, "models/smollm2");
        execFileSync(TINDERBOX, ["pack", "--model", file, "--embedding", "q4_1", "--out", folder]);
    }
});
after(() => assets && rmSync(assets, {recursive: true, force: true}));

const local = {MODEL: "smollm2", CONTEXT: "512", BUDGET: "256"};

test("after a trap the next request has a new instance", async () => {
    const fine = await keep(scripted(good));
    const {url} = await keep(edge({vars: {NODES: nodes({url: fine.url})}, entry: FAULTS}));
    const first = await post(url + CHAT, ASK);
    assert.equal(first.headers.get("x-instances"), "1");
    for (let instances = 1; instances < 4; instances++) {
        const trapped = await post(url + CHAT, ASK, fault("trap"));
        assert.equal(trapped.status, 500);
        await trapped.text();
        const next = await post(url + CHAT, ASK);
        assert.deepEqual(await next.json(), {from: "good"});
        assert.equal(next.headers.get("x-instances"), String(instances + 1));
    }
});

test("a trap takes the model with it, and the next request loads it anew", {skip}, async () => {
    const {url} = await keep(edge({assets, vars: local, entry: FAULTS}));
    const text = async () => (await (await post(url + CHAT, ASK)).json()).choices[0].message.content;
    const before = await text();
    const trapped = await post(url + CHAT, ASK, fault("trap"));
    assert.equal(trapped.status, 500);
    await trapped.text();
    const {model} = await (await fetch(`${url}/health`)).json();
    assert.equal(model.loaded, false);
    assert.equal(await text(), before);
});

test("near the CPU limit an answer ends with `length`, and the next is whole", {skip}, async () => {
    const {url} = await keep(edge({assets, vars: local, entry: FAULTS}));
    const story = {messages: [{role: "user", content: "Tell me a long story."}], max_tokens: 200, temperature: 0};
    const response = await post(url + CHAT, {...story, stream: true, stream_options: {include_usage: true}});
    let text = "";
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        const before = text.length;
        text += chunk;
        if (before === 0) {
            await fetch(`${url}/health`, fault("cpu"));
        }
    }
    const events = text.split("\n\n").filter((line) => line.startsWith("data: {")).map((line) => JSON.parse(line.slice(6)));
    assert.equal(events.findLast(({choices}) => choices.length).choices[0].finish_reason, "length");
    const {completion_tokens: tokens} = events.at(-1).usage;
    assert.ok(tokens > 0 && tokens < 100, `${tokens} tokens`);
    assert.match(text, /data: \[DONE\]\n\n$/);
    await fetch(`${url}/health`, fault("rest"));
    const {choices: [choice]} = await (await post(url + CHAT, {...story, max_tokens: 8})).json();
    assert.equal(choice.finish_reason, "length");
    assert.ok(choice.message.content.length > 8);
});

test("a model that is not there is said, and the next who asks tries again", {skip}, async () => {
    const {url} = await keep(edge({vars: {...local, MODEL: "missing"}}));
    for (let n = 0; n < 2; n++) {
        const answer = await post(url + CHAT, ASK);
        assert.equal(answer.status, 500);
        assert.match((await answer.json()).error.message, /missing could not be loaded: models\/missing\/manifest.json/);
    }
});

test("a load that never ends is taken over by a later request", {skip}, async () => {
    let asked = 0;
    const store = ({url}) => {
        asked += 1;
        return asked === 1 ? new Promise(() => {}) : new Response(readFileSync(join(assets, new URL(url).pathname)));
    };
    const {url} = await keep(edge({assets: false, vars: local, entry: FAULTS, options: {serviceBindings: {ASSETS: store}}}));
    const controller = new AbortController();
    const first = post(url + CHAT, ASK, {signal: controller.signal}).catch(() => {});
    await until(() => asked === 1, "it loads");
    controller.abort();
    await first;
    const answer = await post(url + CHAT, ASK, fault("minute"));
    assert.equal(answer.status, 200, await answer.clone().text());
    assert.equal(answer.headers.get("x-instances"), "1");
});

test("a sequence whose client leaves is free, with the model in a bucket and nothing in front", {skip}, async () => {
    const it = await keep(edge({assets: false, vars: local, options: {r2Buckets: ["MODELS"]}}));
    const bucket = await it.instance.getR2Bucket("MODELS");
    const folder = "models/smollm2";
    for (const name of readdirSync(join(assets, folder))) {
        await bucket.put(`${folder}/${name}`, new Uint8Array(readFileSync(join(assets, folder, name))).buffer);
    }
    const running = async () => {
        const text = await (await fetch(`${it.url}/metrics`)).text();
        return Number(/^tinderbox_running_sequences\{.*\} (\d+)$/m.exec(text)?.[1]);
    };
    const controller = new AbortController();
    const long = {messages: [{role: "user", content: "Tell me a long story."}], max_tokens: 400, temperature: 0};
    const response = await post(it.url + CHAT, {...long, stream: true}, {signal: controller.signal});
    await response.body.getReader().read();
    assert.equal(await running(), 1);
    controller.abort();
    // Less than the answer would take.
    await until(async () => await running() === 0, "it is free", 5);
    assert.equal((await post(it.url + CHAT, ASK)).status, 200);
});

for (const [kind, options] of [["R2", {r2Buckets: ["MODELS"]}], ["KV", {kvNamespaces: ["MODELS"]}]]) {
    test(`a model is loaded from ${kind} as from the assets`, {skip}, async () => {
        const it = await keep(edge({vars: local, options}));
        const store = kind === "R2" ? await it.instance.getR2Bucket("MODELS") : await it.instance.getKVNamespace("MODELS");
        const folder = "models/smollm2";
        const empty = await post(it.url + CHAT, ASK);
        assert.match((await empty.json()).error.message, /manifest.json: not found/);
        for (const name of readdirSync(join(assets, folder))) {
            await store.put(`${folder}/${name}`, new Uint8Array(readFileSync(join(assets, folder, name))).buffer);
        }
        const from = await keep(edge({assets, vars: local}));
        const [here, there] = await Promise.all([it, from].map(async ({url}) => (await post(url + CHAT, ASK)).json()));
        assert.deepEqual(here.choices, there.choices);
        await until(async () => (await (await fetch(`${it.url}/health`)).json()).model.loaded, "it is loaded");
    });
}
