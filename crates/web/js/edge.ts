// A Tinderbox server as a place that answers.
import { asError, TinderboxError } from "./errors.ts";
import type { Answering } from "./completions.ts";

export class Edge implements Answering {
  readonly place = "edge";
  #root: string;
  #apiKey: string | undefined;

  /** `endpoint` ends with `/v1`, as OpenAI's clients want it; the other paths are beside that. */
  constructor(endpoint: string | URL, apiKey?: string) {
    const url = URL.parse(String(endpoint), document.baseURI);
    if (!url) throw new TinderboxError("invalid_request", `endpoint: "${endpoint}" is no address`, "endpoint");
    this.#root = url.href.replace(/(\/v1)?\/?$/, "");
    this.#apiKey = apiKey;
  }

  async fetch(path: string, init?: RequestInit): Promise<Response> {
    const request = new Request(this.#root + path, init);
    if (this.#apiKey) request.headers.set("authorization", `Bearer ${this.#apiKey}`);
    return fetch(request).catch((error) => {
      throw asError(error, "network");
    });
  }
}
