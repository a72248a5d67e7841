// Where the model computes: which device is taken, what is said of it, and the loss of a GPU.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isolated } from "../server.mjs";
import { CSP, fixture, SMOLLM2 } from "./fixture.mjs";

let world;

before(async () => (world = await fixture()));
after(() => world.close());

const PROMPT = "def fibonacci(n):";

/** Script of a worker whose adapter says it is a real one, so that the kernels of real GPUs run. */
const NO_FALLBACK = `
  Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });`;

/** Loads a model on a page of its own, in whose worker `script` comes first, and answers with the report and the tokens of one greedy answer. */
async function answer(model, device, tokens, script) {
  const page = await world.open();
  if (script) await scripted(page, script);
  const found = await page.evaluate(async ({ model, device, prompt, tokens }) => {
    const engine = await Tinderbox.load({ model, device, contextLength: 512 });
    const { choices } = await engine.completions.create({ prompt, max_tokens: tokens, temperature: 0, logprobs: 0 });
    const report = await engine.report();
    await engine.dispose();
    return { report, choice: choices[0] };
  }, { model, device, prompt: PROMPT, tokens });
  await page.context().close();
  return found;
}

test("a software adapter is left for the CPU unless it is asked for, and both are named", async () => {
  const cpu = await answer("/models/tiny.gguf", "auto", 12);
  assert.equal(cpu.report.device, "cpu");
  assert.match(cpu.report.reason, /faster than the software GPU google swiftshader/);
  assert.equal(cpu.report.adapter.fallback, true);

  const gpu = await answer("/models/tiny.gguf", "webgpu", 12);
  assert.equal(gpu.report.device, "webgpu");
  assert.match(gpu.report.description, /swiftshader/);
  assert.ok(gpu.report.adapter.limits.bindingBytes > 0);
  assert.deepEqual(gpu.choice.logprobs.tokens, cpu.choice.logprobs.tokens);

  const kernels = gpu.report.selfTest.map(({ kernel }) => kernel);
  for (const name of ["linear, 1 row", "linear, 33 rows", "embed", "rope, queries", "rope, cache", "attention", "add_norm", "low_rank"]) {
    assert.ok(kernels.includes(name), name);
  }
  for (const { passed, kernel, detail } of gpu.report.selfTest) assert.ok(passed, `${kernel}: ${detail}`);
});

/** Scripts the worker: what it is given to run comes first. */
async function scripted(page, script) {
  await page.route("**/worker.js", async (route) => {
    const body = `${script}\n${await (await route.fetch()).text()}`;
    await route.fulfill({ contentType: "text/javascript", body, headers: { "content-security-policy": "" } });
  });
}

test("the kernels of real GPUs, which share a context between workgroups, give the CPU's tokens", async () => {
  const cpu = await answer("/models/tiny.gguf", "cpu", 12);
  const gpu = await answer("/models/tiny.gguf", "webgpu", 12, NO_FALLBACK);
  assert.equal(gpu.report.adapter.fallback, false);
  assert.ok(gpu.report.selfTest.some(({ kernel }) => kernel === "attention, parts"));
  for (const { passed, kernel, detail } of gpu.report.selfTest) assert.ok(passed, `${kernel}: ${detail}`);
  assert.deepEqual(gpu.choice.logprobs.tokens, cpu.choice.logprobs.tokens);
});

test("a kernel that computes wrongly is named, and `auto` goes on without it", async () => {
  const page = await world.open();
  // Its shaders take every product for a sum.
  await scripted(page, `${NO_FALLBACK}
    const make = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (how) {
      return make.call(this, { ...how, code: how.code.replaceAll(/ (\\w+) \\* (\\w+);/g, " $1 + $2;") });
    };`);
  const { report, refused } = await page.evaluate(async () => {
    const engine = await Tinderbox.load({ model: "/models/tiny.gguf", device: "auto" });
    const report = await engine.report();
    await engine.dispose();
    return { report, refused: await caught(Tinderbox.load({ model: "/models/tiny.gguf", device: "webgpu" })) };
  });
  assert.equal(report.device, "cpu");
  // Every way to make a product is wrong here, so that nothing is left to take its place.
  const wrong = report.selfTest.filter(({ passed, fallback }) => !passed && fallback === null);
  assert.ok(wrong.length > 0);
  assert.match(report.reason, new RegExp(wrong[0].kernel));
  assert.equal(refused.code, "unsupported");
  assert.match(refused.message, new RegExp(wrong[0].kernel));
});

