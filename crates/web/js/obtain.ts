// From a plan to files that can be read: what is not kept yet is downloaded first.
import { download } from "./download.ts";
import { cached } from "./cached.ts";
import { Memory } from "./memory.ts";
import { opfs } from "./opfs.ts";
import type { Meter } from "./progress.ts";
import { keyOf, type Kept, type Shelf } from "./shelf.ts";
import type { Address, Plan } from "./source.ts";
import { WorkerFile } from "./file.ts";

export async function obtain(plan: Plan, meter: Meter): Promise<WorkerFile[]> {
  if ("files" in plan) return plan.files.map((file) => new WorkerFile(file.name, file));
  const shelf = await bestShelf();
  // Two tabs that want the same model: the second waits, and finds it kept.
  const lock = `tinderbox/${await keyOf(plan.key)}`;
  await navigator.locks.request(lock, () => keep(shelf, plan.key, plan.addresses, meter));
  const blobs = plan.addresses.map((_, at) => shelf.blob(plan.key, at));
  return (await Promise.all(blobs)).map((blob, at) => new WorkerFile(plan.addresses[at]!.file, blob));
}

async function keep(shelf: Shelf, key: string, addresses: Address[], meter: Meter): Promise<void> {
  const kept = await match(shelf, key, addresses);
  for (const [at, { sha256 }] of addresses.entries()) {
    const part = kept.parts[at]!;
    const held = await shelf.blob(key, at);
    // A file that is another one than is asked for by now, or whose end the browser lost.
    const stale = part.sha256 !== null && ((sha256 ?? part.sha256) !== part.sha256 || held.size !== part.total);
    if (stale) part.sha256 = null;
    if (stale) await clear(shelf, key, at);
    if (part.sha256 === null) await download({ shelf, kept, at, sha256, meter });
  }
}

/** The record of what is kept, as long as it is of the same addresses; a catalog model may have moved. */
async function match(shelf: Shelf, key: string, addresses: Address[]): Promise<Kept> {
  const kept = await shelf.find(key);
  const same = kept?.parts.length === addresses.length && addresses.every(({ file }, at) => kept.parts[at]!.file === file);
  if (kept && same) {
    for (const [at, { url }] of addresses.entries()) kept.parts[at]!.url = url;
    return kept;
  }
  if (kept) await shelf.remove(key);
  const parts = addresses.map(({ url, file }) => ({ url, file, total: 0, etag: null, modified: null, sha256: null }));
  return { name: key, parts };
}

async function clear(shelf: Shelf, key: string, at: number): Promise<void> {
  const drawer = await shelf.drawer(key, at);
  await drawer.clear();
  await drawer.close();
}

let shelf: Promise<Shelf> | undefined;

function bestShelf(): Promise<Shelf> {
  return (shelf ??= choose());
}

async function choose(): Promise<Shelf> {
  const writable = typeof FileSystemFileHandle !== "undefined" && "createSyncAccessHandle" in FileSystemFileHandle.prototype;
  const best = (writable ? await opfs() : null) ?? await cached() ?? new Memory();
  if (best.kind !== "OPFS") console.warn(`tinderbox-web: no OPFS in this browser; models are kept in: ${best.kind}`);
  return best;
}
