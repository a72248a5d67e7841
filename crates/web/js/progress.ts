// Progress as the page sees it: a few reports a second, each with the rate of the last second or so.
import type { Phase, Progress } from "./types.ts";

const INTERVAL_MS = 100;
const WINDOW_MS = 1500;

export class Meter {
  #tell: (progress: Progress) => void;
  #now: Progress = { phase: "download", loaded: 0, total: 0, bytesPerSecond: 0, file: "" };
  #told = -Infinity;
  #marks: { time: number; loaded: number }[] = [];
  #late: ReturnType<typeof setTimeout> | undefined;

  constructor(tell: (progress: Progress) => void) {
    this.#tell = tell;
  }

  start(phase: Phase, file: string, total: number, loaded = 0): void {
    this.#now = { phase, loaded, total, bytesPerSecond: 0, file };
    this.#marks = [];
    this.#report();
  }

  /** Bytes done in this phase. */
  at(loaded: number): void {
    if (loaded === this.#now.loaded) return;
    this.#now.loaded = loaded;
    const left = this.#told + INTERVAL_MS - performance.now();
    if (left <= 0 || loaded === this.#now.total) this.#report();
    // Where nothing more comes for a while, what came is still told.
    else this.#late ??= setTimeout(() => this.#report(), left);
  }

  #report(): void {
    clearTimeout(this.#late);
    this.#late = undefined;
    const time = performance.now();
    const { loaded } = this.#now;
    this.#marks = this.#marks.filter((mark) => time - mark.time < WINDOW_MS);
    const first = this.#marks[0];
    if (first && time > first.time) this.#now.bytesPerSecond = ((loaded - first.loaded) / (time - first.time)) * 1000;
    this.#marks.push({ time, loaded });
    this.#told = time;
    this.#tell({ ...this.#now });
  }
}
