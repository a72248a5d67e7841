import type { Adapter, Report, SelfTest } from "tinderbox-web";
import { refreshReport } from "../actions/report.ts";
import { bytes, count } from "../format.ts";
import { report } from "../state.ts";

export function DevicePanel() {
  const facts = report.value;
  if (!facts) return <p class="hint">No facts yet.</p>;
  const { description, reason, adapter, selfTest, contextLength, recoveries, threads } = facts;
  return (
    <>
      <dl class="facts">
        <div><dt>Device</dt><dd>{description || facts.place}</dd></div>
        {reason && <div><dt>Why</dt><dd>{reason}</dd></div>}
        {threads > 0 && <div><dt>Threads</dt><dd>{count(threads)}</dd></div>}
        <div><dt>Context</dt><dd>{count(contextLength)} tokens</dd></div>
        <div><dt>Rebuilt</dt><dd>{recoveries === 0 ? "never" : `${recoveries} ${recoveries === 1 ? "time" : "times"}`}</dd></div>
      </dl>
      {adapter && <AdapterFacts {...adapter} />}
      <Memory {...facts} />
      {selfTest.length > 0 && <SelfTests tests={selfTest} />}
      <button type="button" onClick={() => void refreshReport()}>Refresh</button>
    </>
  );
}

function AdapterFacts({ description, fallback, features, limits }: Adapter) {
  return (
    <details class="more">
      <summary>Adapter: {description}{fallback && " (software)"}</summary>
      <p class="hint">{features.join(", ") || "No optional features"}</p>
      <dl class="facts limits">
        {Object.entries(limits).map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{count(value)}</dd></div>)}
      </dl>
    </details>
  );
}

const KINDS: Record<string, string> = { weights: "Weights", kv_cache: "Conversation (KV cache)", heap: "Engine (wasm heap)" };

/** On the CPU, weights and conversation lie within the heap, and are not counted twice. */
function apart({ device, memory }: Report): Record<string, number> {
  if (device !== "cpu") return memory;
  const { heap = 0, ...within } = memory;
  return { ...within, heap: Math.max(0, heap - Object.values(within).reduce((sum, size) => sum + size, 0)) };
}

function Memory(facts: Report) {
  const kinds = Object.entries(apart(facts)).filter(([, size]) => size > 0).sort(([, a], [, b]) => b - a);
  const total = kinds.reduce((sum, [, size]) => sum + size, 0);
  if (total === 0) return null;
  return (
    <div class="memory">
      <h3>Memory: {bytes(total)}</h3>
      <div class="memory-bar" aria-hidden="true">
        {kinds.map(([kind, size]) => <span key={kind} class={`kind-${kind}`} style={{ width: `${(100 * size) / total}%` }} />)}
      </div>
      <ul>
        {kinds.map(([kind, size]) => <li key={kind}><span class={`swatch kind-${kind}`} aria-hidden="true" />{KINDS[kind] ?? kind}<span class="numbers">{bytes(size)}</span></li>)}
      </ul>
    </div>
  );
}

function SelfTests({ tests }: { tests: SelfTest[] }) {
  const failed = tests.filter(({ passed }) => !passed);
  const fatal = failed.some(({ fallback }) => fallback === null);
  const verdict = failed.length === 0
    ? `all ${tests.length} kernels right`
    : `${failed.length} of ${tests.length} wrong, so ${fatal ? "the CPU computes" : "others took their place"}`;
  return (
    <details class="more" open={failed.length > 0}>
      <summary>Self-test: {verdict}</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="Self-test of the kernels">
        <table>
          <thead><tr><th scope="col">Kernel</th><th scope="col">Weights</th><th scope="col">Result</th><th scope="col">Deviation</th></tr></thead>
          <tbody>
            {tests.map(({ kernel, format, passed, error, detail, fallback }, index) => (
              <tr key={index} title={detail}>
                <th scope="row">{kernel}</th><td>{format ?? "–"}</td><td class={passed ? "" : "failed"}>{passed ? "right" : fallback === null ? "wrong" : `wrong; now ${fallback}`}</td>
                <td class="numbers">{error === 0 ? "0" : error?.toExponential(1) ?? "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
