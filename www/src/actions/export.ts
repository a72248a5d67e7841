// A conversation as a file.
import { chat, sampling, system, type Chat } from "../state.ts";
import { titleOf } from "./chats.ts";

export function exportJson(): void {
  const { started, turns } = chat.value;
  const whole = { started: new Date(started).toISOString(), system: system.value, sampling: sampling.value, turns };
  save("application/json", "json", JSON.stringify(whole, null, 2));
}

export const exportMarkdown = () => save("text/markdown", "md", markdown(chat.value, system.value));

function markdown(whole: Chat, prompt: string): string {
  const turns = whole.turns.map((turn) => `## ${turn.role === "user" ? "You" : turn.model}\n\n${turn.content.trim()}\n`);
  return [`# ${titleOf(whole)}\n`, ...(prompt.trim() ? [`> ${prompt.trim().replaceAll("\n", "\n> ")}\n`] : []), ...turns].join("\n");
}

function save(type: string, extension: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = `tinderbox-chat.${extension}`;
  link.click();
  // The browser has taken hold of it by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
