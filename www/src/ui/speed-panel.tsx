import { duration, rate } from "../format.ts";
import { live, speed } from "../state.ts";
import { Plot } from "./plot.tsx";

export function SpeedPanel() {
  const shown = speed.value;
  return (
    <>
      <dl class="figures">
        <div><dt>First token</dt><dd>{shown ? duration(shown.firstTokenMs) : live.value ? "…" : "–"}</dd></div>
        <div><dt>Tokens a second</dt><dd>{shown ? rate(shown.tokensPerSecond) : live.value ? "…" : "–"}</dd></div>
      </dl>
      {shown && shown.arrivals.length > 1 ? <Plot {...shown} /> : <p class="hint">The next answer draws its speed here.</p>}
    </>
  );
}
