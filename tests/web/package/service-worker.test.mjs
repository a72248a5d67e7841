// The page's own origin answers OpenAI's requests, from the engine in the page.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chat, example, npm } from "./examples.mjs";
import { CSP, fixture, packageFolder } from "./fixture.mjs";

let world;
let page;

const enabled = () => document.querySelector("#say:enabled") !== null;

before(async () => {
  const folder = example("service-worker");
  npm(folder, "run", "build");
  world = await fixture({
    mounts: { "/": join(folder, "site"), "/tinderbox/": join(packageFolder, "dist"), "/idle/": join(import.meta.dirname, "page") },
    headers: { "content-security-policy": CSP },
  });
  page = await world.open({ url: `${world.server.origin}/?model=/models/tiny.gguf`, ready: enabled });
});

after(() => world.close());

const post = (page, body, ms) => page.evaluate(async ([body, ms]) => {
  const signal = ms ? AbortSignal.timeout(ms) : undefined;
  const headers = { "content-type": "application/json" };
  try {
    const response = await fetch("/v1/completions", { method: "POST", headers, signal, body: JSON.stringify({ temperature: 0, ...body }) });
    return { status: response.status, type: response.headers.get("content-type"), body: await response.text() };
  } catch (error) {
    return { error: error.name };
  }
}, [body, ms]);

test("the openai package chats with the engine in its own page", async () => {
  const text = await chat(page, "hello abc");
  assert.match(text, /> hello abc\n./);
  await page.waitForFunction(() => document.getElementById("state").value === "answered");
});

test("the origin answers a plain fetch, whole and streamed, and other paths come from the server", async () => {
  const whole = await post(page, { prompt: "hello", max_tokens: 8 });
  assert.equal(whole.status, 200);
  const streamed = await post(page, { prompt: "hello", max_tokens: 8, stream: true });
  assert.match(streamed.type, /^text\/event-stream/);
  const events = streamed.body.split("\n\n").filter((event) => event.startsWith("data: {")).map((event) => JSON.parse(event.slice(6)));
  assert.equal(events.map(({ choices }) => choices[0]?.text ?? "").join(""), JSON.parse(whole.body).choices[0].text);
  assert.equal((await post(page, { prompt: "hello", temperature: -1 })).status, 400);
  const [tokens, missing] = await page.evaluate(async () => [
    await (await fetch("/tokenize", { method: "POST", headers: { "content-type": "application/json" }, body: '{"prompt":"hello"}' })).json(),
    (await fetch("/v2/nothing")).status,
  ]);
  assert.ok(tokens.count > 1);
  assert.equal(missing, 404);
  // That the server has no such file is the browser's to complain about.
  world.complaints.length = 0;
});

test("aborted requests free their sequences", async () => {
  for (let round = 0; round < 10; round++) {
    const { error } = await post(page, { prompt: "hello", max_tokens: 480, stream: round % 2 === 0 }, 20);
    // Chromium's name for it depends on whether the answer had begun.
    assert.match(error, /^(?:Timeout|Abort)Error$/);
  }
  assert.equal((await post(page, { prompt: "hello", max_tokens: 8 })).status, 200);
});

test("another page of the origin is answered too, until the page with the engine is closed", async () => {
  const other = await world.open({ context: page.context(), url: `${world.server.origin}/idle/` });
  assert.equal((await post(other, { prompt: "hello", max_tokens: 8 })).status, 200);
  // Four times as many answers as the engine gives at once: they are not done when the page is closed.
  const cut = post(other, { prompt: "hello", max_tokens: 480, n: 32, stream: true });
  await new Promise((done) => setTimeout(done, 150));
  await page.close();
  assert.ok((await cut).error);
  const nobody = await post(other, { prompt: "hello", max_tokens: 8 });
  assert.equal(nobody.status, 503);
  assert.match(JSON.parse(nobody.body).error.message, /no page of this origin has an engine/);
});
