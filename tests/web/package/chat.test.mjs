// The engine's interface, on a made-up model: what a device could change on both of them, the rest on the CPU.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fixture } from "./fixture.mjs";

const DEVICES = ["cpu", "webgpu"];

let world;
let page;
const pages = {};

before(async () => {
  world = await fixture();
  for (const device of DEVICES) pages[device] = await open(device);
  page = pages.cpu;
});

async function open(device) {
  const page = await world.open();
  await page.evaluate(async (device) => {
    window.engine = await Tinderbox.load({ model: "/models/tiny.gguf", device });
    window.ask = (params, options) => engine.completions.create({ prompt: "hello abc", max_tokens: 12, temperature: 0, ...params }, options);
    window.messages = [{ role: "user", content: "hello abc" }];
    window.textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.text ?? "").join("");
  }, device);
  return page;
}

after(() => world.close());

for (const device of DEVICES) test(`a chat's stream and its whole answer are the same text (${device})`, async () => {
  const { whole, chunks } = await pages[device].evaluate(async () => {
    const params = { messages, max_tokens: 12, temperature: 0 };
    const whole = await engine.chat.completions.create(params);
    return { whole, chunks: await all(await engine.chat.completions.create({ ...params, stream: true })) };
  });
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), whole.choices[0].message.content);
  assert.equal(whole.object, "chat.completion");
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.equal(whole.place, "browser");
  assert.ok(chunks.length > 12, "a chunk for each token");
  for (const { usage } of [whole, chunks.at(-1)]) {
    assert.equal(usage.completion_tokens, 12);
    assert.ok(usage.timings.first_token_ms > 0);
    assert.ok(usage.timings.total_ms >= usage.timings.first_token_ms);
    assert.ok(usage.timings.tokens_per_second > 0);
  }
});

test("a whole answer is what the router makes of it", async () => {
  const [put, routed] = await page.evaluate(async () => {
    const params = { prompt: "hello abc", max_tokens: 12, temperature: 0, logprobs: 2, n: 2, seed: 5, stop: ["zz"] };
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(params) };
    return [await ask(params), await (await engine.fetch("/v1/completions", init)).json()];
  });
  assert.deepEqual(put.choices, routed.choices);
  const { timings, ...usage } = put.usage;
  assert.deepEqual(usage, routed.usage);
});

for (const device of DEVICES) test(`an answer that is aborted ends, and the next is whole (${device})`, async () => {
  const { error, taken, next } = await pages[device].evaluate(async () => {
    const controller = new AbortController();
    let taken = 0;
    const error = await caught((async () => {
      for await (const _ of await ask({ stream: true, max_tokens: 480 }, { signal: controller.signal })) {
        if (++taken === 5) controller.abort();
      }
    })());
    return { error, taken, next: await ask() };
  });
  assert.deepEqual([error.code, error.name, error.ours], ["aborted", "AbortError", true]);
  assert.ok(taken < 400, `${taken} chunks came`);
  assert.equal(next.usage.completion_tokens, 12);
});

for (const device of DEVICES) test(`an abort before the first token, and one before the call, are heard (${device})`, async () => {
  const codes = await pages[device].evaluate(async () => {
    const controller = new AbortController();
    const running = caught(ask({ max_tokens: 480 }, { signal: controller.signal }));
    setTimeout(() => controller.abort(), 30);
    return [(await running).code, (await caught(ask({}, { signal: AbortSignal.abort() }))).code];
  });
  assert.deepEqual(codes, ["aborted", "aborted"]);
});

test("a stream whose loop is left frees its sequence", async () => {
  const text = await page.evaluate(async () => {
    // More than the engine runs and queues at once: only freed ones make room.
    for (let round = 0; round < 80; round++) {
      for await (const _ of await ask({ stream: true, max_tokens: 480 })) break;
    }
    return (await ask()).choices[0].text;
  });
  assert.ok(text.length > 0);
});

