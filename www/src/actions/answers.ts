// Asking the engine: ask, ask again, ask otherwise, stop.
import type { Engine, Message } from "tinderbox-web";
import { count } from "../format.ts";
import { problemOf } from "../problem.ts";
import { announcement, chat, chatProblem, editing, engine, live, plain, report, sampling, system, type Answer, type Turn } from "../state.ts";
import { setTurns } from "./chats.ts";
import { chatPieces, textPieces, type Piece } from "./pieces.ts";
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
    for await (const piece of await pieces(asked, turns, mine.signal)) {
      const now = Math.round(performance.now() - start);
      arrivals.push(...piece.tokens.map(() => now));
      take(piece, growing);
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

async function pieces(asked: Engine, turns: Turn[], signal: AbortSignal): Promise<AsyncIterable<Piece>> {
  const { seed, max_tokens, ...values } = sampling.value;
  const messages = messagesOf(turns);
  const prompt = messages.map(({ content }) => content).join("\n\n");
  const limit = Math.min(max_tokens, await room(asked, plain.value ? prompt : messages));
  const params = { ...values, seed: seed ?? undefined, max_tokens: limit, stream: true } as const;
  if (plain.value) return textPieces(await asked.completions.create({ ...params, prompt, logprobs: ALTERNATIVES }, { signal }));
  return chatPieces(await asked.chat.completions.create({ ...params, messages, logprobs: true, top_logprobs: ALTERNATIVES }, { signal }));
}

/** Tokens left for the answer: the engine refuses to be asked for more. Where there are none, its own words say so. */
async function room(asked: Engine, prompt: string | Message[]): Promise<number> {
  const length = report.value?.contextLength;
  return length ? Math.max(1, length - (await asked.tokenize(prompt)).length) : Infinity;
}

function take({ place, text, tokens, end, timings }: Piece, growing: Answer): void {
  growing.place = place;
  growing.content += text;
  growing.tokens.push(...tokens);
  // The page offers no tools, so that nothing ends with a call of one.
  growing.end = end === "tool_calls" ? "stop" : end ?? growing.end;
  if (timings) {
    growing.speed = { firstTokenMs: timings.first_token_ms, totalMs: timings.total_ms, tokensPerSecond: timings.tokens_per_second, arrivals: [] };
  }
}

function speedOf(arrivals: number[], totalMs: number): Answer["speed"] {
  const [first] = arrivals;
  if (first === undefined) return null;
  const seconds = (arrivals.at(-1)! - first) / 1000;
  return { firstTokenMs: first, totalMs, tokensPerSecond: seconds > 0 ? (arrivals.length - 1) / seconds : 0, arrivals: [...arrivals] };
}
