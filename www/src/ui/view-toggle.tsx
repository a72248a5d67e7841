import { view, type View } from "../state.ts";

const VIEWS: [View, string][] = [["text", "Text"], ["tokens", "Tokens"]];

/** Answers as they are meant, or token by token. */
export const ViewToggle = () => (
  <fieldset class="segments view">
    <legend class="sr-only">Show answers as</legend>
    {VIEWS.map(([value, label]) => (
      <label key={value}>
        <input type="radio" name="view" value={value} checked={view.value === value} onChange={() => (view.value = value)} />
        <span>{label}</span>
      </label>
    ))}
  </fieldset>
);
