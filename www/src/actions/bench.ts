// How fast the model is on this machine: the same 128 tokens read, and 64 written, three times.
import { signal } from "@preact/signals";
import { bytes, duration, rate } from "../format.ts";
import { problemOf } from "../problem.ts";
import { announcement, engine, loadMs, report, type Problem } from "../state.ts";

export interface BenchResult {
  promptTokens: number;
  answerTokens: number;
  loadMs: number;
  firstTokenMs: number;
  prefillPerSecond: number;
  decodePerSecond: number;
}

export type Bench = { state: "running"; run: number } | { state: "done"; result: BenchResult; text: string } | { state: "failed"; problem: Problem };

export const RUNS = 3;
const PROMPT_TOKENS = 128;
const ANSWER_TOKENS = 64;
const TEXT = "A tinderbox holds a flint, a steel and a little charred cloth. Struck against the steel, the flint throws a spark; the cloth "
  + "takes it and glows, and from the glow a splinter of wood dipped in sulphur takes a flame. For some three hundred years this was how a "
  + "house had fire in the morning, and it took a practised hand a minute, and a cold one half an hour. ";

export const bench = signal<Bench | null>(null);

export async function runBench(): Promise<void> {
  const timed = engine.value;
  if (!timed) return;
  announcement.value = "Measuring";
  try {
    const text = await timed.tokenize(TEXT, { addSpecialTokens: false });
    const tokens = Array.from({ length: PROMPT_TOKENS }, (_, at) => text[at % text.length]!);
    const runs: BenchResult[] = [];
    for (let run = 1; run <= RUNS; run++) {
      bench.value = { state: "running", run };
      // Turned by some tokens, so that no run finds its beginning computed by one before.
      const turn = 1 + Math.floor(Math.random() * (PROMPT_TOKENS - 1));
      const prompt = [...tokens.slice(turn), ...tokens.slice(0, turn)];
      const { usage } = await timed.completions.create({ prompt, max_tokens: ANSWER_TOKENS, temperature: 0 });
      const { first_token_ms, tokens_per_second } = usage!.timings;
      runs.push({
        promptTokens: usage!.prompt_tokens,
        answerTokens: usage!.completion_tokens,
        loadMs: loadMs.value,
        firstTokenMs: first_token_ms,
        prefillPerSecond: (usage!.prompt_tokens * 1000) / first_token_ms,
        decodePerSecond: tokens_per_second,
      });
      if (timed !== engine.value) return;
    }
    const result = runs.toSorted((a, b) => a.decodePerSecond - b.decodePerSecond)[Math.floor(RUNS / 2)]!;
    bench.value = { state: "done", result, text: asText(result) };
    announcement.value = "Measured";
  } catch (thrown) {
    if (timed === engine.value) bench.value = { state: "failed", problem: problemOf(thrown) };
  }
}

function asText(result: BenchResult): string {
  const facts = report.value;
  return [
    `Tinderbox bench: ${facts?.model ?? ""}`,
    `device: ${facts?.description ?? ""}`,
    `load: ${duration(result.loadMs)}`,
    `time to first token: ${duration(result.firstTokenMs)} (${result.promptTokens} tokens)`,
    `prefill: ${rate(result.prefillPerSecond)} tokens/s`,
    `decode: ${rate(result.decodePerSecond)} tokens/s (${result.answerTokens} tokens, median of ${RUNS} runs)`,
    `weights: ${bytes(facts?.memory.weights ?? 0)}, ${navigator.hardwareConcurrency} logical cores, ${navigator.userAgent}`,
  ].join("\n");
}
