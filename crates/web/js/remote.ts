// The worker, seen from the page.
import type { Call, Ended, Reply } from "./calls.ts";
import { aborted, revived, TinderboxError } from "./errors.ts";
import { askOf, receive } from "./exchange.ts";
import type { Progress, Report } from "./types.ts";

/** A worker that is in the midst of a step frees its device right after; one that hangs is ended without. */
const FREE_MS = 2000;

type Load = Call & { call: "load" };

export class Remote {
  // Bundlers look for exactly this expression.
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #gone = new AbortController();

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<Ended>) => this.#end(revived(data.ended));
    this.#worker.onerror = ({ message }) => {
      const why = message || "its script was not found, or the page's Content-Security-Policy forbids it";
      this.#end(new TinderboxError("internal", `the worker does not run: ${why}`));
    };
  }

  /** Aborted, with the error as its reason, once nothing is answered any more. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  async load(call: Load, onProgress?: (progress: Progress) => void, signal?: AbortSignal): Promise<void> {
    // Loading has steps that cannot be interrupted; a worker can be ended at any time, and loses nothing it wrote.
    const abort = () => this.#end(aborted());
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    try {
      await this.#call(call, onProgress);
    } catch (error) {
      this.#end(error as TinderboxError);
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  async fetch(request: Request): Promise<Response> {
    // Read first: a request's own signal is its caller's.
    const ask = await askOf(request);
    const { port1, port2 } = new MessageChannel();
    const response = receive(port1, [this.gone, request.signal]);
    this.#post({ call: "fetch", ask }, port2, [ask.body.buffer]);
    return response;
  }

  async adapter(name: string, files: File[]): Promise<void> {
    await this.#call({ call: "adapter", name, files });
  }

  async report(): Promise<Report> {
    return (await this.#call({ call: "report" })) as Report;
  }

  async dispose(): Promise<void> {
    if (this.gone.aborted) return;
    // Running answers end first: what the worker still says of them is the end of a text that has none.
    this.#gone.abort(new TinderboxError("unavailable", "the engine was disposed of"));
    const { port1, port2 } = new MessageChannel();
    const freed = new Promise((done) => (port1.onmessage = done));
    this.#post({ call: "free" }, port2);
    await Promise.race([freed, new Promise((done) => setTimeout(done, FREE_MS))]);
    this.#worker.terminate();
  }

  #post(call: Call, port: MessagePort, transfer: Transferable[] = []): void {
    this.#worker.postMessage(call, [port, ...transfer]);
  }

  #call(call: Call, onProgress?: (progress: Progress) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.gone.aborted) return reject(this.gone.reason);
      const { port1, port2 } = new MessageChannel();
      const close = () => {
        port1.close();
        this.gone.removeEventListener("abort", lost);
      };
      const lost = () => (close(), reject(this.gone.reason));
      this.gone.addEventListener("abort", lost);
      port1.onmessage = ({ data: reply }: MessageEvent<Reply>) => {
        if (reply.kind === "progress") return onProgress?.(reply.progress);
        close();
        if (reply.kind === "done") resolve(reply.value);
        else reject(revived(reply.failure));
      };
      this.#post(call, port2);
    });
  }

  #end(error: TinderboxError): void {
    this.#gone.abort(error);
    this.#worker.terminate();
  }
}
