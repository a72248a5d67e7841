// Browser or edge: who answers, and who answers in whose stead.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fixture } from "./fixture.mjs";

let world;
let page;
let edge;
let endpoint;
let asked = [];

/** Speaks OpenAI's shape, as a far server would. */
async function answerAsEdge(request, response) {
  const cors = { "access-control-allow-origin": "*", "access-control-allow-headers": "*" };
  if (request.method === "OPTIONS") return response.writeHead(204, cors).end();
  const body = Buffer.concat(await request.toArray()).toString();
  asked.push({ path: request.url, key: request.headers.authorization, body: body && JSON.parse(body) });
  const json = (status, value) => response.writeHead(status, { ...cors, "content-type": "application/json" }).end(JSON.stringify(value));
  if (request.url === "/v1/models") return json(200, { data: [{ id: "far", max_model_len: 99 }] });
  if (request.url === "/tokenize") return json(200, { tokens: [7] });
  if (JSON.parse(body).max_tokens === 1) return json(429, { error: { message: "the queue is full", param: null } });
  const chunk = { id: "1", object: "chat.completion.chunk", created: 1, model: "far" };
  const choice = (content) => ({ ...chunk, choices: [{ index: 0, delta: { content }, finish_reason: null }] });
  const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
  const events = [choice("from "), choice("afar"), { ...chunk, choices: [], usage }].map((event) => `data: ${JSON.stringify(event)}\n\n`);
  response.writeHead(200, { ...cors, "content-type": "text/event-stream" });
  if (JSON.parse(body).max_tokens === 2) return response.end(events[0]);
  response.end(`${events.join("")}data: [DONE]\n\n`);
}

before(async () => {
  edge = createServer(answerAsEdge);
  await once(edge.listen(0, "127.0.0.1"), "listening");
  endpoint = `http://127.0.0.1:${edge.address().port}/v1`;
  world = await fixture();
  page = await world.open();
  await page.evaluate((endpoint) => {
    window.far = { endpoint, apiKey: "secret", model: "/models/tiny.gguf", device: "cpu" };
    window.ask = (engine, params, options) =>
      engine.chat.completions.create({ messages: [{ role: "user", content: "hi" }], max_tokens: 4, temperature: 0, ...params }, options);
  }, endpoint);
});

after(async () => {
  await world.close();
  edge.closeAllConnections();
  edge.close();
});

test("an edge answers without any model in the browser", async () => {
  asked = [];
  const { answer, report, tokens } = await page.evaluate(async () => {
    const engine = await Tinderbox.load({ ...far, place: "edge" });
    return { answer: await ask(engine, { model: "far" }), report: await engine.report(), tokens: await engine.tokenize("hi") };
  });
  assert.equal(answer.choices[0].message.content, "from afar");
  assert.equal(answer.place, "edge");
  assert.ok(answer.usage.timings.total_ms > 0);
  assert.deepEqual([report.place, report.model, report.contextLength], ["edge", "far", 99]);
  assert.deepEqual(tokens, [7]);
  assert.equal(asked[0].path, "/v1/chat/completions");
  assert.equal(asked[0].key, "Bearer secret");
  assert.equal(asked[0].body.model, "far");
});

test("auto answers in the browser where the model loads, and each call can ask for the other place", async () => {
  const places = await page.evaluate(async () => {
    const engine = await Tinderbox.load({ ...far, place: "auto" });
    const places = [await ask(engine), await ask(engine, {}, { place: "edge" }), await ask(engine, {}, { place: "browser" })];
    const [chunk] = await all(await ask(engine, { stream: true }, { place: "edge" }));
    await engine.dispose();
    // Its browser is gone; auto still has the other.
    return [...places, chunk, await ask(engine)].map(({ place }) => place);
  });
  assert.deepEqual(places, ["browser", "edge", "browser", "edge", "edge"]);
});

test("auto answers on the edge where the model does not load, and says why", async () => {
  const { place, reason, here } = await page.evaluate(async () => {
    const engine = await Tinderbox.load({ ...far, model: "/models/abacus.gguf", place: "auto" });
    return { ...(await ask(engine)), ...(await engine.report()), here: await caught(ask(engine, {}, { place: "browser" })) };
  });
  assert.equal(place, "edge");
  assert.match(reason, /abacus\.gguf: the server answered 404/);
  assert.equal(here.code, "unavailable");
});

test("what an edge refuses, breaks off or does not answer is an error with a code", async () => {
  const codes = await page.evaluate(async () => {
    const engine = await Tinderbox.load({ ...far, place: "edge" });
    const silent = await Tinderbox.load({ ...far, endpoint: "http://127.0.0.1:9/v1", place: "edge" });
    const local = await Tinderbox.load({ model: "/models/tiny.gguf", device: "cpu" });
    const errors = [caught(ask(engine, { max_tokens: 1 })), caught(ask(engine, { max_tokens: 2 })), caught(ask(silent)),
      caught(ask(local, {}, { place: "edge" })), caught(ask(engine, {}, { signal: AbortSignal.abort() }))];
    return (await Promise.all(errors)).map(({ code }) => code);
  });
  assert.deepEqual(codes, ["unavailable", "network", "network", "unavailable", "aborted"]);
});
