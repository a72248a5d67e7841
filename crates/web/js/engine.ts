// The engine that `load` gives: OpenAI's interface over the places that can answer.
import { adapterOf } from "./adapters.ts";
import { chat, chunks, text, type Answering } from "./completions.ts";
import type { Edge } from "./edge.ts";
import { TinderboxError } from "./errors.ts";
import { checked } from "./refusal.ts";
import type { Remote } from "./remote.ts";
import type {
  CallOptions, ChatCompletionChunk, ChatParams, Completion, CompletionParams, Engine, Message, Place, Report,
} from "./types.ts";

export interface Places {
  model: string;
  /** What `place` is where a call names none. */
  place: Place;
  browser: Remote | null;
  edge: Edge | null;
  /** Why there is no browser place. */
  why: string;
}

export function engineOf(places: Places): Engine {
  const { model, browser, edge } = places;
  const here: Answering | null = browser && {
    place: "browser",
    fetch: (path, init) => browser.fetch(new Request(new URL(path, location.origin), init)),
  };

  function pick(place: Place = places.place): Answering {
    if (place === "auto") place = here && (!edge || !browser!.gone.aborted) ? "browser" : "edge";
    const picked = place === "browser" ? here : edge;
    if (picked) return picked;
    const why = place === "browser" ? places.why : "no endpoint was given to `load`";
    throw new TinderboxError("unavailable", `nothing answers in the ${place}: ${why}`);
  }

  async function ask<C extends ChatCompletionChunk | Completion>(
    path: string, params: ChatParams | CompletionParams, { signal, place }: CallOptions = {},
  ) {
    const to = pick(place);
    // Here there is one model, whatever it is called; an edge may have several.
    const { adapter, ...rest } = params;
    const sent = { ...rest, model: adapter ?? (to === here ? undefined : params.model) };
    return chunks<C>(to, path, sent, signal);
  }

  async function json<T>(path: string, body?: object): Promise<T> {
    const to = pick();
    const init = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    return (await checked(await to.fetch(path, init), to.place)).json();
  }

  async function createChat(params: ChatParams, options?: CallOptions) {
    const streamed = await ask<ChatCompletionChunk>("/v1/chat/completions", params, options);
    return params.stream ? streamed : chat(streamed);
  }

  async function createText(params: CompletionParams, options?: CallOptions) {
    const streamed = await ask<Completion>("/v1/completions", params, options);
    return params.stream ? streamed : text(streamed);
  }

  return {
    model,
    chat: { completions: { create: createChat as Engine["chat"]["completions"]["create"] } },
    completions: { create: createText as Engine["completions"]["create"] },
    adapters: {
      async load(source, { name, signal } = {}) {
        if (!browser) throw new TinderboxError("unavailable", `there is no browser to load an adapter in: ${places.why}`);
        const found = await adapterOf(source, signal);
        const called = name ?? found.name;
        await browser.adapter(called, found.files);
        return called;
      },
    },
    async tokenize(prompt: string | Message[], { addSpecialTokens } = {}) {
      return (await json<{ tokens: number[] }>("/tokenize", { prompt, add_special_tokens: addSpecialTokens })).tokens;
    },
    async detokenize(tokens) {
      return (await json<{ prompt: string }>("/detokenize", { tokens })).prompt;
    },
    report: async () => (here && pick() === here ? browser!.report() : edgeReport(places, await json("/v1/models"))),
    fetch: async (path, init) => pick().fetch(path, init),
    dispose: async () => browser?.dispose(),
  };
}

interface Models {
  data: { id: string; max_model_len?: number }[];
}

/** An edge says little of its machine; what it does not say is empty. */
function edgeReport({ why }: Places, { data: [model] }: Models): Report {
  return {
    place: "edge",
    model: model?.id ?? "",
    device: null,
    reason: why,
    description: "",
    adapter: null,
    threads: 0,
    contextLength: model?.max_model_len ?? 0,
    selfTest: [],
    memory: {},
    recoveries: 0,
  };
}
