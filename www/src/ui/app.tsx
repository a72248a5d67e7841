import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { loadFiles } from "../actions/models.ts";
import { announcement, chat, engine, loading, panelsOpen } from "../state.ts";
import { Composer } from "./composer.tsx";
import { Header } from "./header.tsx";
import { LoadProgress } from "./load-progress.tsx";
import { Panels } from "./panels.tsx";
import { Picker } from "./picker.tsx";
import { Transcript } from "./transcript.tsx";
import { ViewToggle } from "./view-toggle.tsx";

export function App() {
  const over = useSignal(false);
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;

  function drag(event: DragEvent) {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over.value = true;
  }
  function drop(event: DragEvent) {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over.value = false;
    const files = [...event.dataTransfer!.files];
    if (files.length > 0 && !loading.value) void loadFiles(files);
  }

  const ready = engine.value !== null;
  const stage = ready ? "ready" : loading.value ? "loading" : "choosing";
  const shown = useRef(stage);
  useEffect(() => {
    // The button that led here is gone: focus goes to what came, and not to nowhere. A chat focuses its own field.
    if (stage !== shown.current && !ready) document.getElementById("main")!.focus();
    shown.current = stage;
  }, [stage]);
  const begun = chat.value.turns.length > 0;
  return (
    <div class={`app${panelsOpen.value ? " with-panels" : ""}`} onDragOver={drag} onDragLeave={() => (over.value = false)} onDrop={drop}>
      <a class="skip" href="#main">Skip to the conversation</a>
      <Header />
      <main id="main" tabIndex={-1}>
        <div class={`stage ${ready ? "chatting" : "choosing"}`}>
          {!ready && (loading.value ? <LoadProgress {...loading.value} /> : <Picker />)}
          {begun && <ViewToggle />}
          {(ready || begun) && <Transcript />}
          {ready && <Composer />}
        </div>
        <Panels />
      </main>
      <p class="sr-only" role="status" aria-live="polite">{announcement.value}</p>
      {over.value && <div class="dropping" aria-hidden="true">Drop the model anywhere</div>}
    </div>
  );
}
