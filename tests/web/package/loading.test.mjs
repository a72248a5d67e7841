// How a model comes into the browser, and what is said where it does not.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { fixture } from "./fixture.mjs";
import { gguf, ggufParts, wrongArchitecture } from "./tiny.mjs";

let world;
/** Set by a test: sees requests to /models/ first. */
let fault = () => false;
/** Ranges that were asked for, in order; null where none was. */
let ranges = [];

const TINY = "/models/tiny.gguf";
const HF = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json", "a.safetensors", "b.safetensors"];
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

before(async () => {
  world = await fixture({
    fault(request, response) {
      if (!request.url.startsWith("/models/")) return false;
      ranges.push(request.headers.range ?? null);
      return fault(request, response);
    },
  });
});

beforeEach(() => {
  fault = () => false;
  ranges = [];
});

after(() => world.close());

/** Lets the file's first piece through, then nothing more, and cuts the connection where asked. */
function first(response, then) {
  const write = response.write.bind(response);
  response.write = (chunk) => {
    write(chunk);
    response.write = () => false;
    // By then the page has written the piece, beside other work, too.
    setTimeout(() => then === "cut" && response.socket?.destroy(), 1000);
    return false;
  };
  response.end = () => response;
}

const PIECE = 65536;

function load(page, options) {
  return page.evaluate(async (options) => {
    const phases = [];
    const onProgress = (progress) => phases.push(progress);
    window.engine = await Tinderbox.load({ model: "/models/tiny.gguf", device: "cpu", ...options, onProgress });
    const { choices } = await engine.completions.create({ prompt: "hello", max_tokens: 8, temperature: 0 });
    await engine.dispose();
    return { text: choices[0].text, phases, names: [...new Set(phases.map(({ phase }) => phase))], model: engine.model };
  }, options ?? {});
}

const refused = (page, options) =>
  page.evaluate((options) => caught(Tinderbox.load({ model: "/models/tiny.gguf", device: "cpu", ...options })), options ?? {});

for (const device of ["cpu", "webgpu"]) test(`a model is downloaded once, and then needs no network (${device})`, async () => {
  const page = await world.open();
  const first = await load(page, { device });
  assert.deepEqual(first.names, ["download", "load", "ready"]);
  assert.equal(first.model, "tiny");
  const { size } = { size: gguf().length };
  assert.deepEqual(first.phases.at(-1), { phase: "ready", loaded: size, total: size, bytesPerSecond: 0, file: "tiny.gguf" });

  await page.reload();
  await page.waitForFunction(() => "Tinderbox" in window);
  fault = (request) => request.socket.destroy();
  const second = await load(page, { device });
  assert.deepEqual(second.names, ["load", "ready"]);
  assert.equal(second.text, first.text);
  assert.equal(ranges.length, 1);
});

test("kept models are listed, and forgotten by name", async () => {
  const page = await world.open();
  assert.deepEqual(await page.evaluate(() => Tinderbox.stored()), []);
  await load(page);
  const [model, ...others] = await page.evaluate(() => Tinderbox.stored());
  const size = gguf().length;
  assert.deepEqual(model, { name: world.server.origin + TINY, bytes: size, total: size, complete: true });
  assert.deepEqual(others, []);
  assert.deepEqual(await page.evaluate((name) => Promise.all([Tinderbox.remove(name), Tinderbox.remove("abacus")]), model.name), [true, false]);
  assert.deepEqual(await page.evaluate(() => Tinderbox.stored()), []);
  await load(page);
  assert.equal(world.server.count(TINY) > 1, true);
});

for (const device of ["cpu", "webgpu"]) test(`a file that the user has is loaded where it is (${device})`, async () => {
  const page = await world.open();
  const model = join(world.models, "tiny.gguf");
  await page.setInputFiles("input", model);
  const [file, blob] = await page.evaluate(async (device) => {
    const [model] = document.querySelector("input").files;
    const one = async (model) => {
      const engine = await Tinderbox.load({ model, device });
      const { choices } = await engine.completions.create({ prompt: "hello", max_tokens: 8, temperature: 0 });
      await engine.dispose();
      return { text: choices[0].text, name: engine.model };
    };
    return [await one(model), await one(model.slice())];
  }, device);
  assert.equal(file.name, "tiny");
  assert.equal(blob.text, file.text);
  assert.deepEqual(await page.evaluate(() => Tinderbox.stored()), []);
  assert.equal(ranges.length, 0);
});

