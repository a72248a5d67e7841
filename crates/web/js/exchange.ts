// One request and its streamed answer over a message port: page to worker, and service worker to page.
// Streams themselves cannot be transferred in every browser; ports can.
import { aborted, failure, revived, TinderboxError, type Failure } from "./errors.ts";

export interface Ask {
  method: string;
  /** With the query. */
  path: string;
  /** Name, value, name, value. */
  headers: string[];
  body: Uint8Array<ArrayBuffer>;
}

export interface Answer {
  status: number;
  headers: string[];
  body: ReadableStream<Uint8Array> | null;
}

type Told =
  | { kind: "head"; status: number; headers: string[]; empty: boolean }
  | { kind: "chunk"; bytes: Uint8Array<ArrayBuffer> }
  | { kind: "end" }
  | { kind: "failed"; failure: Failure };

type Wish = "pull" | "cancel";

/** Chunks that wait at the asking side; each is about one token. */
const AHEAD = 16;

export async function askOf(request: Request): Promise<Ask> {
  const { pathname, search } = new URL(request.url);
  return {
    method: request.method,
    path: pathname + search,
    headers: [...request.headers].flat(),
    body: new Uint8Array(await request.arrayBuffer()),
  };
}

export function pairs(flat: string[]): [string, string][] {
  return flat.flatMap((name, at) => (at % 2 === 0 ? [[name, flat[at + 1] ?? ""] as [string, string]] : []));
}

/** Answers what is asked at the other end of `port`; `make` is told when nobody waits for its answer any more. */
export function answer(port: MessagePort, make: (given_up: AbortSignal) => Promise<Answer>): void {
  const given_up = new AbortController();
  let body: ReadableStreamDefaultReader<Uint8Array> | undefined;
  const tell = (told: Told, transfer: Transferable[] = []) => port.postMessage(told, transfer);
  const fail = (thrown: unknown) => tell({ kind: "failed", failure: failure(thrown) });
  const next = async () => {
    const { done, value } = (await body?.read()) ?? { done: true };
    if (done) return tell({ kind: "end" });
    const bytes = new Uint8Array(value!);
    tell({ kind: "chunk", bytes }, [bytes.buffer]);
  };
  port.onmessage = ({ data }: MessageEvent<Wish>) => {
    if (data === "pull") return void next().catch(fail);
    given_up.abort();
    // A body that failed has nothing left to cancel.
    body?.cancel().catch(() => {});
  };
  make(given_up.signal).then((made) => {
    if (given_up.signal.aborted) return made.body?.cancel();
    body = made.body?.getReader();
    tell({ kind: "head", status: made.status, headers: made.headers, empty: !made.body });
  }).catch(fail);
}

/** The answer that comes through `port`. It fails with the reason of the first of `ends` that aborts. */
export function receive(port: MessagePort, ends: AbortSignal[], over = () => {}): Promise<Response> {
  return new Promise((resolve, reject) => {
    let body: ReadableStreamDefaultController<Uint8Array> | undefined;
    let pulled = () => {};
    const wish = (wish: Wish) => port.postMessage(wish);
    const close = () => {
      port.close();
      for (const end of ends) end.removeEventListener("abort", cut);
      pulled();
      over();
    };
    const fail = (error: TinderboxError) => {
      close();
      reject(error);
      body?.error(error);
    };
    function cut(this: AbortSignal) {
      wish("cancel");
      fail(this.reason instanceof TinderboxError ? this.reason : aborted());
    }
    const stream = () => new ReadableStream<Uint8Array>({
      start: (controller) => void (body = controller),
      pull: () => new Promise<void>((done) => (pulled = done, wish("pull"))),
      cancel: () => (wish("cancel"), close()),
    }, { highWaterMark: AHEAD });

    port.onmessage = ({ data: told }: MessageEvent<Told>) => {
      switch (told.kind) {
        case "head":
          resolve(new Response(told.empty ? null : stream(), { status: told.status, headers: pairs(told.headers) }));
          if (told.empty) close();
          break;
        case "chunk":
          body?.enqueue(told.bytes);
          pulled();
          break;
        case "end":
          body?.close();
          close();
          break;
        case "failed":
          fail(revived(told.failure));
      }
    };
    for (const end of ends) {
      if (end.aborted) return cut.call(end);
      end.addEventListener("abort", cut);
    }
  });
}

/** An answer as the other end of a port takes it. */
export function answerOf(response: Response): Answer {
  return { status: response.status, headers: [...response.headers].flat(), body: response.body };
}
