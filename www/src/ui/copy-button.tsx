import { useSignal } from "@preact/signals";
import { announcement } from "../state.ts";

interface Props {
  text: string;
  label: string;
  /** For screen readers. */
  what: string;
  quiet?: boolean;
}

export function CopyButton({ text, label, what, quiet = false }: Props) {
  const done = useSignal<string | null>(null);

  async function copy() {
    done.value = await navigator.clipboard.writeText(text).then(() => "Copied", () => "Not allowed");
    announcement.value = done.value;
    setTimeout(() => (done.value = null), 2000);
  }

  return <button type="button" class={quiet ? "quiet" : ""} onClick={() => void copy()}>{done.value ?? label}<span class="sr-only"> {what}</span></button>;
}