test("a whole answer that is given up is not computed to its end", async () => {
  const tokens = await page.evaluate(async () => {
    const metric = async (name) => {
      const text = await (await engine.fetch("/metrics")).text();
      return Number(new RegExp(`^${name}(?:{.*})? (\\d+)`, "m").exec(text)?.[1] ?? 0);
    };
    const until = async (name, holds) => {
      for (let tries = 0; tries < 2000 && !holds(await metric(name)); tries++);
    };
    const before = await metric("tinderbox_generated_tokens_total");
    const controller = new AbortController();
    const answer = caught(engine.fetch("/v1/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      // So many that they are not done before the abort is heard.
      body: JSON.stringify({ prompt: "hello", max_tokens: 480, n: 16 }),
      signal: controller.signal,
    }));
    await until("tinderbox_generated_tokens_total", (count) => count > before);
    controller.abort();
    await until("tinderbox_running_sequences", (count) => count === 0);
    return { error: (await answer).code, count: (await metric("tinderbox_generated_tokens_total")) - before };
  });
  assert.equal(tokens.error, "aborted");
  assert.ok(tokens.count < 16 * 480, `${tokens.count} tokens`);
});

for (const device of DEVICES) test(`two requests at once have the answers they have alone (${device})`, async () => {
  const { alone, together } = await pages[device].evaluate(async () => {
    const one = () => ask({ prompt: "hello", max_tokens: 40, stream: true }).then(all);
    const two = () => ask({ prompt: "abc x", max_tokens: 40, stream: true }).then(all);
    const alone = [await one(), await two()].map(textOf);
    return { alone, together: (await Promise.all([one(), two()])).map(textOf) };
  });
  assert.deepEqual(together, alone);
});

for (const device of DEVICES) test(`log-probabilities come with whole and streamed answers (${device})`, async () => {
  const { whole, chunks, text } = await pages[device].evaluate(async () => {
    const params = { messages, max_tokens: 6, temperature: 0, logprobs: true, top_logprobs: 3 };
    return {
      whole: await engine.chat.completions.create(params),
      chunks: await all(await engine.chat.completions.create({ ...params, stream: true })),
      text: await ask({ logprobs: 2, max_tokens: 6 }),
    };
  });
  const { content } = whole.choices[0].logprobs;
  assert.equal(content.length, 6);
  for (const token of content) {
    assert.ok(token.logprob <= 0);
    assert.equal(token.top_logprobs.length, 3);
    assert.equal(token.top_logprobs[0].token, token.token);
  }
  assert.deepEqual(chunks.flatMap((chunk) => chunk.choices[0]?.logprobs?.content ?? []), content);
  assert.equal(text.choices[0].logprobs.tokens.length, 6);
});

test("a seed repeats an answer, another changes it", async () => {
  const [first, again, other] = await page.evaluate(async () => {
    const seeded = async (seed) => (await ask({ temperature: 1, max_tokens: 30, seed })).choices[0].text;
    return [await seeded(1), await seeded(1), await seeded(2)];
  });
  assert.equal(first, again);
  assert.notEqual(first, other);
});

test("a stop string ends an answer before it", async () => {
  const { free, stopped } = await page.evaluate(async () => {
    const free = (await ask()).choices[0].text;
    return { free, stopped: (await ask({ stop: free.slice(4, 6) })).choices[0] };
  });
  assert.equal(stopped.text, free.slice(0, free.indexOf(free.slice(4, 6))));
  assert.equal(stopped.finish_reason, "stop");
});

test("the server's own options are taken too", async () => {
  const [free, kept, ended, short] = await page.evaluate(async () => {
    const free = (await ask()).choices[0].text;
    const [stop] = await engine.tokenize(free, { addSpecialTokens: false });
    return [
      free,
      (await ask({ stop: free.slice(4, 6), include_stop_str_in_output: true })).choices[0].text,
      (await ask({ stop_token_ids: [stop] })).choices[0],
      await engine.chat.completions.create({ messages, max_completion_tokens: 3, min_tokens: 3, ignore_eos: true, skip_special_tokens: false }),
    ];
  });
  assert.equal(kept, free.slice(0, free.indexOf(free.slice(4, 6)) + 2));
  assert.deepEqual([ended.text, ended.finish_reason], ["", "stop"]);
  assert.equal(short.usage.completion_tokens, 3);
});

test("n answers have an index each", async () => {
  const answer = await page.evaluate(() => engine.chat.completions.create({ messages, max_tokens: 8, temperature: 1, seed: 3, n: 3 }));
  assert.deepEqual(answer.choices.map(({ index }) => index), [0, 1, 2]);
  assert.equal(answer.usage.completion_tokens, 24);
});

