import { useEffect, useRef } from "preact/hooks";
import { amend, regenerate } from "../actions/answers.ts";
import { editing, engine, live } from "../state.ts";

interface Props {
  index: number;
  content: string;
}

export function QuestionMessage({ index, content, last }: Props & { last: boolean }) {
  const edit = useRef<HTMLButtonElement>(null);
  const edited = editing.value === index;

  function leave() {
    editing.value = null;
    // The button is back with the next frame.
    requestAnimationFrame(() => edit.current?.focus());
  }

  return (
    <article class="message question" aria-label="You">
      {edited ? <Editor index={index} content={content} onCancel={leave} /> : <p class="said">{content}</p>}
      {!edited && engine.value && !live.value && (
        <div class="message-tools">
          {last && <button type="button" class="quiet" onClick={() => void regenerate()}>Ask again</button>}
          <button ref={edit} type="button" class="quiet" onClick={() => (editing.value = index)}>Edit<span class="sr-only"> this message</span></button>
        </div>
      )}
    </article>
  );
}

function Editor({ index, content, onCancel }: Props & { onCancel: () => void }) {
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => area.current!.focus(), []);

  function save() {
    const text = area.current!.value.trim();
    if (!text) return;
    void amend(index, text);
    document.getElementById("question")?.focus();
  }

  return (
    <form class="editor" onSubmit={(event) => (event.preventDefault(), save())}>
      <label class="sr-only" for="edited">Edit your message</label>
      <textarea id="edited" ref={area} rows={3} defaultValue={content} onKeyDown={(event) => {
        if (event.key === "Escape") onCancel();
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), save());
      }} />
      <div class="row">
        <button type="submit" class="primary">Ask again</button>
        <button type="button" onClick={onCancel}>Cancel</button>
        <span class="hint">What comes after this message is replaced.</span>
      </div>
    </form>
  );
}
