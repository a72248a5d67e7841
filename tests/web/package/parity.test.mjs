// The browser's tokens are those of the native engine, which those of transformers are compared with elsewhere.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fixture, SMOLLM2 } from "./fixture.mjs";

const binary = process.env.TINDERBOX ?? resolve(import.meta.dirname, "../../../target/release/tinderbox");
const TINY_PROMPTS = ["hello abc", "x y", "the quick brown fox"];

let world;

before(async () => (world = await fixture()));

after(() => world.close());

/** `tokens` greedy ones after each prompt. */
const greedy = (page, options, prompts, tokens) => page.evaluate(async ([options, prompts, tokens]) => {
  const blocked = [];
  new PerformanceObserver((list) => blocked.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  const started = performance.now();
  const engine = await Tinderbox.load(options);
  const loadMs = Math.round(performance.now() - started);
  const answers = [];
  for (const prompt of prompts) answers.push(await engine.completions.create({ prompt, max_tokens: tokens, temperature: 0, logprobs: 0 }));
  const report = await engine.report();
  window.engine = engine;
  return { loadMs, report, blocked, usage: answers[0].usage, choices: answers.map(({ choices }) => choices[0]) };
}, [options, prompts, tokens]);

/** Answers of the native server on the CPU. */
async function native(model, prompts, tokens) {
  const server = spawn(binary, ["serve", "--port", "0", "--device", "cpu", "--model", model], { stdio: ["ignore", "pipe", "pipe"] });
  try {
    const url = await new Promise((found, failed) => {
      const hear = (line) => line.match(/http:\/\/[\d.]+:\d+/) && found(line.match(/http:\/\/[\d.]+:\d+/)[0]);
      for (const stream of [server.stdout, server.stderr]) createInterface({ input: stream }).on("line", hear);
      server.on("exit", (code) => failed(new Error(`the server ended with ${code}`)));
    });
    const answers = prompts.map(async (prompt) => {
      const body = JSON.stringify({ prompt, max_tokens: tokens, temperature: 0, logprobs: 0 });
      const response = await fetch(`${url}/v1/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
      return (await response.json()).choices[0];
    });
    return await Promise.all(answers);
  } finally {
    server.kill();
  }
}

for (const device of ["cpu", "webgpu"]) {
  test(`32 greedy tokens of a made-up model on ${device} are the native CPU's`, async (t) => {
    if (!existsSync(binary)) return t.skip(`no ${binary} (TINDERBOX names another)`);
    const [here, there] = [
      await greedy(await world.open(), { model: "/models/tiny.gguf", device }, TINY_PROMPTS, 32),
      await native(join(world.models, "tiny.gguf"), TINY_PROMPTS, 32),
    ];
    assert.equal(here.report.device, device);
    assert.deepEqual(here.choices.map(({ logprobs }) => logprobs.tokens), there.map(({ logprobs }) => logprobs.tokens));
    assert.equal(here.choices[0].logprobs.tokens.length, 32);
  });
}

/** Largest tensor: the embedding, 49,152 rows of 576 columns in Q8_0. And 64 MiB. */
const HEAP_BOUND = (49152 * 576 * 34) / 32 + (64 << 20);

for (const [device, tokens] of [["cpu", 32], ["webgpu", 16]]) {
  test(`${tokens} greedy tokens of SmolLM2 on ${device} are the native CPU's, and the heap is bounded`, async (t) => {
    if (!world.real) return t.skip("the model is not here");
    if (!existsSync(binary)) return t.skip(`no ${binary} (TINDERBOX names another)`);
    const prompts = ["The sky is blue and the grass is"];
    const options = { model: "smollm2-135m-instruct", device, contextLength: 512 };
    const page = await world.open();
    const { loadMs, report, blocked, usage, choices: [here] } = await greedy(page, options, prompts, tokens);
    const [there] = await native(join(world.real, SMOLLM2), prompts, tokens);
    assert.equal(here.logprobs.tokens.length, tokens);
    assert.deepEqual(here.logprobs.tokens, there.logprobs.tokens);
    assert.equal(here.text, there.text);
    here.logprobs.token_logprobs.forEach((logprob, at) => {
      const difference = Math.abs(logprob - there.logprobs.token_logprobs[at]);
      assert.ok(difference < 0.02, `token ${at}: ${difference}`);
    });
    assert.equal(report.device, device);
    assert.equal(usage.completion_tokens, tokens);
    // On the CPU the weights themselves are in the heap.
    const bound = device === "webgpu" ? HEAP_BOUND : HEAP_BOUND + report.memory.weights;
    assert.ok(report.memory.heap <= bound, `${report.memory.heap} bytes, bound ${bound}`);
    t.diagnostic(`loaded in ${loadMs} ms, then ${usage.timings.tokens_per_second.toFixed(2)} tokens/s; ${JSON.stringify(report.memory)}`);
    t.diagnostic(`tasks that kept the page from a frame: ${JSON.stringify(blocked)} ms`);
  });
}

test("the console has no error", () => assert.deepEqual(world.complaints, []));
