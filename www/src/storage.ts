// What the page keeps in the browser. A browser may refuse to keep anything; the page then works until it is closed.
import { effect, signal, type Signal } from "@preact/signals";

const PREFIX = "tinderbox/";

export function read<T>(key: string, fallback: T): T {
  try {
    const text = localStorage.getItem(PREFIX + key);
    return text === null ? fallback : (JSON.parse(text) as T);
  } catch {
    return fallback;
  }
}

/** False where the browser has no room. */
export function write(key: string, value: unknown): boolean {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** A signal that starts with what was kept, and is kept whenever it changes. */
export function kept<T>(key: string, fallback: T): Signal<T> {
  const found = read(key, fallback);
  // An older version of the page may have kept less.
  const value = signal(typeof fallback === "object" ? { ...fallback, ...found } : found);
  effect(() => void write(key, value.value));
  return value;
}
