// The last resort: models are kept as long as this worker.
import type { Drawer, Kept, Shelf } from "./shelf.ts";

export class Memory implements Shelf {
  readonly kind = "memory";
  #kept = new Map<string, Kept>();
  #blobs = new Map<string, Blob>();

  async models(): Promise<Kept[]> {
    return [...this.#kept.values()];
  }

  async find(name: string): Promise<Kept | null> {
    return this.#kept.get(name) ?? null;
  }

  async note(kept: Kept): Promise<void> {
    this.#kept.set(kept.name, kept);
  }

  async drawer(name: string, part: number): Promise<Drawer> {
    let parts: BlobPart[] = [await this.blob(name, part)];
    const keep = () => this.#blobs.set(`${part} ${name}`, new Blob(parts));
    return {
      size: (parts[0] as Blob).size,
      append(bytes) {
        // A blob's bytes are the browser's, which may move them to disk; an array's are this worker's.
        parts.push(new Blob([bytes]));
        (this as { size: number }).size += bytes.length;
      },
      clear() {
        parts = [];
        (this as { size: number }).size = 0;
      },
      close: () => void keep(),
    };
  }

  async blob(name: string, part: number): Promise<Blob> {
    return this.#blobs.get(`${part} ${name}`) ?? new Blob();
  }

  async remove(name: string): Promise<void> {
    for (const part of this.#kept.get(name)?.parts.keys() ?? []) this.#blobs.delete(`${part} ${name}`);
    this.#kept.delete(name);
  }
}
