/** What the package takes and gives. Wire shapes (snake_case) are OpenAI's; everything else is camelCase. */

/** Where an answer is computed. `auto` is the browser where its device can, else the edge. */
export type Place = "browser" | "edge" | "auto";

/** What computes in the browser. `auto` is WebGPU where there is an adapter that is no software, else the CPU. */
export type Device = "auto" | "webgpu" | "cpu";

/** A model: a name of the catalog, an address (of a split GGUF the first part's; several for other shards), or files the user has. */
export type ModelSource = string | URL | readonly (string | URL)[] | File | Blob | readonly File[];

/** An adapter: the address of its folder, or its files, `adapter_config.json` and `adapter_model.safetensors` among them. */
export type AdapterSource = string | URL | readonly File[];

export interface LoadOptions {
  model: ModelSource;
  /** Default `auto`. */
  device?: Device;
  /** Tokens one conversation can hold, prompt and answer together. Default: the model's own, at most 4096. */
  contextLength?: number;
  /** Threads of the CPU, where it computes and the page is cross-origin isolated; elsewhere there is one. Default: one for each core, at most 8. */
  threads?: number;
  /** Folder the catalog's files are in. Default: `/models/` on the page's own origin. */
  models?: string | URL;
  /** Lower-case hex SHA-256 of an address's file, one for each shard. The catalog has its own. */
  sha256?: string | readonly string[];
  onProgress?: (progress: Progress) => void;
  /** Ends loading; what was downloaded is kept, and the next load goes on there. */
  signal?: AbortSignal;
  /** Default `browser`. */
  place?: Place;
  /** Address of a Tinderbox server, as in `https://edge.example/v1`; needed unless `place` is `browser`. */
  endpoint?: string | URL;
  /** Sent to the endpoint as a bearer token. */
  apiKey?: string;
}

export type Phase = "download" | "verify" | "load" | "ready";

export interface Progress {
  phase: Phase;
  /** Bytes of `file` done in this phase. */
  loaded: number;
  /** Bytes of `file` in this phase; 0 where not known. */
  total: number;
  /** Over the last second or so. */
  bytesPerSecond: number;
  /** File name. */
  file: string;
}

/** Why something failed: `code` is for programs, `message` says what was wrong, where, and what to do. */
export type ErrorCode =
  | "not_found" // no such model, or the server has no such file
  | "network" // no answer, or one that broke off
  | "checksum" // the file is not the one that was asked for
  | "invalid_model" // truncated, unknown architecture, missing tensor
  | "quota" // the browser gives no more storage
  | "unsupported" // the browser lacks something, or its GPU does not start or computes wrong numbers
  | "memory" // the GPU has no room for the model
  | "device_lost" // the GPU was lost more than twice, or while it was loaded
  | "invalid_request" // a wrong field; `param` names it
  | "unavailable" // the queue is full, or the engine is disposed of
  | "aborted"
  | "internal";

/** Facts about the engine, for people and for bug reports. */
export interface Report {
  place: "browser" | "edge";
  model: string;
  /** Null where an edge computes. */
  device: "webgpu" | "cpu" | null;
  /** Why this device. */
  reason: string;
  /** As in `CPU (wasm SIMD128, 1 thread)` or `google swiftshader (WebGPU)`. */
  description: string;
  adapter: Adapter | null;
  /** Of the CPU, that compute; 0 where an edge does. */
  threads: number;
  contextLength: number;
  selfTest: SelfTest[];
  /** Bytes by kind: `weights`, `kv_cache`, `heap` (wasm memory). */
  memory: Record<string, number>;
  /** How often the device was rebuilt. */
  recoveries: number;
}

export interface Adapter {
  /** As in `google swiftshader`. */
  description: string;
  /** A software adapter: correct, and slow. */
  fallback: boolean;
  features: string[];
  limits: Record<string, number>;
}

