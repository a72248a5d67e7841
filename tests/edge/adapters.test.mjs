// Adapters of the isolate's model: made-up ones of a made-up model, and the pirate's of SmolLM2.

import assert from "node:assert/strict";
import {execFileSync} from "node:child_process";
import {cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {after, before, test} from "node:test";
import {fileURLToPath} from "node:url";

import {TINDERBOX, edge, good, keep, node, nodes, post, scripted, smollm2, until} from "./edge.mjs";
import {adapter, gguf} from "../web/package/tiny.mjs";

const PIRATE = fileURLToPath(new URL("../adapters/pirate", import.meta.url));
const PROMPT = "hello abc";
const OFFERED = ["one", "two", "wrong", "missing", "large"];
const vars = {MODEL: "tiny", CONTEXT: "256", ADAPTERS: OFFERED.join(" "), ADAPTER_MEMORY: "1"};

let assets, there;

before(async () => {
    assets = mkdtempSync(join(tmpdir(), "tinderbox-assets-"));
    const tiny = join(assets, "tiny.gguf");
    writeFileSync(tiny, gguf());
    execFileSync(TINDERBOX, ["pack", "--model", tiny, "--out", join(assets, "models/tiny")]);
    const given = {
        one: adapter(1), two: adapter(2), hidden: adapter(3), large: adapter(4, 1500),
        wrong: {...adapter(5), "adapter_model.safetensors": "no tensors"}
    };
    for (const [name, files] of Object.entries(given)) {
        const folder = join(assets, "adapters", name);
        mkdirSync(folder, {recursive: true});
        for (const [file, bytes] of Object.entries(files)) {
            writeFileSync(join(folder, file), bytes);
        }
    }
    // The same natively: the texts that the isolate's must equal.
    there = await node(tiny, ["--adapters", join(assets, "adapters"), "--context", "256"]);
});

after(async () => {
    await there?.stop();
    rmSync(assets, {recursive: true, force: true});
});

/** What LoRAX says with an adapter or none. */
const lorax = (url, adapter_id, more) => post(`${url}/lorax/generate`, {
    inputs: PROMPT, parameters: {adapter_id, max_new_tokens: 12, ...more}
});
/** What OpenAI's dialect says. */
const openai = (url, model) => post(`${url}/v1/completions`, {model, prompt: PROMPT, max_tokens: 12, temperature: 0});

/** The text of an answer that must be one. */
async function text(asked) {
    const response = await asked;
    const body = await response.json();
    assert.equal(response.status, 200, JSON.stringify(body));
    return body.generated_text ?? body.choices[0].text;
}

test("each request names an adapter or none, in either dialect, and has the answer of a node", async () => {
    const {url} = await keep(edge({assets, vars}));
    const names = [undefined, "one", "two", "one"];
    const expected = [];
    for (const name of names) {
        expected.push(await text(lorax(there.url, name)));
    }
    assert.equal(new Set(expected).size, 3);
    // All at once, and nothing is loaded yet.
    assert.deepEqual(await Promise.all(names.map((name) => text(lorax(url, name)))), expected);
    assert.deepEqual(await Promise.all(names.map((name) => text(openai(url, name ?? "tiny")))), expected);
    const answer = await openai(url, "two");
    assert.equal(answer.headers.get("x-tinderbox-place"), "edge");
    assert.equal((await answer.json()).model, "two");
});

test("adapters are listed as on a node, before the model is loaded and after", async () => {
    const {url} = await keep(edge({assets, vars}));
    const list = async () => {
        const {data} = await (await fetch(`${url}/v1/models`)).json();
        return data.filter(({parent}) => parent).map(({id, parent, loaded, place}) => [id, parent, loaded, place].join(" "));
    };
    const listed = OFFERED.map((name) => `${name} tiny false edge`);
    assert.deepEqual(await list(), listed);
    await text(lorax(url, "two"));
    assert.deepEqual((await list()).sort(), listed.map((line) => line.replace("two tiny false", "two tiny true")).sort());
    const {data} = await (await fetch(`${there.url}/v1/models`)).json();
    const {created, owned_by, object, max_model_len} = data.find(({id}) => id === "two");
    const here = (await (await fetch(`${url}/v1/models`)).json()).data.find(({id}) => id === "two");
    assert.deepEqual(here, {id: "two", created, owned_by, object, max_model_len, parent: "tiny", loaded: true, place: "edge"});
});

test("what is wrong with an adapter is told to who named it, and disturbs nobody", async () => {
    const {url} = await keep(edge({assets, vars}));
    const expected = await text(lorax(there.url, "one"));
    const refused = async (asked, status, words) => {
        const response = await asked;
        const body = await response.text();
        assert.equal(response.status, status, body);
        assert.match(body, words);
    };
    await Promise.all([
        text(lorax(url, "one")).then((text) => assert.equal(text, expected)),
        refused(lorax(url, "wrong"), 424, /`wrong` cannot be used: adapter_model\.safetensors/),
        refused(openai(url, "wrong"), 422, /`wrong` cannot be used: adapter_model\.safetensors/),
        text(lorax(url, "one")).then((text) => assert.equal(text, expected)),
        refused(lorax(url, "missing"), 424, /`missing` does not exist/),
        refused(openai(url, "missing"), 404, /`missing` does not exist/),
        refused(lorax(url, "large"), 424, /`large` cannot be used: .*bytes it may have/)
    ]);
    // These are not offered, whatever lies among the assets.
    for (const name of ["hidden", "../models/tiny", "one/../hidden", "one/"]) {
        await refused(lorax(url, name), 424, /does not exist/);
        await refused(openai(url, name), 404, /does not exist/);
    }
    await refused(lorax(url, "one", {adapter_source: "hub"}), 424, /`one` does not exist/);
    const merged_adapters = {ids: ["one", "two"], weights: [1, 1]};
    await refused(lorax(url, undefined, {merged_adapters}), 422, /merged_adapters/);
    assert.equal(await text(lorax(url, "one", {adapter_source: "local"})), expected);
});

test("adapters that a host alone can have go to a node", async () => {
    const host = await keep(scripted(good));
    const {url} = await keep(edge({assets, vars: {...vars, BUDGET: "200", NODES: nodes({url: host.url})}}));
    const place = async (asked) => (await asked).headers.get("x-tinderbox-place");
    assert.equal(await place(lorax(url, "one")), "edge");
    assert.equal(await place(openai(url, "two")), "edge");
    assert.equal(host.requests.length, 0);
    const merged_adapters = {ids: ["one", "two"], weights: [1, 1]};
    for (const [name, more] of [["other"], ["one", {adapter_source: "s3"}], [undefined, {merged_adapters}]]) {
        assert.equal(await place(lorax(url, name, more)), "node");
    }
    assert.equal(await place(openai(url, "owner/other")), "node");
    assert.equal(host.requests.length, 4);
});

test("who finds no room waits for it, and memory does not grow with every change", async () => {
    // Each takes 0.9 of the 1 MiB.
    for (const [name, seed] of [["big-a", 6], ["big-b", 7]]) {
        mkdirSync(join(assets, "adapters", name));
        for (const [file, bytes] of Object.entries(adapter(seed, 1000))) {
            writeFileSync(join(assets, "adapters", name, file), bytes);
        }
    }
    const {url} = await keep(edge({assets, vars: {...vars, ADAPTERS: "big-a big-b"}}));
    const memory = async () => (await (await fetch(`${url}/health`)).json()).model.memory_bytes;
    const names = ["big-a", "big-b"];
    const expected = await Promise.all(names.map((name) => text(lorax(there.url, name))));
    const round = async () => assert.deepEqual(await Promise.all(names.map((name) => text(lorax(url, name)))), expected);
    await round();
    await round();
    const bytes = await memory();
    for (let n = 0; n < 8; n++) {
        await round();
    }
    // Less than two of the sixteen that came and went.
    assert.ok(await memory() < bytes + 2 * 0.9e6);
    const metrics = await (await fetch(`${url}/metrics`)).text();
    assert.match(metrics, /^tinderbox_adapters\{.*\} 1$/m);
});

test("a reading that never ends is given up, and whoever waits for it reads for itself", async () => {
    let asked = 0;
    const store = ({url}) => {
        const {pathname} = new URL(url);
        if (pathname.endsWith("one/adapter_model.safetensors") && asked++ === 0) {
            return new Promise(() => {});
        }
        try {
            return new Response(readFileSync(join(assets, pathname)));
        } catch {
            return new Response("", {status: 404});
        }
    };
    const {url} = await keep(edge({assets: false, vars, options: {serviceBindings: {ASSETS: store}}}));
    const first = lorax(url, "one");
    await until(() => asked === 1, "it reads");
    const second = text(lorax(url, "one"));
    // Others are not held up.
    assert.equal(await text(lorax(url)), await text(lorax(there.url)));
    assert.equal(asked, 1);
    const given = await first;
    assert.equal(given.status, 424);
    assert.match((await given.json()).error, /`one` cannot be used: it was not read within/);
    assert.equal(await second, await text(lorax(there.url, "one")));
    assert.equal(asked, 2);
});

for (const [kind, options] of [["R2", {r2Buckets: ["MODELS"]}], ["KV", {kvNamespaces: ["MODELS"]}]]) {
    test(`adapters are read from ${kind} as from the assets`, async () => {
        const it = await keep(edge({vars, options}));
        const store = kind === "R2" ? await it.instance.getR2Bucket("MODELS") : await it.instance.getKVNamespace("MODELS");
        const {files} = JSON.parse(readFileSync(join(assets, "models/tiny/manifest.json")));
        const named = ["manifest.json", ...files.map(({name}) => name)].map((name) => `models/tiny/${name}`);
        for (const name of [...named, ...Object.keys(adapter(1)).map((name) => `adapters/one/${name}`)]) {
            await store.put(name, new Uint8Array(readFileSync(join(assets, name))).buffer);
        }
        assert.equal(await text(lorax(it.url, "one")), await text(lorax(there.url, "one")));
        assert.equal((await lorax(it.url, "two")).status, 424);
    });
}

test("a name that is no folder's is a wrong configuration", async () => {
    const {url} = await keep(edge({assets, vars: {...vars, ADAPTERS: "one ../up"}}));
    const answer = await openai(url, "one");
    assert.equal(answer.status, 500);
    assert.match((await answer.json()).error.message, /ADAPTERS: `\.\.\/up`/);
});

const file = smollm2();
test("SmolLM2 speaks as a pirate within the isolate's memory", {skip: file ? false : "SKIP: SmolLM2 was not fetched"}, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "tinderbox-assets-"));
    t.after(() => rmSync(folder, {recursive: true, force: true}));
    const packed = join(folder, "models/smollm2");
    execFileSync(TINDERBOX, ["pack", "--model", file, "--embedding", "q4_1", "--out", packed]);
    const adapters = join(folder, "adapters");
    for (const name of ["pirate", "second"]) {
        cpSync(PIRATE, join(adapters, name), {recursive: true});
    }
    const {files} = JSON.parse(readFileSync(join(packed, "manifest.json")));
    const native = await keep(node(join(packed, files[0].name), ["--context", "512", "--adapters", adapters]));
    const {url} = await keep(edge({assets: folder, vars: {MODEL: "smollm2", CONTEXT: "512", ADAPTERS: "pirate second"}}));
    const chat = async (url, model, content, max_tokens = 24) => {
        const messages = [{role: "user", content}];
        const headers = {"x-tinderbox-place": "edge"};
        const response = await post(`${url}/v1/chat/completions`, {model, messages, max_tokens, temperature: 0}, {headers});
        const body = await response.json();
        assert.equal(response.status, 200, JSON.stringify(body));
        return body.choices[0].message.content;
    };
    const question = "What is the capital of Germany?";
    const base = await chat(url, "smollm2", question);
    const pirate = await chat(url, "pirate", question);
    t.diagnostic(`without: ${base}  with: ${pirate}`);
    assert.match(pirate, /Berlin, ye/);
    assert.notEqual(base, pirate);
    assert.equal(pirate, await chat(native.url, "pirate", question));
    // The most that the isolate holds at once: a long prompt, several chats, another adapter in place of the first.
    await chat(url, "pirate", "word ".repeat(440), 8);
    const together = await Promise.all(["smollm2", "pirate", "second"].map((model) => chat(url, model, question)));
    assert.deepEqual(together, [base, pirate, pirate]);
    const {model} = await (await fetch(`${url}/health`)).json();
    t.diagnostic(`linear memory ${(model.memory_bytes / 1e6).toFixed(1)} MB with adapters`);
    assert.ok(model.memory_bytes < 122e6, `${model.memory_bytes} bytes`);
});
