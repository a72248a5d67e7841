// One file by stream onto a shelf: it goes on where it was cut, and what arrives is hashed as it comes.
import { createSHA256 } from "hash-wasm";
import { TinderboxError } from "./errors.ts";
import type { Meter } from "./progress.ts";
import type { Drawer, Kept, Part, Shelf } from "./shelf.ts";

/** In a row, without one more byte. */
const ATTEMPTS = 5;
const FIRST_WAIT_MS = 250;

/** The connection broke off, or the server is busy: worth another attempt. */
class Dropped extends Error {}

export interface Job {
  shelf: Shelf;
  kept: Kept;
  /** Index of the part. */
  at: number;
  /** Expected. */
  sha256: string | null;
  meter: Meter;
}

/** @throws `network`, `not_found`, `quota`, or `checksum`, after which nothing is kept of the file */
export async function download(job: Job): Promise<void> {
  const { shelf, kept, at, meter } = job;
  const part = kept.parts[at]!;
  const digest = await createSHA256();
  const before = await shelf.blob(kept.name, at);
  if (before.size > 0) meter.start("verify", part.file, before.size);
  let verified = 0;
  for await (const bytes of before.stream()) {
    digest.update(bytes);
    meter.at((verified += bytes.length));
  }

  const drawer = await shelf.drawer(kept.name, at);
  try {
    await fill(job, drawer, digest);
    await shelf.note(kept);
  } catch (error) {
    if ((error as DOMException).name === "QuotaExceededError") throw await outOfSpace(part, drawer);
    throw error;
  }
}

type Digest = Awaited<ReturnType<typeof createSHA256>>;

async function fill(job: Job, drawer: Drawer, digest: Digest): Promise<void> {
  const { shelf, kept, at, sha256 } = job;
  const part = kept.parts[at]!;
  try {
    await attempts(job, drawer, digest);
    const found = digest.digest();
    if (sha256 && found !== sha256) {
      await drawer.clear();
      Object.assign(part, { etag: null, modified: null });
      await shelf.note(kept);
      throw new TinderboxError("checksum", `${part.file}: SHA-256 is ${found}, not ${sha256} as expected; `
        + `what came from ${part.url} was deleted`);
    }
    part.sha256 = found;
    part.total = drawer.size;
  } finally {
    // The last bytes may be written here, and refused.
    await drawer.close();
  }
}

async function attempts(job: Job, drawer: Drawer, digest: Digest): Promise<void> {
  const part = job.kept.parts[job.at]!;
  for (let failed = 0; ; ) {
    const size = drawer.size;
    if (size > 0 && size === part.total) return;
    try {
      return await attempt(job, drawer, digest);
    } catch (error) {
      if (!(error instanceof Dropped)) throw error;
      failed = drawer.size > size ? 1 : failed + 1;
      if (failed === ATTEMPTS) {
        throw new TinderboxError("network", `${part.url}: ${error.message}; ${drawer.size} of ${part.total || "?"} bytes are kept, `
          + "and the next load goes on there");
      }
      await new Promise((done) => setTimeout(done, FIRST_WAIT_MS * 2 ** failed));
    }
  }
}

async function attempt(job: Job, drawer: Drawer, digest: Digest): Promise<void> {
  const part = job.kept.parts[job.at]!;
  const response = await answer(part, drawer.size);
  if (response.status !== 206 || !continues(part, response, job.sha256)) {
    await drawer.clear();
    digest.init();
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new Dropped("the file changed while it was downloaded");
    }
    const whole = response.headers.get("content-encoding") ? 0 : Number(response.headers.get("content-length") ?? 0);
    Object.assign(part, {
      total: whole, etag: response.headers.get("etag"), modified: response.headers.get("last-modified"), sha256: null,
    });
    await job.shelf.note(job.kept);
  }
  await spaceFor(part, drawer);

  job.meter.start("download", part.file, part.total, drawer.size);
  const reader = response.body!.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error: Error) => {
        throw new Dropped(`the connection broke off (${error.message})`);
      });
      if (done) break;
      await drawer.append(value);
      digest.update(value);
      job.meter.at(drawer.size);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
  if (drawer.size < part.total) throw new Dropped("the answer ended early");
}

async function answer(part: Part, size: number): Promise<Response> {
  const headers = new Headers();
  if (size > 0) {
    headers.set("range", `bytes=${size}-`);
    // Elsewhere it would need the server's leave in a preflight; there, `continues` alone must do.
    const validator = part.etag && !part.etag.startsWith("W/") ? part.etag : part.modified;
    if (validator && new URL(part.url).origin === location.origin) headers.set("if-range", validator);
  }
  // The browser's own cache would hold every byte a second time.
  const response = await fetch(part.url, { headers, cache: "no-store" }).catch((error: Error) => {
    throw new Dropped(`no answer (${error.message})`);
  });
  if (response.ok && response.body) return response;
  if (response.status === 416) return response;
  if (response.status === 429 || response.status >= 500) throw new Dropped(`the server answered ${response.status}`);
  const missing = response.status === 404 || response.status === 410;
  throw new TinderboxError(missing ? "not_found" : "network", `${part.url}: the server answered ${response.status}`);
}

/** Whether an answer is the rest of what is kept. Without any sign of it only a known hash makes up for the risk. */
function continues(part: Part, response: Response, sha256: string | null): boolean {
  const [etag, modified] = [response.headers.get("etag"), response.headers.get("last-modified")];
  if (etag && part.etag) return etag === part.etag;
  if (modified && part.modified) return modified === part.modified;
  return sha256 !== null;
}

async function spaceFor(part: Part, drawer: Drawer): Promise<void> {
  const { quota, usage = 0 } = await navigator.storage?.estimate?.() ?? {};
  if (quota !== undefined && part.total - drawer.size > quota - usage) throw await outOfSpace(part, drawer);
}

async function outOfSpace(part: Part, drawer: Drawer): Promise<TinderboxError> {
  const { quota = 0, usage = 0 } = await navigator.storage?.estimate?.() ?? {};
  const need = part.total ? `${part.total - drawer.size} more bytes are needed` : "more bytes are needed";
  // Some browsers estimate for show: what was written is certain.
  return new TinderboxError("quota", `${part.file}: ${need}; the browser took ${drawer.size} and estimates `
    + `${Math.max(quota - usage, 0)} free; remove a kept model, or free space on the disk`);
}
