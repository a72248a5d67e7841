// All that the page knows. Components read signals; only `actions/` and form fields write them.
import { computed, signal } from "@preact/signals";
import type { Device, Engine, Place, Progress, Report, StoredModel } from "tinderbox-web";
import { kept, read } from "./storage.ts";

/** What went wrong, in the engine's words. */
export interface Problem {
  code: string;
  message: string;
}

export interface Token {
  text: string;
  /** 0 to 1. */
  probability: number;
  alternatives: { text: string; probability: number }[];
}

/** Speed of one answer; `arrivals` are milliseconds after the question. */
export interface Speed {
  firstTokenMs: number;
  tokensPerSecond: number;
  totalMs: number;
  arrivals: number[];
}

export interface Question {
  role: "user";
  content: string;
}

export interface Answer {
  role: "assistant";
  content: string;
  tokens: Token[];
  speed: Speed | null;
  model: string;
  place: "browser" | "edge" | null;
  /** `stopped`: by the reader. `length`: no more room or tokens. */
  end: "stop" | "length" | "stopped" | "failed" | null;
}

export type Turn = Question | Answer;

export interface Chat {
  id: string;
  started: number;
  turns: Turn[];
}

export interface SamplingValues {
  temperature: number;
  top_p: number;
  top_k: number;
  min_p: number;
  repetition_penalty: number;
  max_tokens: number;
  /** Null is another one for each answer. */
  seed: number | null;
}

export const SAMPLING: SamplingValues = {
  temperature: 0.7, top_p: 0.95, top_k: 40, min_p: 0.05, repetition_penalty: 1.1, max_tokens: 512, seed: null,
};

export interface Settings {
  device: Device;
  /** 0 is the model's own, at most 4096. */
  contextLength: number;
  place: Place;
  endpoint: string;
}

export type View = "text" | "tokens";
export type Theme = "auto" | "light" | "dark";

export interface Loading {
  name: string;
  progress: Progress | null;
  cancel: () => void;
}

// Kept across reloads.
export const settings = kept<Settings>("settings", { device: "auto", contextLength: 0, place: "browser", endpoint: "" });
export const sampling = kept<SamplingValues>("sampling", SAMPLING);
export const system = kept("system", "");
export const view = kept<View>("view", "text");
export const theme = kept<Theme>("theme", "auto");
export const newChat = (): Chat => ({ id: crypto.randomUUID(), started: Date.now(), turns: [] });
/** Newest first; never empty. Kept by `actions/chats.ts`, which knows when. */
export const chats = signal<Chat[]>(keptChats());
export const currentId = kept("current", chats.peek()[0]!.id);

// Of this visit.
export const engine = signal<Engine | null>(null);
export const report = signal<Report | null>(null);
/** The model has no chat template: it goes on with a text, and knows of no turns. */
export const plain = signal(false);
export const loadMs = signal(0);
export const loading = signal<Loading | null>(null);
export const loadProblem = signal<Problem | null>(null);
export const stored = signal<StoredModel[]>([]);
/** The answer being written; it joins its chat when it ends. */
export const live = signal<Answer | null>(null);
export const chatProblem = signal<Problem | null>(null);
/** Index of the question being edited. */
export const editing = signal<number | null>(null);
export const panelsOpen = signal(false);
/** Panels beside the conversation, not instead of it. */
export const isWide = () => matchMedia("(min-width: 64rem)").matches;
/** For screen readers: what just happened. */
export const announcement = signal("");

function keptChats(): Chat[] {
  const found = read<unknown>("chats", []);
  const whole = (Array.isArray(found) ? found : []).filter((each): each is Chat => Array.isArray(each?.turns));
  return whole.length > 0 ? whole : [newChat()];
}

export const chat = computed(() => chats.value.find(({ id }) => id === currentId.value) ?? chats.value[0]!);
/** The speed shown: of the answer being written, else of the last one. */
export const speed = computed<Speed | null>(() => {
  if (live.value) return live.value.speed;
  return chat.value.turns.findLast((turn) => turn.role === "assistant")?.speed ?? null;
});
