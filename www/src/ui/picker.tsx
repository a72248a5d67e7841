import { useSignal } from "@preact/signals";
import { Tinderbox } from "tinderbox-web";
import { load, loadFiles } from "../actions/models.ts";
import { bytes } from "../format.ts";
import { chat, loadProblem, settings, stored } from "../state.ts";
import { KeptModels } from "./kept-models.tsx";
import { LoadSettings } from "./load-settings.tsx";
import { ProblemNote } from "./problem-note.tsx";

export function Picker() {
  const address = useSignal("");
  // Never kept: a key is the reader's own affair.
  const apiKey = useSignal("");
  const complete = new Set(stored.value.filter((model) => model.complete).map(({ name }) => name));
  const begun = chat.value.turns.length > 0;

  function pick(input: HTMLInputElement) {
    const files = [...(input.files ?? [])];
    if (files.length > 0) void loadFiles(files);
  }

  return (
    <div class="picker">
      <div class="hero">
        <h2>{begun ? "Choose a model, and the chat goes on." : "A language model, struck alight in this tab."}</h2>
        <p>
          {settings.value.place === "browser"
            ? "It runs on your own machine, on WebGPU or the processor. Nothing you type leaves this page."
            : "It runs on your own machine, or on the edge server you name below: what is answered there is sent there."}
        </p>
      </div>
      {loadProblem.value && <ProblemNote title="The model was not loaded." problem={loadProblem.value} />}

      <section aria-labelledby="catalog-title">
        <h3 id="catalog-title">Choose a model</h3>
        <ul class="cards">
          {Tinderbox.catalog.map(({ name, description, licence, bytes: size }) => (
            <li key={name} class="card model">
              <h4>{name}</h4>
              <p>{description}</p>
              <dl>
                <div><dt>Size</dt><dd>{bytes(size)}</dd></div>
                <div><dt>Licence</dt><dd>{licence}</dd></div>
              </dl>
              <button type="button" class="primary" onClick={() => void load(name, name, apiKey.value)}>
                {complete.has(name) ? "Start" : "Fetch and start"}<span class="sr-only"> {name}</span>
              </button>
            </li>
          ))}
        </ul>
      </section>

      <div class="own">
        <section aria-labelledby="file-title">
          <h3 id="file-title">A file of yours</h3>
          <label class="file-pick">
            <input type="file" multiple accept=".gguf,.safetensors,.json" aria-label="Model file" onChange={(event) => pick(event.currentTarget)} />
            <span aria-hidden="true"><b>Choose a file</b> or drop one anywhere</span>
          </label>
          <p class="hint">A GGUF, or all files of a safetensors folder. It is read from the disk and goes nowhere.</p>
        </section>
        <section aria-labelledby="address-title">
          <h3 id="address-title">An address</h3>
          <form class="address" onSubmit={(event) => {
            event.preventDefault();
            const trimmed = address.value.trim();
            if (trimmed) void load(trimmed, trimmed, apiKey.value);
          }}>
            <label class="sr-only" for="address">Address of a model file</label>
            <input id="address" type="text" inputMode="url" required autoComplete="off" spellcheck={false} placeholder="https://…/model.gguf"
              value={address.value} onInput={(event) => (address.value = event.currentTarget.value)} />
            <button type="submit">Load</button>
          </form>
          <p class="hint">Fetched from there and from nowhere else, then kept in this browser.</p>
        </section>
      </div>

      <LoadSettings apiKey={apiKey} />
      <KeptModels />
    </div>
  );
}