test("safetensors load from files and from addresses, in shards", async () => {
  const page = await world.open();
  await page.setInputFiles("input", HF.map((name) => join(world.models, "hf", name)));
  const { files, addresses } = await page.evaluate(async (names) => {
    const one = async (model) => {
      const engine = await Tinderbox.load({ model, device: "cpu" });
      const answer = await engine.chat.completions.create({ messages: [{ role: "user", content: "hi" }], max_tokens: 8, temperature: 0 });
      await engine.dispose();
      return { text: answer.choices[0].message.content, name: engine.model };
    };
    return { files: await one([...document.querySelector("input").files]), addresses: await one(names.map((name) => `/models/hf/${name}`)) };
  }, HF);
  assert.ok(files.text.length > 0);
  assert.equal(addresses.text, files.text);
  assert.equal(addresses.name, "hf");
  const [kept] = await page.evaluate(() => Tinderbox.stored());
  assert.equal(kept.complete, true);
  assert.equal(kept.bytes, (await Promise.all(HF.map((name) => readFile(join(world.models, "hf", name))))).reduce((sum, { length }) => sum + length, 0));
});

test("a GGUF in parts loads from the first one's address or from all, and a missing part is said", async () => {
  const page = await world.open();
  const names = ["tiny-00001-of-00002.gguf", "tiny-00002-of-00002.gguf"];
  const parts = ggufParts();
  for (const [at, part] of parts.entries()) await writeFile(join(world.models, names[at]), part);
  const whole = await load(page);
  const all = await load(page, { model: names.map((name) => `/models/${name}`) });
  const first = await load(await world.open(), { model: `/models/${names[0]}?download=true`, sha256: parts.map(sha256) });
  assert.deepEqual([all.text, first.text], [whole.text, whole.text]);
  assert.equal(first.model, "tiny");

  const second = await refused(page, { model: `/models/${names[1]}` });
  assert.equal(second.code, "invalid_model");
  assert.match(second.message, /part 2 of 2/);
  await rename(join(world.models, names[1]), join(world.models, "elsewhere.gguf"));
  const missing = await refused(await world.open(), { model: `/models/${names[0]}` });
  assert.equal(missing.code, "not_found");
  assert.match(missing.message, /tiny-00002-of-00002\.gguf: the server answered 404/);
});

test("progress says how fast the bytes come", async () => {
  const page = await world.open();
  fault = (_, response) => {
    response.writeHead(200, { "content-length": gguf().length }).write(gguf().subarray(0, PIECE));
    setTimeout(() => response.end(gguf().subarray(PIECE)), 300);
    return true;
  };
  const { phases } = await load(page);
  const download = phases.filter(({ phase }) => phase === "download");
  assert.ok(download.some(({ bytesPerSecond }) => bytesPerSecond > 0), JSON.stringify(download));
  assert.deepEqual(download.map(({ loaded }) => loaded), download.map(({ loaded }) => loaded).sort((a, b) => a - b));
  assert.deepEqual([download.at(-1).loaded, download.at(-1).total], [gguf().length, gguf().length]);
});

test("a connection that is cut goes on where it was", async () => {
  const page = await world.open();
  fault = (_, response) => void (ranges.length === 1 && first(response, "cut"));
  const { names } = await load(page, { sha256: sha256(gguf()) });
  assert.deepEqual(ranges, [null, `bytes=${PIECE}-`]);
  assert.deepEqual(names, ["download", "load", "ready"]);
});

test("an aborted download is kept, verified and finished by the next load", async () => {
  const page = await world.open();
  fault = (_, response) => void first(response);
  const error = await page.evaluate(() => {
    const controller = new AbortController();
    // Progress is told ten times a second at most: by then the piece is written.
    const onProgress = () => setTimeout(() => controller.abort(), 1500);
    return caught(Tinderbox.load({ model: "/models/tiny.gguf", device: "cpu", signal: controller.signal, onProgress }));
  });
  assert.deepEqual([error.code, error.name], ["aborted", "AbortError"]);
  const [kept] = await page.evaluate(() => Tinderbox.stored());
  assert.deepEqual([kept.bytes, kept.total, kept.complete], [PIECE, gguf().length, false]);

  fault = () => false;
  const { names } = await load(page, { sha256: sha256(gguf()) });
  assert.deepEqual(names, ["verify", "download", "load", "ready"]);
  assert.deepEqual(ranges, [null, `bytes=${PIECE}-`]);
});

