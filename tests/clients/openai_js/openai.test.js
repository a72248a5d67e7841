// OpenAI's JavaScript client, unmodified, against the server at TINDERBOX_URL. Each test shows one thing a user can do.

import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";

const url = process.env.TINDERBOX_URL;
// No retries: an error must be seen, not hidden.
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "EMPTY", maxRetries: 0, timeout: 300_000 });
const model = (await client.models.list()).data[0].id;

const prompt = "The capital of France is";
const messages = [{ role: "user", content: "What is the capital of France?" }];
const chat = { model, messages, max_tokens: 16, temperature: 0 };
const completion = { model, prompt, max_tokens: 12, temperature: 0 };

/** All chunks of a stream. */
async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

test("a chat is answered and its usage adds up", async () => {
  const { choices, usage, object } = await client.chat.completions.create(chat);
  assert.equal(object, "chat.completion");
  assert.match(choices[0].message.content, /Paris/);
  assert.equal(usage.prompt_tokens + usage.completion_tokens, usage.total_tokens);
});

test("a streamed chat is the same text in pieces, with the usage last", async () => {
  const whole = await client.chat.completions.create(chat);
  const ask = { ...chat, stream: true, stream_options: { include_usage: true } };
  const chunks = await all(await client.chat.completions.create(ask));
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.total_tokens, whole.usage.total_tokens);
});

test("the stream helper puts the message together", async () => {
  const whole = await client.chat.completions.create(chat);
  const message = await client.chat.completions.stream(chat).finalMessage();
  assert.equal(message.content, whole.choices[0].message.content);
});

test("a completion is the same text in pieces, at each of its addresses", async () => {
  const whole = (await client.completions.create(completion)).choices[0].text;
  for (const prefix of ["", "/openai"]) {
    const other = new OpenAI({ baseURL: `${url}${prefix}/v1`, apiKey: "EMPTY", maxRetries: 0 });
    const chunks = await all(await other.completions.create({ ...completion, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), whole);
  }
});

test("an echo with logprobs scores the prompt", async () => {
  const answer = await client.completions.create({ ...completion, echo: true, logprobs: 2, max_tokens: 0 });
  const { tokens, token_logprobs, top_logprobs } = answer.choices[0].logprobs;
  assert.equal(tokens.join(""), prompt);
  assert.equal(tokens.length, answer.usage.prompt_tokens);
  assert.equal(token_logprobs[0], null);
  token_logprobs.slice(1).forEach((logprob, i) => assert.equal(top_logprobs[i + 1][tokens[i + 1]], logprob));
});

test("a chat gives logprobs with alternatives", async () => {
  const answer = await client.chat.completions.create({ ...chat, logprobs: true, top_logprobs: 3 });
  for (const token of answer.choices[0].logprobs.content) {
    assert.equal(token.top_logprobs.length, 3);
    assert.equal(token.logprob, token.top_logprobs[0].logprob);
  }
});

test("n samples come in order and the same seed gives them again", async () => {
  const sample = async () => {
    const { choices } = await client.chat.completions.create({ ...chat, n: 2, temperature: 1, seed: 7 });
    assert.deepEqual(choices.map((choice) => choice.index), [0, 1]);
    return choices.map((choice) => choice.message.content);
  };
  assert.deepEqual(await sample(), await sample());
});

test("an unknown model is not found", async () => {
  const wrong = { ...chat, model: "nobody" };
  await assert.rejects(client.chat.completions.create(wrong), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    assert.ok(error.requestID);
    return true;
  });
  await assert.rejects(client.models.retrieve("nobody"), OpenAI.NotFoundError);
});

test("a prompt beyond the context and a wrong value are refused by name", async () => {
  const long = { ...completion, prompt: "word ".repeat(20_000) };
  await assert.rejects(client.completions.create(long), { constructor: OpenAI.BadRequestError, code: "context_length_exceeded" });
  const wrong = { ...completion, top_p: 2 };
  await assert.rejects(client.completions.create(wrong), (error) => error.status === 400 && /top_p/.test(error.message));
});

test("an aborted stream ends and the next request is answered", async () => {
  const stream = await client.completions.create({ ...completion, max_tokens: 2000, stream: true });
  let chunks = 0;
  for await (const _ of stream) if (++chunks === 3) stream.controller.abort();
  assert.ok(chunks < 2000);
  assert.ok((await client.completions.create(completion)).choices[0].text);
});

const ann = [{ role: "user", content: "Ann is 7 years old and lives in Rome." }];
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

test("a json schema is parsed by the client's helper", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "city", schema: parameters, strict: true } };
  const answer = await client.chat.completions.parse({ ...chat, messages: ann, max_tokens: 120, response_format });
  assert.equal(typeof JSON.parse(answer.choices[0].message.content).city, "string");
});

test("the tool runner calls the function and gives its result to the model", async () => {
  const called = [];
  const weather = (given) => {
    called.push(given.city);
    return "Sunny.";
  };
  const tools = [
    { type: "function", function: { name: "weather", description: "The weather.", parameters, function: weather, parse: JSON.parse } },
  ];
  // A named choice ends the run after the call, so the second request is made by hand.
  const tool_choice = { type: "function", function: { name: "weather" } };
  const runner = client.chat.completions.runTools({ ...chat, messages: ann, max_tokens: 120, tools, tool_choice });
  await runner.done();
  assert.equal(called.length, 1);
  assert.equal(typeof called[0], "string");
  const result = runner.messages.at(-1);
  assert.deepEqual([result.role, result.content], ["tool", "Sunny."]);
  const last = await client.chat.completions.create({ ...chat, messages: runner.messages });
  assert.equal(last.choices[0].message.role, "assistant");
});
