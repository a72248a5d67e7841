// The events of a streamed answer.
import { EventSourceParserStream } from "eventsource-parser/stream";
import { asError, TinderboxError } from "./errors.ts";
import { refusal } from "./refusal.ts";

/** Each event's JSON. Leaving the loop early cancels the answer. */
export async function* events<T>(response: Response, place: string): AsyncGenerator<T, void> {
  const reader = response.body!
    .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
    .pipeThrough(new EventSourceParserStream())
    .getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw asError(error, "network");
      });
      if (done) throw new TinderboxError("network", `the answer from the ${place} broke off`);
      if (value.data === "[DONE]") return;
      const event = JSON.parse(value.data);
      if (event.error) throw refusal(event.error, 500, place);
      yield event as T;
    }
  } finally {
    // Already failed, or read to its end: then there is nothing to cancel.
    reader.cancel().catch(() => {});
  }
}