test("a file that changed in between is downloaded from the start", async () => {
  const page = await world.open();
  const model = join(world.models, "changing.gguf");
  await writeFile(model, gguf().fill(0, PIECE / 2));
  fault = (_, response) => {
    if (ranges.length !== 1) return false;
    first(response, "cut");
    response.on("close", () => void writeFile(model, Buffer.concat([gguf(), Buffer.alloc(32)])));
    return false;
  };
  await load(page, { model: "/models/changing.gguf", sha256: sha256(Buffer.concat([gguf(), Buffer.alloc(32)])) });
  assert.deepEqual(ranges, [null, `bytes=${PIECE}-`, null]);
});

test("a server without ranges is asked for the whole again", async () => {
  const page = await world.open();
  fault = (request, response) => {
    delete request.headers.range;
    if (ranges.length === 1) first(response, "cut");
    return false;
  };
  await load(page, { sha256: sha256(gguf()) });
  assert.deepEqual(ranges, [null, `bytes=${PIECE}-`]);
});

test("a server that never answers is a network error, and one that has no such file is not asked again", async () => {
  const page = await world.open();
  const missing = await refused(page, { model: "/models/abacus.gguf" });
  assert.equal(missing.code, "not_found");
  assert.match(missing.message, /abacus\.gguf: the server answered 404/);
  assert.equal(ranges.length, 1);
  fault = (request) => request.socket.destroy();
  const error = await refused(page);
  assert.equal(error.code, "network");
  assert.match(error.message, /tiny\.gguf/);
});

test("an unknown name says which there are", async () => {
  const page = await world.open();
  const error = await refused(page, { model: "abacus" });
  assert.equal(error.code, "not_found");
  assert.match(error.message, /smollm2-135m-instruct/);
});

test("a wrong hash names both, and the file is not kept", async () => {
  const page = await world.open();
  const error = await refused(page, { sha256: "0".repeat(64) });
  assert.equal(error.code, "checksum");
  assert.ok(error.message.includes(sha256(gguf())) && error.message.includes("0".repeat(64)), error.message);
  assert.deepEqual(await page.evaluate(() => Tinderbox.stored()), []);
  await load(page, { sha256: sha256(gguf()) });
});

test("a hash that is asked for later is compared with what is kept", async () => {
  const page = await world.open();
  await load(page);
  assert.equal((await refused(page, { sha256: "0".repeat(64) })).code, "checksum");
});

test("a truncated file and an unknown architecture are named", async () => {
  const page = await world.open();
  await writeFile(join(world.models, "short.gguf"), gguf().subarray(0, 80_000));
  await writeFile(join(world.models, "abacus.gguf"), wrongArchitecture());
  const short = await refused(page, { model: "/models/short.gguf" });
  assert.equal(short.code, "invalid_model");
  assert.match(short.message, /short\.gguf|blk\./);
  const abacus = await refused(page, { model: "/models/abacus.gguf" });
  assert.equal(abacus.code, "invalid_model");
  assert.match(abacus.message, /abacus/);
});

/** Lets the page's origin keep no more than so many bytes; without a number, as many as ever. */
async function setQuota(page, quotaSize) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Storage.overrideQuotaForOrigin", { origin: world.server.origin, ...(quotaSize && { quotaSize }) });
}

/** The whole file, but not how long it is: the browser learns in mid-write that it has no room. */
function unmeasured(response, file = gguf()) {
  response.writeHead(200);
  response.write(file);
  response.end();
  return true;
}

test("a browser that gives no more storage says what is needed and what there is", async () => {
  const page = await world.open();
  await setQuota(page, 50_000);
  // Less than the file, and no room for its end.
  const error = await refused(page);
  assert.equal(error.code, "quota");
  assert.match(error.message, /tiny\.gguf: \d+ more bytes are needed; the browser took 0 and estimates \d+ free/);
});

