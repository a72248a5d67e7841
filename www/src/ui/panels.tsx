import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { engine, isWide, panelsOpen } from "../state.ts";
import { BenchPanel } from "./bench-panel.tsx";
import { ChatsPanel } from "./chats-panel.tsx";
import { DevicePanel } from "./device-panel.tsx";
import { SamplingPanel } from "./sampling-panel.tsx";
import { SpeedPanel } from "./speed-panel.tsx";

export function Panels() {
  const box = useRef<HTMLElement>(null);
  const shown = panelsOpen.value;
  const first = useRef(true);

  useLayoutEffect(() => {
    // Where the panels cover the page, focus goes with them, before any key can go elsewhere.
    if (shown && !first.current && !isWide()) box.current!.focus();
    first.current = false;
  }, [shown]);

  function close() {
    panelsOpen.value = false;
    document.getElementById("panels-toggle")?.focus();
  }

  return (
    <section ref={box} id="panels" class="panels" aria-label="Panels" tabIndex={-1} hidden={!shown}
      onKeyDown={(event) => event.key === "Escape" && close()}>
      <button type="button" class="close-panels" onClick={close}>Close the panels</button>
      {engine.value && <Panel title="Speed" open><SpeedPanel /></Panel>}
      <Panel title="Instructions and sampling"><SamplingPanel /></Panel>
      {engine.value && <Panel title="Device" open><DevicePanel /></Panel>}
      {engine.value && <Panel title="Bench"><BenchPanel /></Panel>}
      <Panel title="Chats" open={!engine.value}><ChatsPanel /></Panel>
    </section>
  );
}

const Panel = ({ title, open = false, children }: { title: string; open?: boolean; children: ComponentChildren }) => (
  <details class="panel" open={open}>
    <summary><h2>{title}</h2></summary>
    <div class="panel-body">{children}</div>
  </details>
);
