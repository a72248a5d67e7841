// The origin private file system: a folder for each model, with its record and its files.
import { keyOf, type Drawer, type Kept, type Shelf } from "./shelf.ts";

const FOLDER = "tinderbox";
const RECORD = "model.json";
/** A worker that was ended lets go of its files a moment later. */
const TRIES = 20;
const WAIT_MS = 100;

/** Null where the browser has no such file system, or refuses it as some do in private windows. */
export async function opfs(): Promise<Shelf | null> {
  try {
    const root = await navigator.storage.getDirectory();
    return new Opfs(await root.getDirectoryHandle(FOLDER, { create: true }));
  } catch {
    return null;
  }
}

class Opfs implements Shelf {
  readonly kind = "OPFS";
  #root: FileSystemDirectoryHandle;

  constructor(root: FileSystemDirectoryHandle) {
    this.#root = root;
  }

  async models(): Promise<Kept[]> {
    const found: Kept[] = [];
    for await (const folder of this.#root.values()) {
      const kept = folder.kind === "directory" && (await read(folder as FileSystemDirectoryHandle));
      if (kept) found.push(kept);
    }
    return found;
  }

  async find(name: string): Promise<Kept | null> {
    return this.#folder(name).then(read, () => null);
  }

  async note(kept: Kept): Promise<void> {
    const file = await (await this.#folder(kept.name, true)).getFileHandle(RECORD, { create: true });
    // `createWritable` is not everywhere, and leaves its swap file behind where the worker is ended in between.
    const handle = await patiently(() => file.createSyncAccessHandle());
    handle.truncate(0);
    try {
      write(handle, new TextEncoder().encode(JSON.stringify(kept)), 0);
    } finally {
      handle.close();
    }
  }

  async drawer(name: string, part: number): Promise<Drawer> {
    const file = await (await this.#folder(name, true)).getFileHandle(String(part), { create: true });
    return new OpfsDrawer(await patiently(() => file.createSyncAccessHandle()));
  }

  async blob(name: string, part: number): Promise<Blob> {
    try {
      return await (await (await this.#folder(name)).getFileHandle(String(part))).getFile();
    } catch {
      return new Blob();
    }
  }

  async remove(name: string): Promise<void> {
    const key = await keyOf(name);
    await patiently(() => this.#root.removeEntry(key, { recursive: true }));
  }

  async #folder(name: string, create = false): Promise<FileSystemDirectoryHandle> {
    return this.#root.getDirectoryHandle(await keyOf(name), { create });
  }
}

class OpfsDrawer implements Drawer {
  #handle: FileSystemSyncAccessHandle;
  size: number;

  constructor(handle: FileSystemSyncAccessHandle) {
    this.#handle = handle;
    this.size = handle.getSize();
  }

  append(bytes: Uint8Array<ArrayBuffer>): void {
    write(this.#handle, bytes, this.size);
    this.size += bytes.length;
  }

  clear(): void {
    this.#handle.truncate(0);
    this.size = 0;
  }

  close(): void {
    this.#handle.flush();
    this.#handle.close();
  }
}

function write(handle: FileSystemSyncAccessHandle, bytes: Uint8Array<ArrayBuffer>, at: number): void {
  const written = handle.write(bytes, { at });
  // Chromium's private windows give an error's number as if it were a count.
  if (written !== bytes.length) throw new DOMException("the file takes no more bytes", "QuotaExceededError");
}

async function read(folder: FileSystemDirectoryHandle): Promise<Kept | null> {
  try {
    const file = await (await folder.getFileHandle(RECORD)).getFile();
    return JSON.parse(await file.text()) as Kept;
  } catch {
    // A folder without a readable record is a download that never began.
    return null;
  }
}

async function patiently<T>(open: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await open();
    } catch (error) {
      const taken = (error as DOMException).name === "NoModificationAllowedError";
      if (!taken || tries === TRIES) throw error;
      await new Promise((done) => setTimeout(done, WAIT_MS));
    }
  }
}
