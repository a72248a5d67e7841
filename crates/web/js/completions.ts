// `create` of both completions. The answer is always streamed between worker and page: only so an abort reaches a
// running sequence, and the first token's time is known; without `stream` it is put together here.
import { events } from "./events.ts";
import { checked } from "./refusal.ts";
import { Stopwatch } from "./stopwatch.ts";
import type {
  Answer, ChatCompletion, ChatCompletionChunk, ChatLogprobs, Completion, CompletionLogprobs, Delta, Usage,
} from "./types.ts";

/** A place that answers. */
export interface Answering {
  readonly place: "browser" | "edge";
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

type Chunk = ChatCompletionChunk | Completion;

/** The chunks of a request. It is sent at once, not when the first chunk is asked for. */
export async function chunks<C extends Chunk>(
  to: Answering, path: string, params: object, signal?: AbortSignal,
): Promise<AsyncGenerator<C, void>> {
  const watch = new Stopwatch();
  const body = JSON.stringify({ ...params, stream: true, stream_options: { include_usage: true } });
  const headers = { "content-type": "application/json" };
  const response = await to.fetch(path, { method: "POST", headers, body, ...(signal && { signal }) });
  return timed<C>(await checked(response, to.place), to.place, watch);
}

async function* timed<C extends Chunk>(response: Response, place: "browser" | "edge", watch: Stopwatch) {
  for await (const chunk of events<C>(response, place)) {
    if (chunk.choices.some(hasToken)) watch.token();
    if (chunk.usage) chunk.usage = watch.usage(chunk.usage);
    chunk.place = place;
    yield chunk;
  }
}

type Choice = Chunk["choices"][number];

/** Not the announcement of the role, and not the reason for the end. */
const hasToken = (choice: Choice) =>
  Boolean("delta" in choice ? choice.delta.content || choice.delta.tool_calls : choice.text);

export async function chat(from: AsyncIterable<ChatCompletionChunk>): Promise<ChatCompletion> {
  const choices: ChatCompletion["choices"] = [];
  const whole = await gather(from, ({ index, delta, logprobs, finish_reason }) => {
    const choice = (choices[index] ??= {
      index, message: { role: "assistant", content: null }, logprobs: null, finish_reason: null,
    });
    add(choice.message, delta);
    choice.finish_reason = finish_reason ?? choice.finish_reason;
    if (logprobs) choice.logprobs = joinChat(choice.logprobs, logprobs);
  });
  // Only calls may stand alone.
  for (const { message } of choices) if (!message.tool_calls) message.content ??= "";
  return { ...whole, object: "chat.completion", choices };
}

function add(message: Answer, { content, tool_calls }: Delta) {
  if (content) message.content = (message.content ?? "") + content;
  for (const { index, id, function: { name, arguments: more } } of tool_calls ?? []) {
    const calls = (message.tool_calls ??= []);
    if (id && name) calls[index] = { id, type: "function", function: { name, arguments: more } };
    else calls[index]!.function.arguments += more;
  }
}

export async function text(from: AsyncIterable<Completion>): Promise<Completion> {
  const choices: Completion["choices"] = [];
  const whole = await gather(from, ({ index, text, logprobs, finish_reason }) => {
    const choice = (choices[index] ??= { index, text: "", logprobs: null, finish_reason: null });
    choice.text += text;
    choice.finish_reason = finish_reason ?? choice.finish_reason;
    if (logprobs) choice.logprobs = join(choice.logprobs, logprobs);
  });
  return { ...whole, object: "text_completion", choices };
}

async function gather<C extends Chunk>(from: AsyncIterable<C>, take: (choice: C["choices"][number]) => void) {
  let last: C | undefined;
  let usage: Usage | undefined;
  for await (const chunk of from) {
    last = chunk;
    usage = chunk.usage ?? usage;
    for (const choice of chunk.choices) take(choice);
  }
  const { id, created, model, place } = last!;
  return { id, created, model, place, usage: usage! };
}

function joinChat(had: ChatLogprobs | null, more: ChatLogprobs): ChatLogprobs {
  return { content: [...(had?.content ?? []), ...(more.content ?? [])] };
}

function join(had: CompletionLogprobs | null, more: CompletionLogprobs): CompletionLogprobs {
  if (!had) return more;
  return {
    tokens: [...had.tokens, ...more.tokens],
    token_logprobs: [...had.token_logprobs, ...more.token_logprobs],
    top_logprobs: had.top_logprobs && more.top_logprobs && [...had.top_logprobs, ...more.top_logprobs],
    text_offset: [...had.text_offset, ...more.text_offset],
  };
}
