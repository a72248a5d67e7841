// Times of one answer, from when it was asked for.
import type { Timings, Usage } from "./types.ts";

export class Stopwatch {
  #start = performance.now();
  #first = 0;
  #last = 0;

  token(): void {
    this.#last = performance.now();
    this.#first ||= this.#last;
  }

  usage(told: Omit<Usage, "timings">): Usage {
    const since = (time: number) => (time ? time - this.#start : performance.now() - this.#start);
    const [first, total] = [since(this.#first), since(this.#last)];
    const seconds = (total - first) / 1000;
    const later = told.completion_tokens - 1;
    const timings: Timings = {
      first_token_ms: first,
      total_ms: total,
      tokens_per_second: seconds > 0 && later > 0 ? later / seconds : 0,
    };
    return { ...told, timings };
  }
}
