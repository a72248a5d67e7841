import { bench, runBench, RUNS, type BenchResult } from "../actions/bench.ts";
import { duration, rate } from "../format.ts";
import { live } from "../state.ts";
import { CopyButton } from "./copy-button.tsx";
import { ProblemNote } from "./problem-note.tsx";

export function BenchPanel() {
  const now = bench.value;
  const running = now?.state === "running";
  return (
    <>
      <p class="hint">Reads 128 tokens and writes 64, {RUNS} times, and takes the middle one.</p>
      <button type="button" aria-disabled={running || live.value !== null} onClick={() => {
        if (!running && !live.value) void runBench();
      }}>{running ? `Run ${now.run} of ${RUNS} …` : "Measure"}</button>
      {now?.state === "failed" && <ProblemNote title="Nothing was measured." problem={now.problem} />}
      {now?.state === "done" && (
        <>
          <Figures {...now.result} />
          <CopyButton text={now.text} label="Copy as text" what="the result" />
        </>
      )}
    </>
  );
}

const Figures = ({ loadMs, firstTokenMs, prefillPerSecond, decodePerSecond }: BenchResult) => (
  <dl class="figures bench">
    <div><dt>Load</dt><dd>{duration(loadMs)}</dd></div>
    <div><dt>First token</dt><dd>{duration(firstTokenMs)}</dd></div>
    <div><dt>Prefill, tokens/s</dt><dd>{rate(prefillPerSecond)}</dd></div>
    <div><dt>Decode, tokens/s</dt><dd>{rate(decodePerSecond)}</dd></div>
  </dl>
);
