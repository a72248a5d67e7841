// Answers from a server elsewhere on this machine, and what the page shows while one comes.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { noNative, serveNative } from "../native.mjs";
import { answered, ask, fixture, openPanel, setMaxTokens } from "./fixture.mjs";

let world;

before(async () => (world = await fixture()));
after(() => world.close());

/** A page whose answers come from `endpoint`, or do where the tab cannot. */
async function open(place, endpoint) {
  const page = await world.open();
  await page.getByText("More: context length, an edge server").click();
  await page.getByLabel("Answers come from").selectOption(place);
  await page.getByLabel("Address of a Tinderbox server").fill(endpoint);
  return page;
}

/** The fixture takes requests to elsewhere for a fault; these were meant. */
function forgive(endpoint) {
  const meant = world.complaints.filter((text) => text.startsWith(`outside request: ${new URL(endpoint).origin}/`));
  assert.ok(meant.length > 0);
  for (const text of meant) world.complaints.splice(world.complaints.indexOf(text), 1);
}

test("a tab that cannot load the model is answered by `tinderbox serve` on another port", async (t) => {
  if (noNative) return t.skip(noNative);
  const server = await serveNative(world.tiny);
  try {
    const page = await open("auto", `${server.url}/v1`);
    await page.getByLabel("Model file", { exact: true }).setInputFiles(world.broken);
    await page.getByLabel("Your message").waitFor();
    await setMaxTokens(page, 16);
    await ask(page, "hello abc");
    const answer = page.locator(".answer");
    assert.ok((await answer.locator(".prose").innerText()).length > 0);
    assert.match(await answer.locator(".message-tools").innerText(), /on the edge\s+16 tokens/);
    assert.match(await (await openPanel(page, "Device")).innerText(), /Why\s+broken\.gguf/);
    forgive(server.url);
    await page.context().close();
  } finally {
    server.close();
  }
});

/** A server that says what the test tells it to, when it tells it. */
async function puppet() {
  const cors = { "access-control-allow-origin": "*", "access-control-allow-headers": "*" };
  const answers = { "/v1/models": { data: [{ id: "puppet", max_model_len: 512 }] }, "/tokenize": { tokens: [1] } };
  let begun;
  const stream = new Promise((done) => (begun = done));
  const server = createServer((request, response) => {
    if (request.method === "OPTIONS") return response.writeHead(204, cors).end();
    const known = answers[request.url];
    response.writeHead(200, { ...cors, "content-type": known ? "application/json" : "text/event-stream" });
    if (known) return response.end(JSON.stringify(known));
    response.flushHeaders();
    begun(response);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const chunk = { id: "1", object: "chat.completion.chunk", created: 1, model: "puppet" };
  const send = async (data) => (await stream).write(`data: ${typeof data === "string" ? data : JSON.stringify({ ...chunk, ...data })}\n\n`);
  return {
    endpoint: `http://127.0.0.1:${server.address().port}/v1`,
    /** One token. */
    say: (content) => send({
      choices: [{ index: 0, delta: { content }, finish_reason: null, logprobs: { content: [{ token: content, logprob: -0.5, bytes: null, top_logprobs: [] }] } }],
    }),
    async end() {
      await send({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
      await send({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 4, total_tokens: 5 } });
      await send("[DONE]");
      (await stream).end();
    },
    close: () => (server.closeAllConnections(), server.close()),
  };
}

test("Markdown and plot grow while the answer comes", async () => {
  const edge = await puppet();
  const page = await open("edge", edge.endpoint);
  await page.getByRole("button", { name: /start smollm2-135m-instruct/ }).click();
  await page.getByLabel("Your message").fill("hello");
  await page.getByRole("button", { name: "Send" }).click();
  const writing = page.locator(".answer.writing");
  const speed = await openPanel(page, "Speed");
  const points = () => speed.locator("polyline").evaluate((line) => line.points.numberOfItems);
  /** Pieces that come within one look of the page are shown together with the next. */
  const say = (content) => new Promise((done) => setTimeout(done, 100)).then(() => edge.say(content));

  await writing.getByText("Reading the question").waitFor();
  await say("Some **bold");
  await writing.locator("p", { hasText: "Some **bold" }).waitFor();
  assert.equal(await writing.locator("strong").count(), 0);
  await say("** text\n\n```js\n1 <");
  await writing.locator("strong", { hasText: /^bold$/ }).waitFor();
  await writing.locator("pre code", { hasText: /^1 <\s*$/ }).waitFor();
  assert.equal(await points(), 1);
  const first = await writing.locator("strong").elementHandle();
  await say(" 2\n```\n\n- one");
  await writing.locator("li", { hasText: /^one$/ }).waitFor();
  assert.equal(await points(), 2);
  await say("\n- two");
  await writing.locator("li", { hasText: /^two$/ }).waitFor();
  assert.equal(await points(), 3);
  assert.equal(await first.evaluate((strong) => strong.isConnected), true, "what is finished is not drawn again");
  assert.match(await speed.locator(".figures").innerText(), /First token\s+\d.*\s+Tokens a second\s+\d/i);
  await edge.end();
  await answered(page);
  assert.equal(await page.locator(".answer pre code").innerText(), "1 < 2\n");
  assert.equal(await points(), 3);
  forgive(edge.endpoint);
  edge.close();
  await page.context().close();
});

test("nothing was complained of", () => assert.deepEqual(world.complaints, []));
