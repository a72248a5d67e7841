// The engine is compiled twice: for the GPU and one thread of the CPU, and for several threads, which only a page that is
// cross-origin isolated may have.
import startSingle, * as single from "tinderbox-wasm";
import startThreaded, * as threaded from "tinderbox-wasm-threads";
import type { Device } from "./types.ts";
import type { Wasm } from "./wasm.ts";

/** More hardly help: a token reads all weights, and few threads are enough to keep memory busy. */
const THREADS = 8;

/** A module that runs, and the threads it computes with. */
interface Started {
  wasm: Wasm;
  threads: number;
}

/** Starts the module that suits `device`; `asked` is how many threads the page wants at most. */
export async function start(device: Device, asked = THREADS): Promise<Started> {
  const threads = Math.min(asked, navigator.hardwareConcurrency);
  if (threads < 2 || !mayShare() || !(await onCpu(device))) {
    await startSingle();
    return { wasm: single, threads: 1 };
  }
  await startThreaded();
  const shared = threaded.shared();
  await Promise.all(Array.from({ length: threads - 1 }, () => hire(shared)));
  threaded.startThreads(threads);
  return { wasm: threaded, threads };
}

/** Without `waitAsync` wasm-bindgen would start workers from addresses that a strict policy forbids. */
const mayShare = () => crossOriginIsolated && "waitAsync" in Atomics;

// All of them, or a browser may collect one that works.
const workers: Worker[] = [];

async function hire(shared: [WebAssembly.Module, WebAssembly.Memory]): Promise<void> {
  const worker = new Worker(new URL("./thread.js", import.meta.url), { type: "module" });
  workers.push(worker);
  await new Promise((ready, failed) => {
    worker.onmessage = ready;
    worker.onerror = ({ message }) => failed(new Error(`a thread does not start: ${message || "its script was not found"}`));
    worker.postMessage(shared);
  });
}

/** Whether the engine would compute on the CPU. */
async function onCpu(device: Device): Promise<boolean> {
  if (device !== "auto") return device === "cpu";
  const adapter = await findAdapter();
  return !adapter || adapter.info.isFallbackAdapter;
}

interface GpuAdapter {
  info: { isFallbackAdapter: boolean };
}

/** The adapter WebGPU offers, if any. */
export async function findAdapter(): Promise<GpuAdapter | null> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<GpuAdapter | null> } };
  return (await gpu?.requestAdapter().catch(() => null)) ?? null;
}
