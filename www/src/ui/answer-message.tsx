import { regenerate } from "../actions/answers.ts";
import { count, duration, rate } from "../format.ts";
import { engine, live, view, type Answer } from "../state.ts";
import { Badge } from "./badge.tsx";
import { CopyButton } from "./copy-button.tsx";
import { Markdown } from "./markdown.tsx";
import { Tokens } from "./tokens.tsx";

const ENDS = { length: "Token limit", stopped: "Stopped", failed: "Broken off" };

export function AnswerMessage({ answer, last }: { answer: Answer; last: boolean }) {
  const { content, tokens, speed, model, place, end } = answer;
  const writing = answer === live.value;
  return (
    <article class={`message answer${writing ? " writing" : ""}`} aria-label={model}>
      {view.value === "tokens" && tokens.length > 0 ? <Tokens tokens={tokens} /> : <Markdown text={content} />}
      {writing && !content && <p class="waiting">Reading the question<span class="ember" aria-hidden="true" /></p>}
      {!writing && (
        <div class="message-tools">
          {place && <Badge place={place} />}
          {speed && (
            <span class="numbers">
              <span>{count(tokens.length)} tokens</span><span>first after {duration(speed.firstTokenMs)}</span><span>{rate(speed.tokensPerSecond)} tokens/s</span>
            </span>
          )}
          {end && end !== "stop" && <span class={`end ${end}`}>{ENDS[end]}</span>}
          <span class="acts">
            <CopyButton text={content} label="Copy" what="this answer" quiet />
            {last && engine.value && <button type="button" class="quiet" onClick={() => void regenerate()}>Regenerate</button>}
          </span>
        </div>
      )}
    </article>
  );
}
