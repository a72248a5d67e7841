// The conversations: which there are, which is open, and that they outlive a reload.
import { effect } from "@preact/signals";
import { announcement, chat, chatProblem, chats, currentId, editing, live, newChat, type Answer, type Chat, type Turn } from "../state.ts";
import { write } from "../storage.ts";
import { stop } from "./answers.ts";

const light = (turn: Turn): Turn => (turn.role === "assistant" ? { ...turn, tokens: [], speed: turn.speed && { ...turn.speed, arrivals: [] } } : turn);

function keep(list: Chat[]): void {
  if (write("chats", list)) return;
  // Probabilities are the bulk of it: where there is no room for all, the open chat keeps its own.
  const open = currentId.peek();
  write("chats", list.map((each) => (each.id === open ? each : { ...each, turns: each.turns.map(light) })))
    || write("chats", list.map((each) => ({ ...each, turns: each.turns.map(light) })));
}

export function keepChats(): void {
  effect(() => keep(chats.value));
  // A page that is closed or reloaded in the middle of an answer keeps what there is of it.
  addEventListener("pagehide", () => {
    const answer: Answer | null = live.peek();
    if (!answer) return;
    const open = chat.peek();
    keep(chats.peek().map((each) => (each === open ? { ...each, turns: [...each.turns, { ...answer, end: "stopped" }] } : each)));
  });
}

export function setTurns(id: string, turns: Turn[]): void {
  chats.value = chats.value.map((each) => (each.id === id ? { ...each, turns } : each));
}

function leave(): void {
  stop();
  editing.value = null;
  chatProblem.value = null;
}

export function open(id: string): void {
  leave();
  currentId.value = id;
}

export function begin(): void {
  leave();
  // One empty chat is enough.
  const fresh = chats.value.find(({ turns }) => turns.length === 0) ?? newChat();
  chats.value = [fresh, ...chats.value.filter((each) => each !== fresh)];
  currentId.value = fresh.id;
  announcement.value = "New chat";
}

export function discard(id: string): void {
  leave();
  const rest = chats.value.filter((each) => each.id !== id);
  chats.value = rest.length > 0 ? rest : [newChat()];
  if (currentId.value === id) currentId.value = chats.value[0]!.id;
  announcement.value = "Chat deleted";
}

export const titleOf = ({ turns }: Chat) => turns[0]?.content.split("\n")[0]!.slice(0, 60) || "New chat";
