import { begin } from "../actions/chats.ts";
import { unload } from "../actions/models.ts";
import { announcement, engine, loading, panelsOpen, report, theme, type Theme } from "../state.ts";
import { Badge } from "./badge.tsx";
import { ContrastIcon, FlameIcon, PanelIcon, PlusIcon } from "./icons.tsx";

const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };

export function Header() {
  const loaded = engine.value;
  return (
    <header class="top">
      <h1><FlameIcon />Tinderbox</h1>
      {loaded && (
        <div class="loaded">
          <span class="loaded-name">{loaded.model}</span>
          <Badge place={report.value?.place ?? "browser"} device={report.value?.device ?? null} />
          <button type="button" class="quiet" onClick={() => void unload().then(() => (announcement.value = "Model unloaded. Choose another."))}>
            Change<span class="sr-only"> model</span>
          </button>
        </div>
      )}
      <div class="tools">
        {!loading.value && <button type="button" class="icon" aria-label="New chat" title="New chat" onClick={begin}><PlusIcon /></button>}
        <button type="button" class="icon" aria-label={`Colours: ${theme.value}`} title={`Colours: ${theme.value}`} onClick={() => (theme.value = NEXT[theme.value])}>
          <ContrastIcon />
        </button>
        <button type="button" class="icon" id="panels-toggle" aria-label="Panels" title="Panels" aria-expanded={panelsOpen.value} aria-controls="panels"
          onClick={() => (panelsOpen.value = !panelsOpen.value)}>
          <PanelIcon />
        </button>
      </div>
    </header>
  );
}