/** One kernel on this device beside the reference. */
export interface SelfTest {
  kernel: string;
  /** Storage of the weights, as in `Q4_1`; null where there are none. */
  format: string | null;
  passed: boolean;
  /** Largest deviation as a share of the largest value; null where it is no number. */
  error: number | null;
  detail: string;
  /** What took the place of a wrong kernel; null where it passed or nothing could. */
  fallback: string | null;
}

/** A model kept in this browser. */
export interface StoredModel {
  name: string;
  /** Bytes kept. */
  bytes: number;
  /** Bytes of the whole; more than `bytes` where a download was cut. */
  total: number;
  complete: boolean;
}

/** A model known by name. */
export interface CatalogModel {
  name: string;
  description: string;
  licence: string;
  bytes: number;
  sha256: string;
  /** Name of the file in the folder `models`. */
  file: string;
}

/** Times of one answer, seen from the page. */
export interface Timings {
  /** Milliseconds from the call to the first token. */
  first_token_ms: number;
  /** Milliseconds from the call to the last token. */
  total_ms: number;
  /** Tokens after the first, a second. */
  tokens_per_second: number;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  /** Of the prompt's, those found in the prefix cache. */
  prompt_tokens_details?: { cached_tokens: number };
  timings: Timings;
}

/** A call of a tool; the arguments are JSON. */
export interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

/** A function that may be called; with `strict` its calls follow `parameters`, a JSON Schema, to the letter. */
export interface Tool {
  type: "function";
  function: { name: string; description?: string; parameters?: object; strict?: boolean };
}

export interface Message {
  role: "system" | "developer" | "user" | "assistant" | "tool";
  /** Parts are joined; null only beside `tool_calls`. */
  content: string | { type: "text"; text: string }[] | null;
  name?: string;
  /** Calls that the assistant made. */
  tool_calls?: ToolCall[];
  /** The call that a `tool` message answers. */
  tool_call_id?: string;
}

/** Options of both completions; ranges are those of the server's `/openapi.json`. */
export interface Sampling {
  /** A name that `adapters.load` gave; of an edge, one of its adapters. Default: the model as it is. */
  adapter?: string;
  max_tokens?: number;
  /** No end before this many tokens. */
  min_tokens?: number;
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  typical_p?: number;
  repetition_penalty?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  logit_bias?: Record<string, number>;
  seed?: number;
  stop?: string | string[];
  stop_token_ids?: number[];
  /** Leave the stop text in the answer. */
  include_stop_str_in_output?: boolean;
  /** Go on past the end token. */
  ignore_eos?: boolean;
  /** Leave end and control tokens out of the text; so it is unless this is false. */
  skip_special_tokens?: boolean;
  /** Keep this many tokens at the prompt's end; -1: as many as fit. */
  truncate_prompt_tokens?: number;
  /** Name tokens `token_id:7` in logprobs. */
  return_tokens_as_token_ids?: boolean;
  /** What the answer must look like; any text unless said. */
  response_format?:
    | { type: "text" | "json_object" }
    | { type: "json_schema"; json_schema: { name: string; schema?: object; strict?: boolean; description?: string } };
  n?: number;
  user?: string;
}

export interface ChatParams extends Sampling {
  messages: Message[];
  /** Ignored: an engine has one model. */
  model?: string;
  /** The newer name of `max_tokens`. */
  max_completion_tokens?: number;
  tools?: Tool[];
  tool_choice?: "auto" | "none" | "required" | { type: "function"; function: { name: string } };
  /** More than one call in an answer; so it is unless this is false. */
  parallel_tool_calls?: boolean;
  /** A variable of some templates. */
  guideline?: string;
  logprobs?: boolean;
  /** Alternatives a token, 0 to 20. */
  top_logprobs?: number;
  stream?: boolean;
}

