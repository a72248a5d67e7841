// The page's half of the service worker variant: this page's engine answers what the service worker intercepts.
import { answer, answerOf, pairs } from "./exchange.ts";
import { ENGINE_LOCK, type Accepted, type Claim, type Intercepted, type Offer } from "./interception.ts";
import type { Engine } from "./types.ts";

/**
 * Answers requests to this page's origin with `engine`, through a registered service worker that runs
 * `tinderbox-web/service-worker`. Resolves once this page's own requests are intercepted, with a function that ends it.
 */
export async function serve(engine: Engine): Promise<() => void> {
  const container = navigator.serviceWorker;
  const { active } = await container.ready;
  // A page that was there before its service worker, or was reloaded past it, is intercepted only when claimed.
  const claim: Claim = { tinderbox: "claim" };
  active?.postMessage(claim);
  while (!container.controller) {
    await new Promise((taken) => container.addEventListener("controllerchange", taken, { once: true }));
  }

  const lock = `${ENGINE_LOCK}${crypto.randomUUID()}`;
  const ended = new AbortController();
  container.addEventListener("message", heard, { signal: ended.signal });
  container.startMessages();
  // Held as long as this page lives: so the service worker sees whether anybody is there to answer.
  await new Promise<void>((held) => {
    const hold = () => (held(), new Promise<void>((done) => ended.signal.addEventListener("abort", () => done())));
    void navigator.locks.request(lock, hold);
  });
  return () => ended.abort();

  function heard({ data, ports: [port] }: MessageEvent<Intercepted>) {
    if (data?.tinderbox !== "ask" || !port) return;
    const offer: Offer = { tinderbox: "offer", lock };
    port.postMessage(offer);
    port.onmessage = ({ data: { ask }, ports: [port] }: MessageEvent<Accepted>) => {
      const { method, path, headers, body } = ask;
      answer(port!, async (signal) => {
        const init: RequestInit = { method, headers: pairs(headers), signal, ...(body.length > 0 && { body }) };
        return answerOf(await engine.fetch(path, init));
      });
    };
  }
}
