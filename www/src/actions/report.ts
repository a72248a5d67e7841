// The engine's facts about itself, which change while it works.
import { engine, report } from "../state.ts";

export async function refreshReport(): Promise<void> {
  const asked = engine.value;
  const answer = await asked?.report().catch(() => null);
  // Meanwhile another model may have been loaded.
  if (asked === engine.value) report.value = answer ?? null;
}
