// The service worker's half: requests to the page's own origin are answered by the page that has an engine.
import { TinderboxError } from "./errors.ts";
import { askOf, receive } from "./exchange.ts";
import { ENGINE_LOCK, type Accepted, type Claim, type Intercepted, type Offer } from "./interception.ts";

/** How long a page with an engine may be busy before it is taken for gone. */
const OFFER_MS = 10_000;

export interface ServiceOptions {
  /** Beginnings of the paths that the engine answers. Default: `/v1/`, `/tokenize` and `/detokenize`. */
  paths?: readonly string[];
}

interface Interception extends Event {
  request: Request;
  respondWith(response: Promise<Response>): void;
  waitUntil(done: Promise<unknown>): void;
}

interface Client {
  postMessage(message: Intercepted, transfer: Transferable[]): void;
}

interface Scope extends EventTarget {
  clients: { claim(): Promise<void>; matchAll(options: object): Promise<Client[]> };
  skipWaiting(): Promise<void>;
}

const scope = self as unknown as Scope;

/** To be called at the top of a service worker's script: listeners that come later are not heard. */
export function answerRequests({ paths = ["/v1/", "/tokenize", "/detokenize"] }: ServiceOptions = {}): void {
  scope.addEventListener("install", (event) => (event as Interception).waitUntil(scope.skipWaiting()));
  scope.addEventListener("activate", (event) => (event as Interception).waitUntil(scope.clients.claim()));
  scope.addEventListener("message", (event) => {
    const { tinderbox } = ((event as MessageEvent<Claim | null>).data ?? {}) as Partial<Claim>;
    if (tinderbox === "claim") (event as Interception & MessageEvent).waitUntil(scope.clients.claim());
  });
  scope.addEventListener("fetch", (event) => {
    const { request } = event as Interception;
    const { origin, pathname } = new URL(request.url);
    const ours = origin === location.origin && paths.some((path) => pathname.startsWith(path));
    if (ours) (event as Interception).respondWith(intercept(request).catch(refuse));
  });
}

async function intercept(request: Request): Promise<Response> {
  const ask = await askOf(request);
  const { port, lock } = await offer();
  const ends = new AbortController();
  const gone = new AbortController();
  // A closed page says nothing; its lock becomes free.
  navigator.locks.request(lock, { signal: ends.signal }, () => {
    gone.abort(new TinderboxError("unavailable", "the page with the engine was closed"));
  }).catch(() => {});
  const { port1, port2 } = new MessageChannel();
  const accepted: Accepted = { ask };
  const response = receive(port1, [request.signal, gone.signal], () => ends.abort());
  port.postMessage(accepted, [port2, ask.body.buffer]);
  return response;
}

/** The first page's that has an engine. */
async function offer(): Promise<{ port: MessagePort; lock: string }> {
  const { held = [] } = await navigator.locks.query();
  if (!held.some(({ name }) => name?.startsWith(ENGINE_LOCK))) throw nobody();
  const clients = await scope.clients.matchAll({ type: "window", includeUncontrolled: true });
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(nobody()), OFFER_MS);
    for (const client of clients) {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data: { lock } }: MessageEvent<Offer>) => resolve({ port: port1, lock });
      client.postMessage({ tinderbox: "ask" }, [port2]);
    }
  });
}

const nobody = () => new TinderboxError("unavailable", "no page of this origin has an engine: load one and call `serve(engine)`");

function refuse(thrown: unknown): Response {
  const { code, message } = thrown as TinderboxError;
  const status = code === "unavailable" ? 503 : 500;
  const error = { message, type: status === 503 ? "service_unavailable_error" : "server_error", param: null, code: null };
  return Response.json({ error }, { status });
}
