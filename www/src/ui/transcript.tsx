import { useLayoutEffect, useRef } from "preact/hooks";
import { chat, chatProblem, engine, live, plain } from "../state.ts";
import { AnswerMessage } from "./answer-message.tsx";
import { ProblemNote } from "./problem-note.tsx";
import { QuestionMessage } from "./question-message.tsx";

/** Pixels from the end within which the reader is taken to be reading along. */
const NEAR = 80;

export function Transcript() {
  const { id, turns } = chat.value;
  const box = useRef<HTMLElement>(null);
  const follows = useRef(true);
  const answer = live.value;

  useLayoutEffect(() => void (follows.current = true), [id, turns.length]);
  useLayoutEffect(() => {
    if (follows.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  });

  return (
    <section ref={box} class="transcript" aria-label="Conversation" tabIndex={0} aria-busy={answer !== null}
      onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => (follows.current = scrollHeight - scrollTop - clientHeight < NEAR)}>
      {turns.length === 0 && engine.value && <p class="empty">{engine.value.model} is lit. {plain.value ? "It was not trained to chat: it goes on with whatever you write." : "Ask it something."}</p>}
      {turns.map((turn, index) => turn.role === "user"
        ? <QuestionMessage key={`${id} ${index}`} index={index} content={turn.content} last={index === turns.length - 1} />
        : <AnswerMessage key={`${id} ${index}`} answer={turn} last={index === turns.length - 1 && !answer} />)}
      {answer && <AnswerMessage key={`${id} ${turns.length}`} answer={answer} last={false} />}
      {chatProblem.value && <ProblemNote title="There was no answer." problem={chatProblem.value} />}
    </section>
  );
}
