// What a stream brings, in one shape for both kinds of completion.
import type { ChatCompletionChunk, Completion, FinishReason, Timings } from "tinderbox-web";
import type { Token } from "../state.ts";

export interface Piece {
  place: "browser" | "edge";
  text: string;
  tokens: Token[];
  end: FinishReason;
  timings: Timings | undefined;
}

export async function* chatPieces(stream: AsyncIterable<ChatCompletionChunk>): AsyncGenerator<Piece, void> {
  for await (const { place, choices: [choice], usage } of stream) {
    const tokens = (choice?.logprobs?.content ?? []).map(({ token, logprob, top_logprobs }) => (
      { ...likely(token, logprob), alternatives: top_logprobs.map((other) => likely(other.token, other.logprob)) }
    ));
    yield { place, text: choice?.delta.content ?? "", tokens, end: choice?.finish_reason ?? null, timings: usage?.timings };
  }
}

export async function* textPieces(stream: AsyncIterable<Completion>): AsyncGenerator<Piece, void> {
  for await (const { place, choices: [choice], usage } of stream) {
    const { tokens: texts = [], token_logprobs, top_logprobs } = choice?.logprobs ?? {};
    const tokens = texts.map((text, at) => ({
      ...likely(text, token_logprobs?.[at] ?? 0),
      alternatives: Object.entries(top_logprobs?.[at] ?? {}).map(([other, logprob]) => likely(other, logprob)).sort((a, b) => b.probability - a.probability),
    }));
    yield { place, text: choice?.text ?? "", tokens, end: choice?.finish_reason ?? null, timings: usage?.timings };
  }
}

/** Four places are more than anybody sees, and a fifth of the room of seventeen. */
const likely = (text: string, logprob: number): Omit<Token, "alternatives"> => ({ text, probability: Number(Math.exp(logprob).toFixed(4)) });
