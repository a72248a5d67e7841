// What service worker and page say to each other: who has an engine, then an exchange with one that has.
import type { Ask } from "./exchange.ts";

/** A page that answers holds a lock whose name begins so. */
export const ENGINE_LOCK = "tinderbox-engine/";

/** From a page that wants its requests intercepted. */
export interface Claim {
  tinderbox: "claim";
}

/** To every page, with a port for its offer. */
export interface Intercepted {
  tinderbox: "ask";
}

/** Back, from those that have an engine. */
export interface Offer {
  tinderbox: "offer";
  /** The page's lock; who gets it knows that the page is gone. */
  lock: string;
}

/** To the page whose offer came first, with the port of the exchange. */
export interface Accepted {
  ask: Ask;
}