test("a write that is refused says that storage is full", async () => {
  const page = await world.open();
  await setQuota(page, 50_000);
  fault = (_, response) => unmeasured(response);
  const error = await refused(page);
  assert.equal(error.code, "quota");
  assert.match(error.message, /tiny\.gguf: more bytes are needed; the browser took \d+ and estimates \d+ free/);
  await setQuota(page);
  fault = () => false;
  await load(page);
});

test("two tabs that want the same model download it once", async () => {
  const one = await world.open();
  const two = await world.open({ context: one.context() });
  const texts = await Promise.all([load(one), load(two)]);
  assert.equal(texts[0].text, texts[1].text);
  assert.equal(ranges.length, 1);
});

/** A page whose worker lacks something. */
async function without(script) {
  const page = await world.open();
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    // Before the imports' code, which a bundle begins with.
    await route.fulfill({ response, body: `${script};${await response.text()}` });
  });
  return page;
}

const NO_OPFS = "delete FileSystemFileHandle.prototype.createSyncAccessHandle";

test("without OPFS a model is kept by the Cache API", async () => {
  const page = await without(NO_OPFS);
  const first = await load(page);
  const [kept] = await page.evaluate(() => Tinderbox.stored());
  assert.deepEqual([kept.bytes, kept.complete], [gguf().length, true]);
  fault = (request) => request.socket.destroy();
  assert.equal((await load(page)).text, first.text);
  assert.equal(await page.evaluate((name) => Tinderbox.remove(name), kept.name), true);
  assert.deepEqual(await page.evaluate(() => Tinderbox.stored()), []);
});

test("a download into the Cache API goes on where it was cut", async () => {
  const page = await without(NO_OPFS);
  fault = (request, response) => {
    if (ranges.length === 1) return void first(response, "cut");
    request.socket.destroy();
    return true;
  };
  const error = await refused(page);
  assert.equal(error.code, "network");
  const [kept] = await page.evaluate(() => Tinderbox.stored());
  assert.deepEqual([kept.bytes, kept.total, kept.complete], [PIECE, gguf().length, false]);

  fault = () => false;
  ranges = [];
  const { names } = await load(page, { sha256: sha256(gguf()) });
  assert.deepEqual(names, ["verify", "download", "load", "ready"]);
  assert.deepEqual(ranges, [`bytes=${PIECE}-`]);
});

test("a Cache API that takes no more says so, and goes on behind what it took", async () => {
  const page = await without(NO_OPFS);
  // Of three segments there is room for one.
  const large = Buffer.concat([gguf(), Buffer.alloc(20 << 20)]);
  await writeFile(join(world.models, "large.gguf"), large);
  await setQuota(page, 12 << 20);
  fault = (_, response) => unmeasured(response, large);
  const error = await refused(page, { model: "/models/large.gguf" });
  assert.equal(error.code, "quota", error.message);
  assert.match(error.message, /large\.gguf: more bytes are needed; the browser took \d+ and estimates \d+ free/);
  const [{ bytes }] = await page.evaluate(() => Tinderbox.stored());
  assert.ok(bytes >= 8 << 20 && bytes < 12 << 20, `${bytes} bytes are kept`);

  await setQuota(page);
  fault = () => false;
  ranges = [];
  await load(page, { model: "/models/large.gguf", sha256: sha256(large) });
  assert.deepEqual(ranges, [`bytes=${bytes}-`]);
});

test("the last bytes are refused by the Cache API as the others are", async () => {
  const page = await without(NO_OPFS);
  await setQuota(page, 50_000);
  fault = (_, response) => unmeasured(response);
  assert.equal((await refused(page)).code, "quota");
});

test("without any storage a model is loaded all the same", async () => {
  const page = await without(`${NO_OPFS};Object.defineProperty(self, "caches", { value: undefined })`);
  const warnings = [];
  page.on("console", (message) => message.type() === "warning" && warnings.push(message.text()));
  assert.ok((await load(page)).text.length > 0);
  assert.match(warnings.join(), /kept in: memory/);
  assert.deepEqual(await page.evaluate(() => Tinderbox.stored()), []);
});
