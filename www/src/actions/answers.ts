// Asking the engine: ask, ask again, ask otherwise, stop.
import type { ChatCompletionChunk, Engine, Message } from "tinderbox-web";
import { count } from "../format.ts";
import { problemOf } from "../problem.ts";
import { announcement, chat, chatProblem, editing, engine, live, report, sampling, system, type Answer, type Token, type Turn } from "../state.ts";
import { setTurns } from "./chats.ts";
import { refreshReport } from "./report.ts";

/** Milliseconds between two looks at an answer that grows: more often, nobody sees. */
const BEAT = 40;
const ALTERNATIVES = 5;

let controller: AbortController | null = null;

export const stop = () => controller?.abort();

export const ask = (content: string) => answer([...chat.value.turns, { role: "user", content }]);

/** Asks the last question again. */
export function regenerate(): Promise<void> {
  const { turns } = chat.value;
  return answer(turns.slice(0, turns.findLastIndex(({ role }) => role === "user") + 1));
}

/** The conversation goes on from a question put otherwise; what came after it is dropped. */
export function amend(index: number, content: string): Promise<void> {
  editing.value = null;
  return answer([...chat.value.turns.slice(0, index), { role: "user", content }]);
}

async function answer(turns: Turn[]): Promise<void> {
  const asked = engine.value;
  if (!asked || controller) return;
  const { id } = chat.value;
  const mine = (controller = new AbortController());
  const growing: Answer = { role: "assistant", content: "", tokens: [], speed: null, model: asked.model, place: null, end: null };
  const arrivals: number[] = [];
  const start = performance.now();
  setTurns(id, turns);
  chatProblem.value = null;
  live.value = growing;
  announcement.value = "Answering";

  let shownAt = 0;
  const show = () => {
    shownAt = performance.now();
    live.value = { ...growing, tokens: [...growing.tokens], speed: speedOf(arrivals, shownAt - start) };
  };
  try {
    const { seed, max_tokens, ...values } = sampling.value;
    const messages = messagesOf(turns);
    const limit = Math.min(max_tokens, await room(asked, messages));
    const stream = await asked.chat.completions.create(
      { ...values, seed: seed ?? undefined, max_tokens: limit, messages, stream: true, logprobs: true, top_logprobs: ALTERNATIVES },
      { signal: mine.signal },
    );
    for await (const chunk of stream) {
      take(chunk, growing, () => arrivals.push(Math.round(performance.now() - start)));
      if (performance.now() - shownAt > BEAT) show();
    }
    announcement.value = `Answer finished, ${count(growing.tokens.length)} tokens`;
  } catch (thrown) {
    const problem = problemOf(thrown);
    growing.end = problem.code === "aborted" ? "stopped" : "failed";
    if (growing.end === "failed") chatProblem.value = problem;
    else announcement.value = "Stopped";
  } finally {
    growing.speed ??= speedOf(arrivals, performance.now() - start);
    if (growing.speed) growing.speed.arrivals = arrivals;
    controller = null;
    live.value = null;
    // One cut off before its first word is none.
    if (growing.content || growing.end === "stop") setTurns(id, [...turns, growing]);
    await refreshReport();
  }
}

function messagesOf(turns: Turn[]): Message[] {
  const messages: Message[] = turns.map(({ role, content }) => ({ role, content }));
  const prompt = system.value.trim();
  return prompt ? [{ role: "system", content: prompt }, ...messages] : messages;
}

/** Tokens left for the answer: the engine refuses to be asked for more. Where there are none, its own words say so. */
async function room(asked: Engine, messages: Message[]): Promise<number> {
  const length = report.value?.contextLength;
  return length ? Math.max(1, length - (await asked.tokenize(messages)).length) : Infinity;
}

function take(chunk: ChatCompletionChunk, growing: Answer, arrived: () => void): void {
  growing.place = chunk.place;
  const [choice] = chunk.choices;
  growing.content += choice?.delta.content ?? "";
  for (const { token, logprob, top_logprobs } of choice?.logprobs?.content ?? []) {
    arrived();
    growing.tokens.push({ ...likely(token, logprob), alternatives: top_logprobs.map((other) => likely(other.token, other.logprob)) });
  }
  growing.end = choice?.finish_reason ?? growing.end;
  if (chunk.usage) {
    const { first_token_ms, total_ms, tokens_per_second } = chunk.usage.timings;
    growing.speed = { firstTokenMs: first_token_ms, totalMs: total_ms, tokensPerSecond: tokens_per_second, arrivals: [] };
  }
}

/** Four places are more than anybody sees, and a fifth of the room of seventeen. */
const likely = (text: string, logprob: number): Omit<Token, "alternatives"> => ({ text, probability: Number(Math.exp(logprob).toFixed(4)) });

function speedOf(arrivals: number[], totalMs: number): Answer["speed"] {
  const [first] = arrivals;
  if (first === undefined) return null;
  const seconds = (arrivals.at(-1)! - first) / 1000;
  return { firstTokenMs: first, totalMs, tokensPerSecond: seconds > 0 ? (arrivals.length - 1) / seconds : 0, arrivals: [...arrivals] };
}
