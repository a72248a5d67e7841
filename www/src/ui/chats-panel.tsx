import { begin, discard, open, titleOf } from "../actions/chats.ts";
import { exportJson, exportMarkdown } from "../actions/export.ts";
import { chat, chats } from "../state.ts";

export function ChatsPanel() {
  const current = chat.value;
  return (
    <>
      <ul class="chats">
        {chats.value.map((each) => (
          <li key={each.id}>
            <button type="button" class="chat-title" aria-current={each === current ? "true" : undefined} onClick={() => open(each.id)}>{titleOf(each)}</button>
            <button type="button" class="quiet" onClick={() => discard(each.id)}>Delete<span class="sr-only"> {titleOf(each)}</span></button>
          </li>
        ))}
      </ul>
      <div class="row">
        <button type="button" onClick={begin}>New chat</button>
        <button type="button" disabled={current.turns.length === 0} onClick={exportMarkdown}>Export Markdown</button>
        <button type="button" disabled={current.turns.length === 0} onClick={exportJson}>Export JSON</button>
      </div>
      <p class="hint">Chats are kept in this browser only.</p>
    </>
  );
}
