import type { Phase } from "tinderbox-web";
import { bytes } from "../format.ts";
import type { Loading } from "../state.ts";

const PHASES: [Phase, string][] = [["download", "Fetch"], ["verify", "Check"], ["load", "Load"], ["ready", "Ready"]];

export function LoadProgress({ name, progress, cancel }: Loading) {
  const at = PHASES.findIndex(([phase]) => phase === progress?.phase);
  const total = progress?.total ?? 0;
  return (
    <section class="card loading" aria-labelledby="loading-title">
      <h2 id="loading-title">Loading {name}</h2>
      <ol class="phases">
        {PHASES.map(([phase, label], index) => (
          <li key={phase} class={index < at ? "done" : index === at ? "now" : ""} aria-current={index === at ? "step" : undefined}>{label}</li>
        ))}
      </ol>
      <progress aria-label="Bytes of this step" {...(total > 0 ? { max: total, value: progress!.loaded } : {})} />
      <p class="numbers">
        {progress && total > 0
          ? <><span>{bytes(progress.loaded)} of {bytes(total)}</span>{progress.bytesPerSecond > 0 && <span>{bytes(progress.bytesPerSecond)}/s</span>}<span class="file">{progress.file}</span></>
          : <span>Starting the engine</span>}
      </p>
      <button type="button" onClick={cancel}>Cancel</button>
    </section>
  );
}