test("a GPU that does not start is unsupported, and one without room for the model has a code of its own", async () => {
  const refused = async (script) => {
    const page = await world.open();
    await scripted(page, script);
    const error = await page.evaluate(() => caught(Tinderbox.load({ model: "/models/tiny.gguf", device: "webgpu" })));
    await page.context().close();
    return error;
  };
  const silent = await refused(`GPUAdapter.prototype.requestDevice = () => Promise.reject(new DOMException("no", "OperationError"));`);
  assert.equal(silent.code, "unsupported", silent.message);
  assert.match(silent.message, /swiftshader.* did not start/);

  const full = await refused(`
    const make = GPUDevice.prototype.createBuffer;
    GPUDevice.prototype.createBuffer = function (how) {
      const error = new GPUOutOfMemoryError("full");
      setTimeout(() => this.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error })));
      return make.call(this, how);
    };`);
  assert.equal(full.code, "memory", full.message);
  assert.match(full.message, /smaller model/);
});

test("without WebGPU `auto` takes the CPU and says so, and `webgpu` is refused before any download", async () => {
  const page = await world.open();
  await scripted(page, `Object.defineProperty(WorkerNavigator.prototype, "gpu", { get: () => undefined });`);
  const before = world.server.count(`/models/${SMOLLM2}`);
  const { report, refused } = await page.evaluate(async (real) => {
    const engine = await Tinderbox.load({ model: "/models/tiny.gguf" });
    return { report: await engine.report(), refused: await caught(Tinderbox.load({ model: `/models/${real}`, device: "webgpu" })) };
  }, SMOLLM2);
  assert.equal(report.device, "cpu");
  assert.match(report.reason, /no WebGPU/);
  assert.equal(refused.code, "unsupported");
  assert.equal(world.server.count(`/models/${SMOLLM2}`), before);
});

test("a page that is cross-origin isolated has a thread for each core, as many as it asks for, and others have one", async () => {
  const apart = await fixture({ headers: { "content-security-policy": CSP, ...isolated } });
  const loaded = async ({ open }, options) => {
    const page = await open();
    const found = await page.evaluate(async (options) => {
      const engine = await Tinderbox.load({ model: "/models/tiny.gguf", ...options });
      const { device, threads, description, reason } = await engine.report();
      await engine.dispose();
      return { device, threads, description, reason, cores: navigator.hardwareConcurrency };
    }, options);
    await page.context().close();
    return found;
  };
  try {
    const cpu = await loaded(apart, { device: "cpu" });
    assert.ok(cpu.cores > 1, "one core shows nothing");
    assert.equal(cpu.threads, Math.min(cpu.cores, 8));
    assert.match(cpu.description, new RegExp(`${cpu.threads} threads`));
    assert.equal((await loaded(apart, { device: "cpu", threads: 1 })).threads, 1);
    // The adapter here is software, so that `auto` computes on the CPU.
    const auto = await loaded(apart, { device: "auto", threads: 1000 });
    assert.deepEqual([auto.device, auto.threads], ["cpu", auto.cores]);
    assert.match(auto.reason, /faster than the software GPU google swiftshader/);
    assert.equal((await loaded(apart, { device: "webgpu" })).threads, 1);

    const alone = await loaded(world, { device: "cpu", threads: 2 });
    assert.equal(alone.threads, 1);
    assert.match(alone.description, /1 thread\b/);
    const refused = await (await world.open()).evaluate(() => caught(Tinderbox.load({ model: "/models/tiny.gguf", threads: 0 })));
    assert.deepEqual([refused.code, refused.param], ["invalid_request", "threads"]);
    assert.deepEqual(apart.complaints, []);
  } finally {
    await apart.close();
  }
});

