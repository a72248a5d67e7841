// Where kept models are. Three shelves have one interface: OPFS, the Cache API, this worker's memory.
import type { StoredModel } from "./types.ts";

/** What is known about one file of a kept model, beside its bytes. */
export interface Part {
  url: string;
  file: string;
  /** Bytes of the whole; 0 where the server does not say. */
  total: number;
  /** What a later request for the rest names, so that two versions of a file are never joined. */
  etag: string | null;
  modified: string | null;
  /** Of the whole; null until the file is complete. */
  sha256: string | null;
}

export interface Kept {
  name: string;
  parts: Part[];
}

export interface Shelf {
  /** As in `OPFS`. */
  readonly kind: string;
  models(): Promise<Kept[]>;
  find(name: string): Promise<Kept | null>;
  note(kept: Kept): Promise<void>;
  /** Opens a part for writing; only in a worker, and one at a time. */
  drawer(name: string, part: number): Promise<Drawer>;
  /** The bytes of a part, which stay where they are until they are read. */
  blob(name: string, part: number): Promise<Blob>;
  remove(name: string): Promise<void>;
}

/** A part that is being written. */
export interface Drawer {
  readonly size: number;
  append(bytes: Uint8Array<ArrayBuffer>): void | Promise<void>;
  clear(): void | Promise<void>;
  close(): void | Promise<void>;
}

/** Names of models have slashes and any length; keys have neither. */
export async function keyOf(name: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(name));
  return [...new Uint8Array(digest)].slice(0, 16).map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function stored(shelf: Shelf, { name, parts }: Kept): Promise<StoredModel> {
  const sizes = await Promise.all(parts.map(async (_, part) => (await shelf.blob(name, part)).size));
  const add = (numbers: number[]) => numbers.reduce((sum, number) => sum + number, 0);
  return {
    name,
    bytes: add(sizes),
    total: add(parts.map((part, at) => Math.max(part.total, sizes[at]!))),
    complete: parts.every((part) => part.sha256 !== null),
  };
}
