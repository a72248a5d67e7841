// The dedicated worker: it has the wasm module and the model's files, and answers the page's calls.
import type { Call, Ended, Reply } from "./calls.ts";
import { asError, failure, isLoss, TinderboxError } from "./errors.ts";
import { WorkerFile } from "./file.ts";
import { answer, type Answer, type Ask } from "./exchange.ts";
import { findAdapter, start } from "./modules.ts";
import { obtain } from "./obtain.ts";
import { Meter } from "./progress.ts";
import type { ErrorCode } from "./types.ts";
import type { WasmEngine } from "./wasm.ts";

let engine: WasmEngine | undefined;
let threadCount = 1;

onmessage = ({ data, ports: [port] }: MessageEvent<Call>) => {
  if (data.call === "fetch") return answer(port!, (givenUp) => ask(data.ask, givenUp));
  const reply = (reply: Reply) => port!.postMessage(reply);
  run(data, reply).then(
    (value) => reply({ kind: "done", value }),
    (error) => reply({ kind: "failed", failure: failure(error) }),
  );
};

async function run(call: Exclude<Call, { call: "fetch" }>, reply: (reply: Reply) => void): Promise<unknown> {
  switch (call.call) {
    case "load":
      return load(call, new Meter((progress) => reply({ kind: "progress", progress })));
    case "adapter": {
      const files = call.files.map((file) => new WorkerFile(file.name, file));
      try {
        return loaded().addAdapter(call.name, files);
      } catch (error) {
        throw asError(error, "invalid_request");
      }
    }
    case "report":
      return { ...JSON.parse(loaded().report()), threads: threadCount, place: "browser" };
    case "free":
      engine?.free();
      engine = undefined;
  }
}

async function load({ plan, device, contextLength, threads }: Call & { call: "load" }, meter: Meter): Promise<void> {
  // The module is fetched beside the model; its failure is heard below, after that of the model.
  const started = start(device, threads);
  started.catch(() => {});
  // Said before the download, not after.
  if (device === "webgpu" && !(await findAdapter())) {
    throw new TinderboxError("unsupported", "device: this browser has no WebGPU adapter; `auto` and `cpu` do without");
  }
  const files = await obtain(plan, meter);
  const module = await started.catch((error: Error) => {
    throw new TinderboxError("unsupported", `the WebAssembly module does not start: ${error.message}`);
  });
  threadCount = module.threads;
  const names = files.map(({ name }) => name).join(", ");
  const total = files.reduce((sum, { size }) => sum + size, 0);
  meter.start("load", names, total);
  try {
    engine = await module.wasm.load(files, { name: plan.model, device, contextLength }, (read) => meter.at(read));
  } catch (error) {
    // The module names the kind of failure.
    const { code, message } = error as Error & { code?: ErrorCode };
    throw code ? new TinderboxError(code, message) : error;
  }
  void engine.ended().then((reason) => end(isLoss(reason) ? "device_lost" : "unavailable", reason));
  meter.start("ready", names, total, total);
}

async function ask({ method, path, headers, body }: Ask, givenUp: AbortSignal): Promise<Answer> {
  const gone = new Promise<void>((resolve) => givenUp.addEventListener("abort", () => resolve()));
  const { status, headers: told, body: stream } = await loaded().fetch(method, path, headers, body, gone);
  return { status, headers: told, body: stream };
}

function loaded(): WasmEngine {
  if (!engine) throw new TinderboxError("unavailable", "no model is loaded");
  return engine;
}

function end(code: ErrorCode, message: string): void {
  const ended: Ended = { ended: { code, message, param: null } };
  postMessage(ended);
}

// After a panic or a trap the module's memory is in no known state: nothing more is asked of it.
addEventListener("error", ({ message }) => brokeDown(message));
addEventListener("unhandledrejection", ({ reason }) => {
  if (reason instanceof WebAssembly.RuntimeError || reason?.name === "Panic") brokeDown(reason.message);
});

function brokeDown(why: string): void {
  // A GPU that has no room for a buffer says so by an event, which the module panics at.
  if (why.includes("wgpu error: Out of Memory")) end("memory", "the GPU has no memory left for the model: choose a smaller model, a shorter context, or the CPU");
  else end("internal", `the engine broke down: ${why}`);
}