test("a GPU that is destroyed in mid-stream is replaced and the stream goes on, twice; the third loss is said", async () => {
  const page = await world.open();
  await scripted(page, `
    const devices = [];
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...how) {
      const device = await request.apply(this, how);
      devices.push(device);
      return device;
    };
    addEventListener("message", (event) => {
      if (event.data.call !== "destroy") return;
      event.stopImmediatePropagation();
      devices.at(-1).destroy();
    });`);
  const found = await page.evaluate(async () => {
    const post = Worker.prototype.postMessage;
    let worker;
    Worker.prototype.postMessage = function (...rest) { worker = this; return post.apply(this, rest); };
    const engine = await Tinderbox.load({ model: "/models/tiny.gguf", device: "webgpu" });
    const ask = () => engine.completions.create({ prompt: "hello abc", max_tokens: 24, temperature: 0, logprobs: 0, stream: true });
    const tokens = (chunk) => chunk.choices[0]?.logprobs?.tokens ?? [];

    /** An answer during which the device is destroyed. */
    async function disturbed() {
      const said = [];
      let destroyed = false;
      for await (const chunk of await ask()) {
        said.push(...tokens(chunk));
        if (!destroyed && said.length >= 4) {
          destroyed = true;
          post.call(worker, { call: "destroy" });
        }
      }
      return said;
    }

    const whole = (await all(await ask())).flatMap(tokens);
    const first = await disturbed();
    const second = await disturbed();
    const { recoveries, memory } = await engine.report();
    const third = await caught(disturbed());
    return { whole, first, second, recoveries, memory, third, later: await caught(ask()) };
  });
  assert.equal(found.whole.length, 24);
  assert.deepEqual(found.first, found.whole);
  assert.deepEqual(found.second, found.whole);
  assert.equal(found.recoveries, 2);
  assert.equal(found.third.code, "device_lost", found.third.message);
  assert.equal(found.later.code, "device_lost");
});

for (const device of ["cpu", "webgpu"]) test(`chats of many turns take no more memory on ${device} than steps of each size and two turns before them`, async (t) => {
  const page = await world.open();
  // Counted as they are made, because they go when the browser collects them.
  await scripted(page, `
    let made = 0;
    const make = GPUDevice.prototype.createBuffer;
    GPUDevice.prototype.createBuffer = function (how) {
      made += how.size;
      return make.call(this, how);
    };
    addEventListener("message", (event) => {
      if (event.data.call !== "made") return;
      event.stopImmediatePropagation();
      event.ports[0].postMessage(made);
    });`);
  const turns = await page.evaluate(async (device) => {
    const post = Worker.prototype.postMessage;
    let worker;
    Worker.prototype.postMessage = function (...rest) { worker = this; return post.apply(this, rest); };
    const engine = await Tinderbox.load({ model: "/models/tiny.gguf", device });
    const buffers = () => new Promise((told) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data }) => told(data);
      post.call(worker, { call: "made" }, [port2]);
    });
    const turns = [];
    // Steps of 2, 4, 8, 16, 32, 48 and 64 rows, the sizes they are brought to on a GPU, and those of one row behind them.
    for (const [words, letter] of [[1, "a"], [2, "b"], [4, "c"], [14, "d"], [30, "e"], [46, "f"], [150, "g"]]) {
      const { usage } = await engine.completions.create({ prompt: ` ${letter}`.repeat(words), max_tokens: 2, temperature: 0 });
      turns.push({ tokens: usage.total_tokens, made: await buffers(), ...(await engine.report()).memory });
    }
    // Two chats: one until the context is full, and one whose turns have other lengths.
    for (const [length, words, tokens] of [[9, "hello abc", 40], [4, "the quick brown fox", 23]]) {
      const messages = [];
      for (let turn = 0; turn < length; turn++) {
        messages.push({ role: "user", content: words });
        const { choices, usage } = await engine.chat.completions.create({ messages, max_tokens: tokens, temperature: 0 });
        messages.push(choices[0].message);
        turns.push({ tokens: usage.total_tokens, made: await buffers(), ...(await engine.report()).memory });
      }
    }
    return turns;
  }, device);
  t.diagnostic(JSON.stringify(turns.map(({ tokens, made, heap }) => [tokens, made, heap])));
  assert.ok(Math.max(...turns.map(({ tokens }) => tokens)) > 400);
  assert.equal(turns[0].made > 0, device === "webgpu");
  const [before, ...later] = turns.slice(8).map(({ tokens, ...memory }) => memory);
  for (const memory of later) assert.deepEqual(memory, before);
});
