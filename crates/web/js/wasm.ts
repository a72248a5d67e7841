/** What the wasm module gives the worker: the shape of wasm-bindgen's output, so that it can be scripted in tests. */

/** A file of the model that can be read at any place without waiting (OPFS handle or `FileReaderSync`). */
export interface ModelFile {
  readonly name: string;
  readonly size: number;
  /** Exactly `length` bytes from `offset`; throws where there are fewer. */
  read(offset: number, length: number): Uint8Array;
}

export interface WasmOptions {
  /** Name under which the model answers. */
  name: string;
  device: "auto" | "webgpu" | "cpu";
  /** 0 means the default. */
  contextLength: number;
}

/** One engine: a loaded model and its loop. */
export interface WasmEngine {
  /** One request to the router. `headers` is a flat list: name, value, name, value. Dropped when `gone` resolves before the answer begins. */
  fetch(method: string, path: string, headers: string[], body: Uint8Array, gone: Promise<void>): Promise<WasmAnswer>;
  /** Keeps an adapter's files under a name that requests may give; throws where the name is taken. */
  addAdapter(name: string, files: ModelFile[]): void;
  /** JSON of `Report`, without `place`. */
  report(): string;
  /** Resolves, with the reason, once the loop has ended: the device was lost a third time. A first and a second loss are mended inside; streams go on. */
  ended(): Promise<string>;
  free(): void;
}

/** Cancelling the body drops the sequence within one step. */
export interface WasmAnswer {
  readonly status: number;
  readonly headers: string[];
  readonly body: ReadableStream<Uint8Array>;
}

export interface Wasm {
  /** `onProgress(loaded, total)` counts bytes of the files that were read; after the loss of the device they are read again, so they stay readable. Rejects with an `Error` whose `code` is an `ErrorCode`, and whose message names device, or file and tensor. */
  load(files: ModelFile[], options: WasmOptions, onProgress: (loaded: number, total: number) => void): Promise<WasmEngine>;
}
