// The browser's tokens are those of the native engine, which those of transformers are compared with elsewhere.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { noNative, serveNative } from "../native.mjs";
import { isolated } from "../server.mjs";
import { CSP, fixture, SMOLLM2 } from "./fixture.mjs";

const TINY_PROMPTS = ["hello abc", "x y", "the quick brown fox"];
/**
 * Milliseconds of one task. A frame has 16, and an idle machine shows no task above 50; but where a software GPU and a
 * compiler share two cores, a page that does nothing was seen to wait for 400. Loading on the page would take seconds.
 */
const BLOCKED = 1000;

let world;
/** Its pages are cross-origin isolated, so that the CPU has threads. */
let apart;

before(async () => {
  world = await fixture();
  apart = await fixture({ headers: { "content-security-policy": CSP, ...isolated } });
});

after(() => Promise.all([world.close(), apart.close()]));

/**
 * `tokens` greedy ones after each prompt: `plain`, as the device's own arg-max chooses them, and with log-probabilities,
 * for which the logits come to the host.
 */
const greedy = (page, options, prompts, tokens) => page.evaluate(async ([options, prompts, tokens]) => {
  const blocked = [];
  new PerformanceObserver((list) => blocked.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  const frames = [];
  requestAnimationFrame(function frame(time) {
    frames.push(time);
    requestAnimationFrame(frame);
  });
  const started = performance.now();
  const engine = await Tinderbox.load(options);
  const loadMs = Math.round(performance.now() - started);
  const answers = [];
  const plain = [];
  for (const prompt of prompts) {
    const params = { prompt, max_tokens: tokens, temperature: 0 };
    answers.push(await engine.completions.create({ ...params, logprobs: 0 }));
    plain.push((await engine.completions.create(params)).choices[0].text);
  }
  const report = await engine.report();
  window.engine = engine;
  const gaps = frames.slice(1).map((time, at) => Math.round(time - frames[at])).sort((a, b) => b - a);
  return { loadMs, report, blocked, gaps, plain, usage: answers[0].usage, choices: answers.map(({ choices }) => choices[0]) };
}, [options, prompts, tokens]);

/** The same of the native server on the CPU. */
async function native(model, prompts, tokens) {
  const server = await serveNative(model);
  const ask = async (params) => {
    const body = JSON.stringify({ max_tokens: tokens, temperature: 0, ...params });
    const response = await fetch(`${server.url}/v1/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
    return (await response.json()).choices[0];
  };
  try {
    return {
      choices: await Promise.all(prompts.map((prompt) => ask({ prompt, logprobs: 0 }))),
      plain: (await Promise.all(prompts.map((prompt) => ask({ prompt })))).map(({ text }) => text),
    };
  } finally {
    server.close();
  }
}

/** The engine works elsewhere: no task of the page's own takes long. */
function checkFrames(t, { blocked, gaps }) {
  t.diagnostic(`longest times between two frames: ${gaps.slice(0, 5)} ms, of ${gaps.length}; long tasks of the page: ${JSON.stringify(blocked)} ms`);
  assert.deepEqual(blocked.filter((duration) => duration > BLOCKED), []);
}

for (const [device, threads] of [["cpu", 1], ["cpu", 2], ["webgpu", 1]]) {
  test(`32 greedy tokens of a made-up model on ${device} with ${threads} threads are the native CPU's`, async (t) => {
    if (noNative) return t.skip(noNative);
    const [here, there] = [
      await greedy(await (threads > 1 ? apart : world).open(), { model: "/models/tiny.gguf", device, threads }, TINY_PROMPTS, 32),
      await native(join(world.models, "tiny.gguf"), TINY_PROMPTS, 32),
    ];
    assert.equal(here.report.device, device);
    assert.equal(here.report.threads, threads);
    assert.deepEqual(here.choices.map(({ logprobs }) => logprobs.tokens), there.choices.map(({ logprobs }) => logprobs.tokens));
    assert.equal(here.choices[0].logprobs.tokens.length, 32);
    assert.deepEqual(here.plain, there.plain);
    checkFrames(t, here);
  });
}

/** Largest tensor: the embedding, 49,152 rows of 576 columns in Q8_0. And 64 MiB. */
const HEAP_BOUND = (49152 * 576 * 34) / 32 + (64 << 20);

for (const [device, tokens, threads] of [["cpu", 32, 1], ["cpu", 32, 2], ["webgpu", 16, 1]]) {
  test(`${tokens} greedy tokens of SmolLM2 on ${device} with ${threads} threads are the native CPU's, and the heap is bounded`, async (t) => {
    if (!world.real) return t.skip("the model is not here");
    if (noNative) return t.skip(noNative);
    const prompts = ["The sky is blue and the grass is"];
    const options = { model: "smollm2-135m-instruct", device, threads, contextLength: 512 };
    const page = await (threads > 1 ? apart : world).open();
    const found = await greedy(page, options, prompts, tokens);
    const { loadMs, report, usage, plain, choices: [here] } = found;
    const { plain: [nativePlain], choices: [there] } = await native(join(world.real, SMOLLM2), prompts, tokens);
    assert.equal(here.logprobs.tokens.length, tokens);
    assert.deepEqual(here.logprobs.tokens, there.logprobs.tokens);
    assert.equal(here.text, there.text);
    assert.deepEqual(plain, [nativePlain]);
    here.logprobs.token_logprobs.forEach((logprob, at) => {
      const difference = Math.abs(logprob - there.logprobs.token_logprobs[at]);
      assert.ok(difference < 0.02, `token ${at}: ${difference}`);
    });
    assert.equal(report.device, device);
    assert.equal(report.threads, threads);
    assert.equal(usage.completion_tokens, tokens);
    // On the CPU the weights themselves are in the heap.
    const bound = device === "webgpu" ? HEAP_BOUND : HEAP_BOUND + report.memory.weights;
    assert.ok(report.memory.heap <= bound, `${report.memory.heap} bytes, bound ${bound}`);
    t.diagnostic(`loaded in ${loadMs} ms, then ${usage.timings.tokens_per_second.toFixed(2)} tokens/s; ${JSON.stringify(report.memory)}`);
    checkFrames(t, found);
  });
}

test("the console has no error", () => assert.deepEqual([...world.complaints, ...apart.complaints], []));