export interface CompletionParams extends Sampling {
  prompt: string | string[] | number[] | number[][];
  model?: string;
  /** Alternatives a token, 0 to 20. */
  logprobs?: number;
  /** Put the prompt before the text. */
  echo?: boolean;
  /** Samples to choose from, at least `n`. */
  best_of?: number;
  /** BOS before a text; the checkpoint's rule unless said. */
  add_special_tokens?: boolean;
  stream?: boolean;
}

export type FinishReason = "stop" | "length" | "tool_calls" | null;

export interface TokenLogprob {
  token: string;
  logprob: number;
  bytes: number[] | null;
}

export interface ChatLogprobs {
  content: (TokenLogprob & { top_logprobs: TokenLogprob[] })[] | null;
}

/** What every answer carries besides OpenAI's fields. */
export interface Placed {
  /** Where it was computed. */
  place: "browser" | "edge";
}

/** An answer; the content is null where it is calls alone. */
export interface Answer {
  role: "assistant";
  content: string | null;
  tool_calls?: ToolCall[];
}

/** What is added to an answer. A call's id, type and name come first, then its arguments in pieces. */
export interface Delta {
  role?: "assistant";
  content?: string;
  tool_calls?: { index: number; id?: string; type?: "function"; function: { name?: string; arguments: string } }[];
}

export interface ChatCompletion extends Placed {
  id: string;
  object: "chat.completion";
  created: number;
  model: string;
  choices: { index: number; message: Answer; logprobs: ChatLogprobs | null; finish_reason: FinishReason }[];
  usage: Usage;
}

export interface ChatCompletionChunk extends Placed {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  choices: { index: number; delta: Delta; logprobs?: ChatLogprobs | null; finish_reason: FinishReason }[];
  /** On the last chunk, whose `choices` are empty. */
  usage?: Usage | null;
}

export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[] | null;
  text_offset: number[];
}

/** Streamed chunks have the same shape, with `usage` on the last. */
export interface Completion extends Placed {
  id: string;
  object: "text_completion";
  created: number;
  model: string;
  choices: { index: number; text: string; logprobs: CompletionLogprobs | null; finish_reason: FinishReason }[];
  usage?: Usage | null;
}

export interface CallOptions {
  signal?: AbortSignal;
  /** Overrides the engine's. */
  place?: Place;
}

export interface Engine {
  readonly model: string;
  readonly chat: {
    readonly completions: {
      create(params: ChatParams & { stream: true }, options?: CallOptions): Promise<AsyncIterable<ChatCompletionChunk>>;
      create(params: ChatParams & { stream?: false }, options?: CallOptions): Promise<ChatCompletion>;
    };
  };
  readonly completions: {
    create(params: CompletionParams & { stream: true }, options?: CallOptions): Promise<AsyncIterable<Completion>>;
    create(params: CompletionParams & { stream?: false }, options?: CallOptions): Promise<Completion>;
  };
  /** LoRA adapters in PEFT's form, for requests that name them. They are read when they are first named, and as long as there is room they stay. */
  readonly adapters: {
    /** Answers with the adapter's name: `name`, else that of its folder. */
    load(source: AdapterSource, options?: { name?: string; signal?: AbortSignal }): Promise<string>;
  };
  tokenize(text: string | Message[], options?: { addSpecialTokens?: boolean }): Promise<number[]>;
  detokenize(tokens: readonly number[]): Promise<string>;
  report(): Promise<Report>;
  /** The REST API of the server, in this tab: every dialect and path, as in `engine.fetch("/v1/models")`. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Frees the device and ends the worker; running answers end with `unavailable`. */
  dispose(): Promise<void>;
}

export interface Tinderbox {
  load(options: LoadOptions): Promise<Engine>;
  /** The models known by name. */
  readonly catalog: readonly CatalogModel[];
  /** The models kept in this browser. */
  stored(): Promise<StoredModel[]>;
  /** Forgets a kept model; false where there is none of that name. */
  remove(name: string): Promise<boolean>;
}
