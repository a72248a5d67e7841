// Adapters in a tab: loaded from a folder or from files, another one with each request.
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fixture } from "./fixture.mjs";
import { adapter } from "./tiny.mjs";

let world;

before(async () => {
  world = await fixture();
  for (const [name, seed] of [["one", 1], ["two", 2]]) {
    const folder = join(world.models, name);
    await mkdir(folder);
    for (const [file, bytes] of Object.entries(adapter(seed))) await writeFile(join(folder, file), bytes);
  }
});

after(() => world.close());

for (const device of ["cpu", "webgpu"]) test(`each request names an adapter of its own or none (${device})`, async () => {
  const page = await world.open();
  const texts = await page.evaluate(async (device) => {
    const engine = await Tinderbox.load({ model: "/models/tiny.gguf", device });
    const ask = async (adapter) => {
      const answer = await engine.completions.create({ prompt: "hello abc", max_tokens: 12, temperature: 0, adapter });
      return [answer.model, answer.choices[0].text];
    };
    const names = [await engine.adapters.load("/models/one"), await engine.adapters.load("/models/two/", { name: "other" })];
    const turns = [undefined, "one", "other", undefined, "one"];
    const inTurn = [];
    for (const adapter of turns) inTurn.push(await ask(adapter));
    const atOnce = await Promise.all(turns.map(ask));
    await engine.dispose();
    return { names, inTurn, atOnce };
  }, device);
  assert.deepEqual(texts.names, ["one", "other"]);
  const [base, one, other, baseAgain, oneAgain] = texts.inTurn.map(([, text]) => text);
  assert.equal(new Set([base, one, other]).size, 3);
  assert.deepEqual([baseAgain, oneAgain], [base, one]);
  assert.deepEqual(texts.inTurn.map(([model]) => model), ["tiny", "one", "other", "tiny", "one"]);
  assert.deepEqual(texts.atOnce, texts.inTurn);
});

test("an adapter may be files, and what is none is refused by name", async () => {
  const page = await world.open();
  const got = await page.evaluate(async () => {
    const engine = await Tinderbox.load({ model: "/models/tiny.gguf", device: "cpu" });
    const file = async (name) => new File([await (await fetch(`/models/one/${name}`)).blob()], name);
    const files = await Promise.all(["adapter_config.json", "adapter_model.safetensors"].map(file));
    const ask = (adapter) => engine.completions.create({ prompt: "hello abc", max_tokens: 12, temperature: 0, adapter });
    const failure = (promise) => promise.then(() => null, ({ code, message, param }) => ({ code, message, param }));
    await engine.adapters.load("/models/one");
    await engine.adapters.load(files, { name: "mine" });
    const same = [await ask("one"), await ask("mine")].map((answer) => answer.choices[0].text);
    const wrong = new File(["no tensors"], "adapter_model.safetensors");
    await engine.adapters.load([files[0], wrong], { name: "wrong" });
    return {
      same,
      wrong: await failure(ask("wrong")),
      unknown: await failure(ask("nobody")),
      taken: await failure(engine.adapters.load("/models/one")),
      absent: await failure(engine.adapters.load("/models/none")),
      part: await failure(engine.adapters.load([files[0]])),
    };
  });
  assert.equal(got.same[0], got.same[1]);
  assert.match(got.wrong.message, /`wrong` cannot be used: adapter_model\.safetensors/);
  assert.match(got.unknown.message, /`nobody` does not exist/);
  assert.equal(got.taken.code, "invalid_request");
  assert.match(got.taken.message, /"one"/);
  assert.deepEqual([got.absent.code, got.part.code], ["not_found", "invalid_request"]);
});
