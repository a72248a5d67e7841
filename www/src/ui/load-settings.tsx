import type { Signal } from "@preact/signals";
import type { Device, Place } from "tinderbox-web";
import { settings, type Settings } from "../state.ts";

const DEVICES: [Device, string][] = [["auto", "Automatic"], ["webgpu", "WebGPU"], ["cpu", "CPU"]];
const PLACES: [Place, string][] = [["browser", "In this tab"], ["auto", "Here if it can, else on the edge"], ["edge", "On the edge"]];
const CONTEXTS = [0, 512, 1024, 2048, 4096, 8192];

const set = (part: Partial<Settings>) => (settings.value = { ...settings.value, ...part });

export function LoadSettings({ apiKey }: { apiKey: Signal<string> }) {
  const { device, contextLength, place, endpoint } = settings.value;
  return (
    <div class="load-settings">
      <fieldset class="segments">
        <legend>Device</legend>
        {DEVICES.map(([value, label]) => (
          <label key={value}>
            <input type="radio" name="device" value={value} checked={device === value} onChange={() => set({ device: value })} />
            <span>{label}</span>
          </label>
        ))}
      </fieldset>
      <details>
        <summary>More: context length, an edge server</summary>
        <div class="fields">
          <label>
            <span>Context length</span>
            <select value={String(contextLength)} onChange={(event) => set({ contextLength: Number(event.currentTarget.value) })}>
              {CONTEXTS.map((value) => <option key={value} value={String(value)}>{value || "The model's own, at most 4096"}</option>)}
            </select>
          </label>
          <label>
            <span>Answers come from</span>
            <select value={place} onChange={(event) => set({ place: event.currentTarget.value as Place })}>
              {PLACES.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
            </select>
          </label>
          {place !== "browser" && (
            <>
              <label>
                <span>Address of a Tinderbox server</span>
                <input type="text" inputMode="url" value={endpoint} placeholder="https://edge.example/v1" spellcheck={false}
                  onInput={(event) => set({ endpoint: event.currentTarget.value })} />
              </label>
              <label>
                <span>Its key (not kept)</span>
                <input type="password" autoComplete="off" value={apiKey.value} onInput={(event) => (apiKey.value = event.currentTarget.value)} />
              </label>
            </>
          )}
        </div>
      </details>
    </div>
  );
}
