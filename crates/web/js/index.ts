// The package's face: load a model, list and forget those that are kept.
import { cached } from "./cached.ts";
import { Edge } from "./edge.ts";
import { engineOf } from "./engine.ts";
import { TinderboxError } from "./errors.ts";
import { opfs } from "./opfs.ts";
import { Remote } from "./remote.ts";
import { stored as storedModel, type Shelf } from "./shelf.ts";
import { planOf } from "./source.ts";
import type { Engine, LoadOptions, StoredModel, Tinderbox as Face } from "./types.ts";

export { TinderboxError } from "./errors.ts";
export { serve } from "./serve.ts";
export type * from "./types.ts";

async function load(options: LoadOptions): Promise<Engine> {
  const place = oneOf("place", options.place ?? "browser", ["browser", "edge", "auto"]);
  const edge = options.endpoint === undefined ? null : new Edge(options.endpoint, options.apiKey);
  if (place !== "browser" && !edge) {
    throw new TinderboxError("invalid_request", `endpoint: is needed where place is "${place}"`, "endpoint");
  }
  const plan = planOf(options, CATALOG);
  const { model } = plan;
  if (place === "edge") return engineOf({ model, place, browser: null, edge, why: "`place` was `edge` at load" });

  const device = oneOf("device", options.device ?? "auto", ["auto", "webgpu", "cpu"]);
  const contextLength = options.contextLength ?? 0;
  if (!Number.isInteger(contextLength) || contextLength < 0) {
    throw new TinderboxError("invalid_request", "contextLength: is not a whole number of tokens", "contextLength");
  }
  const { threads } = options;
  if (threads !== undefined && !(Number.isInteger(threads) && threads > 0)) {
    throw new TinderboxError("invalid_request", "threads: is not a whole number above 0", "threads");
  }
  const browser = new Remote();
  try {
    if (!isSecureContext) throw new TinderboxError("unsupported", "browsers keep files and give devices only over HTTPS or from localhost");
    await browser.load({ call: "load", plan, device, contextLength, threads }, options.onProgress, options.signal);
  } catch (thrown) {
    const error = thrown as TinderboxError;
    if (place !== "auto" || error.code === "aborted") throw error;
    return engineOf({ model, place, browser: null, edge, why: error.message });
  }
  return engineOf({ model, place, browser, edge, why: "" });
}

function oneOf<T extends string>(param: string, value: T, values: readonly T[]): T {
  if (values.includes(value)) return value;
  throw new TinderboxError("invalid_request", `${param}: "${value}" is none of ${values.join(", ")}`, param);
}

async function shelves(): Promise<Shelf[]> {
  return (await Promise.all([opfs(), cached()])).filter((shelf) => shelf !== null);
}

async function stored(): Promise<StoredModel[]> {
  const found = (await shelves()).map(async (shelf) => {
    const kept = await shelf.models();
    return Promise.all(kept.map((model) => storedModel(shelf, model)));
  });
  return (await Promise.all(found)).flat().filter(({ bytes }) => bytes > 0);
}

async function remove(name: string): Promise<boolean> {
  let removed = false;
  for (const shelf of await shelves()) {
    if (!(await shelf.find(name))) continue;
    await shelf.remove(name);
    removed = true;
  }
  return removed;
}

export const Tinderbox: Face = { load, catalog: CATALOG, stored, remove };