test("a wrong field is named", async () => {
  const errors = await page.evaluate(async () => [
    await caught(ask({ temperature: -1 })),
    await caught(ask({ temperature: -1, stream: true })),
    await caught(engine.chat.completions.create({ messages: [] })),
    await caught(Tinderbox.load({ model: "/models/tiny.gguf", device: "abacus" })),
    await caught(Tinderbox.load({ model: "/models/tiny.gguf", contextLength: -1 })),
    await caught(Tinderbox.load({ model: "/models/tiny.gguf", sha256: "abc" })),
    await caught(Tinderbox.load({ model: [] })),
    await caught(Tinderbox.load({ model: "/models/tiny.gguf", place: "auto" })),
  ]);
  for (const error of errors) assert.deepEqual([error.code, error.ours], ["invalid_request", true], error.message);
  assert.deepEqual(errors.map(({ param }) => param),
    ["temperature", "temperature", "messages", "device", "contextLength", "sha256", "model", "endpoint"]);
  assert.match(errors[0].message, /temperature: -1 is not in/);
});

test("tokens and text go both ways", async () => {
  const { tokens, bare, chat, text } = await page.evaluate(async () => {
    const bare = await engine.tokenize("hello abc", { addSpecialTokens: false });
    return { tokens: await engine.tokenize("hello abc"), bare, chat: await engine.tokenize(messages), text: await engine.detokenize(bare) };
  });
  assert.deepEqual(tokens, [1, ...bare]);
  assert.equal(text, "hello abc");
  assert.ok(chat.length > bare.length);
});

test("the router answers on every dialect's paths", async () => {
  const { models, missing, texts } = await page.evaluate(async () => ({
    models: await (await engine.fetch("/v1/models")).json(),
    missing: (await engine.fetch("/v1/nothing")).status,
    texts: await (await engine.fetch("/generate", {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ inputs: "hello", parameters: { max_new_tokens: 4 } }),
    })).json(),
  }));
  assert.equal(models.data[0].id, "tiny");
  assert.equal(missing, 404);
  assert.ok(texts.generated_text.length > 0);
});

test("a report says what computes", async () => {
  const report = await page.evaluate(() => engine.report());
  assert.equal(report.place, "browser");
  assert.equal(report.device, "cpu");
  assert.equal(report.model, "tiny");
  assert.equal(report.contextLength, 512);
  assert.equal(report.recoveries, 0);
  assert.equal(report.adapter, null, "nobody asked for a GPU");
  assert.ok(report.selfTest.length > 0 && report.selfTest.every(({ passed }) => passed));
  for (const kind of ["weights", "kv_cache", "heap"]) assert.ok(report.memory[kind] > 0, kind);
});

test("a trap of the module ends every call instead of leaving it waiting", async () => {
  const page = await world.open();
  // The worker's script with a trap that a page's message sets off.
  await page.route("**/worker.js", async (route) => {
    const body = `${await (await route.fetch()).text()}
      addEventListener("message", ({ data }) => { if (data.call === "trap") throw new WebAssembly.RuntimeError("unreachable"); });`;
    await route.fulfill({ contentType: "text/javascript", body, headers: { "content-security-policy": "" } });
  });
  const [running, later] = await page.evaluate(async () => {
    const post = Worker.prototype.postMessage;
    let worker;
    Worker.prototype.postMessage = function (...rest) { worker = this; return post.apply(this, rest); };
    const engine = await Tinderbox.load({ model: "/models/tiny.gguf", device: "cpu" });
    const running = caught(engine.completions.create({ prompt: "hello", max_tokens: 480, temperature: 0 }));
    setTimeout(() => post.call(worker, { call: "trap" }, [new MessageChannel().port1]), 50);
    return [await running, await caught(engine.completions.create({ prompt: "hello" }))];
  });
  assert.equal(running.code, "internal");
  assert.match(running.message, /unreachable/);
  assert.equal(later.code, "internal");
  world.complaints.length = 0;
});

test("a disposed engine ends what runs, and answers nothing more", async () => {
  const { running, later, again } = await page.evaluate(async () => {
    const chunks = await ask({ max_tokens: 480, stream: true });
    const running = caught(chunks.next().then(() => all(chunks)));
    await engine.dispose();
    const later = await caught(ask());
    await engine.dispose();
    const next = await Tinderbox.load({ model: "/models/tiny.gguf", device: "cpu" });
    return { running: await running, later, again: (await next.completions.create({ prompt: "hello", max_tokens: 4, temperature: 0 })).usage };
  });
  assert.equal(running.code, "unavailable");
  assert.equal(later.code, "unavailable");
  assert.match(later.message, /disposed/);
  assert.equal(again.completion_tokens, 4);
});

test("the console has no error", () => assert.deepEqual(world.complaints, []));
