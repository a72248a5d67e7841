import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ask, stop } from "../actions/answers.ts";
import { currentId, live } from "../state.ts";
import { SendIcon, StopIcon } from "./icons.tsx";

const TALLEST = 200;

export function Composer() {
  const text = useSignal("");
  const area = useRef<HTMLTextAreaElement>(null);
  const writing = live.value !== null;

  // A model has been loaded, or another chat opened: the next thing is to ask.
  useEffect(() => area.current!.focus(), [currentId.value]);
  useEffect(() => {
    area.current!.style.height = "auto";
    area.current!.style.height = `${Math.min(area.current!.scrollHeight, TALLEST)}px`;
  }, [text.value]);

  function send() {
    const question = text.value.trim();
    if (!question || writing) return;
    text.value = "";
    void ask(question);
  }

  return (
    <form class="composer" onSubmit={(event) => {
      event.preventDefault();
      if (writing) stop();
      else send();
    }}>
      <label class="sr-only" for="question">Your message</label>
      <textarea id="question" ref={area} rows={1} placeholder="Ask something" enterkeyhint="send" aria-keyshortcuts="Enter" value={text.value}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape" && writing) stop();
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), send());
        }} />
      {/* One button for both, so that focus stays where it is. */}
      <button type="submit" class="send primary" disabled={!writing && !text.value.trim()} aria-label={writing ? "Stop" : "Send"} title={writing ? "Stop (Escape)" : "Send (Enter)"}>
        {writing ? <StopIcon /> : <SendIcon />}
      </button>
    </form>
  );
}
