// What page and worker say to each other. Every call has a port of its own, so answers need no numbers.
import type { Failure } from "./errors.ts";
import type { Ask } from "./exchange.ts";
import type { Plan } from "./source.ts";
import type { Device, Progress } from "./types.ts";

export type Call =
  | { call: "load"; plan: Plan; device: Device; contextLength: number; threads?: number }
  | { call: "adapter"; name: string; files: File[] }
  | { call: "report" }
  | { call: "fetch"; ask: Ask }
  | { call: "free" };

/** What comes through the port of `load`, `adapter`, `report` and `free`; that of `fetch` is an exchange. */
export type Reply =
  | { kind: "progress"; progress: Progress }
  | { kind: "done"; value: unknown }
  | { kind: "failed"; failure: Failure };

/** The worker's only message outside of a call: nothing will be answered any more. */
export interface Ended {
  ended: Failure;
}
