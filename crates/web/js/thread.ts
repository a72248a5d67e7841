// One thread of the CPU beside the worker's own: the same module in the same memory.
import start, { work } from "tinderbox-wasm-threads";

onmessage = async ({ data: [module, memory] }: MessageEvent<[WebAssembly.Module, WebAssembly.Memory]>) => {
  await start({ module_or_path: module, memory });
  postMessage("ready");
  // Does not return; the thread ends with the worker that started it.
  work();
};
