// The Cache API as a shelf, where there is no OPFS: a part is a row of segments, so that a cut download can go on.
import { keyOf, type Drawer, type Kept, type Shelf } from "./shelf.ts";

const CACHE = "tinderbox";
const SEGMENT = 8 << 20;

export async function cached(): Promise<Shelf | null> {
  try {
    return new Cached(await caches.open(CACHE));
  } catch {
    return null;
  }
}

class Cached implements Shelf {
  readonly kind = "Cache API";
  #cache: Cache;

  constructor(cache: Cache) {
    this.#cache = cache;
  }

  async models(): Promise<Kept[]> {
    const records = (await this.#cache.keys()).filter((key) => key.url.endsWith("/model.json"));
    const kept = records.map(async (key) => (await this.#cache.match(key))?.json() as Promise<Kept>);
    return Promise.all(kept);
  }

  async find(name: string): Promise<Kept | null> {
    const record = await this.#cache.match(address(await keyOf(name), "model.json"));
    return record ? record.json() : null;
  }

  async note(kept: Kept): Promise<void> {
    await this.#cache.put(address(await keyOf(kept.name), "model.json"), Response.json(kept));
  }

  async drawer(name: string, part: number): Promise<Drawer> {
    const blobs = await this.#segments(name, part);
    return new CachedDrawer(this.#cache, `${await keyOf(name)}/${part}`, blobs);
  }

  async blob(name: string, part: number): Promise<Blob> {
    return new Blob(await this.#segments(name, part));
  }

  async remove(name: string): Promise<void> {
    const folder = address(await keyOf(name), "");
    const keys = (await this.#cache.keys()).filter((key) => key.url.startsWith(folder));
    await Promise.all(keys.map((key) => this.#cache.delete(key)));
  }

  async #segments(name: string, part: number): Promise<Blob[]> {
    const folder = `${await keyOf(name)}/${part}`;
    const blobs: Blob[] = [];
    for (;;) {
      const segment = await this.#cache.match(address(folder, blobs.length));
      if (!segment) return blobs;
      blobs.push(await segment.blob());
    }
  }
}

class CachedDrawer implements Drawer {
  #cache: Cache;
  #folder: string;
  #segments: number;
  #waiting: Uint8Array<ArrayBuffer>[] = [];
  #waitingBytes = 0;
  size: number;

  constructor(cache: Cache, folder: string, segments: Blob[]) {
    this.#cache = cache;
    this.#folder = folder;
    this.#segments = segments.length;
    this.size = segments.reduce((sum, segment) => sum + segment.size, 0);
  }

  async append(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.size += bytes.length;
    if (this.#waitingBytes >= SEGMENT) await this.#write();
  }

  async clear(): Promise<void> {
    while (this.#segments > 0) await this.#cache.delete(address(this.#folder, --this.#segments));
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.size = 0;
  }

  async close(): Promise<void> {
    if (this.#waitingBytes > 0) await this.#write();
  }

  async #write(): Promise<void> {
    const segment = new Blob(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
    try {
      await this.#cache.put(address(this.#folder, this.#segments), new Response(segment));
    } catch (error) {
      // Not tried again at the end: what was refused is not here.
      this.size -= segment.size;
      throw error;
    }
    this.#segments++;
  }
}

/** Keys of a cache are addresses; nothing is ever fetched from these. */
function address(folder: string, file: string | number): string {
  return new URL(`/.tinderbox/${folder}/${file}`, location.origin).href;
}
