import { Tinderbox } from "tinderbox-web";
import { forget, load } from "../actions/models.ts";
import { bytes } from "../format.ts";
import { stored } from "../state.ts";

export function KeptModels() {
  if (stored.value.length === 0) return null;
  const inCatalog = (name: string) => Tinderbox.catalog.some((model) => model.name === name);
  return (
    <section aria-labelledby="kept-title">
      <h3 id="kept-title">Kept in this browser</h3>
      <ul class="kept">
        {stored.value.map(({ name, bytes: size, total, complete }) => (
          <li key={name}>
            <span class="kept-name">{name}</span>
            <span class="numbers">{complete ? bytes(size) : `${bytes(size)} of ${bytes(total)}`}</span>
            {!inCatalog(name) && <button type="button" onClick={() => void load(name, name, "")}>{complete ? "Start" : "Resume"}<span class="sr-only"> {name}</span></button>}
            <button type="button" class="quiet" onClick={() => void forget(name)}>Delete<span class="sr-only"> {name}</span></button>
          </li>
        ))}
      </ul>
    </section>
  );
}
