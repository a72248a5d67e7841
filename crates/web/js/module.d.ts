declare module "tinderbox-wasm" {
  export const load: import("./wasm.ts").Wasm["load"];
  export default function start(): Promise<unknown>;
}

declare module "tinderbox-wasm-threads" {
  export const load: import("./wasm.ts").Wasm["load"];
  /** Without `how` in memory of its own, else as one more thread of who `shared` it. */
  export default function start(how?: { module_or_path: WebAssembly.Module; memory: WebAssembly.Memory }): Promise<unknown>;
  export function shared(): [WebAssembly.Module, WebAssembly.Memory];
  /** Blocks until `count` - 1 others `work`. */
  export function startThreads(count: number): void;
  /** Never returns. */
  export function work(): void;
}
