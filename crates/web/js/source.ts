// What `load` was asked to load, as a plan that the worker can follow.
import { TinderboxError } from "./errors.ts";
import type { CatalogModel, LoadOptions } from "./types.ts";

export interface Address {
  url: string;
  file: string;
  /** Expected; null where the caller names none. */
  sha256: string | null;
}

/** `model` is what the model answers to, `key` what it is kept under: a catalog name or an address. */
export type Plan =
  | { model: string; files: File[] }
  | { model: string; key: string; addresses: Address[] };

export function planOf({ model, models, sha256 }: LoadOptions, catalog: readonly CatalogModel[]): Plan {
  const known = catalog.find(({ name }) => name === model);
  if (known) {
    const url = new URL(known.file, folderOf(models)).href;
    return { model: known.name, key: known.name, addresses: [{ url, file: known.file, sha256: known.sha256 }] };
  }
  const list = Array.isArray(model) ? [...model] : [model];
  if (list.length === 0) throw new TinderboxError("invalid_request", "model: the list is empty", "model");
  if (list.every((item) => item instanceof Blob)) return { model: modelName(list.map(pathOf)), files: list.map(fileOf) };
  if (!list.every((item) => typeof item === "string" || item instanceof URL)) {
    throw new TinderboxError("invalid_request", "model: is not a name, not addresses and not files", "model");
  }

  const named = list.map((item) => urlOf(item, catalog));
  const urls = named.length === 1 ? partsOf(named[0]!) : named;
  const hashes = hashesOf(sha256, urls.length);
  const addresses = urls.map((url, at) => ({ url: url.href, file: lastOf(url.pathname), sha256: hashes[at] ?? null }));
  return { model: modelName(named.map(({ pathname }) => pathname)), key: urls[0]!.href, addresses };
}

/** How llama.cpp calls the first part of a split file: the other names follow from it. */
const FIRST_PART = /-00001-of-(\d{5})(?=\.gguf$)/;

function partsOf(first: URL): URL[] {
  const count = Number(FIRST_PART.exec(first.pathname)?.[1] ?? 1);
  return Array.from({ length: Math.max(count, 1) }, (_, at) => {
    const part = new URL(first);
    part.pathname = part.pathname.replace(FIRST_PART, `-${String(at + 1).padStart(5, "0")}-of-$1`);
    return part;
  });
}

function urlOf(item: string | URL, catalog: readonly CatalogModel[]): URL {
  if (typeof item === "string" && !/[./]/.test(item)) {
    const names = catalog.map(({ name }) => name).join(", ");
    throw new TinderboxError("not_found", `no model is called "${item}" (there are: ${names}), and it is no address`, "model");
  }
  const url = URL.parse(String(item), document.baseURI);
  if (!url) throw new TinderboxError("invalid_request", `model: "${item}" is no address`, "model");
  return url;
}

function hashesOf(sha256: LoadOptions["sha256"], count: number): readonly string[] {
  if (sha256 === undefined) return [];
  const hashes = typeof sha256 === "string" ? [sha256] : sha256;
  if (hashes.length !== count || !hashes.every((hash) => /^[0-9a-f]{64}$/.test(hash))) {
    throw new TinderboxError("invalid_request", "sha256: is not 64 lower-case hex digits for each address", "sha256");
  }
  return hashes;
}

function folderOf(models: LoadOptions["models"]): URL {
  const folder = new URL(models ?? "/models/", document.baseURI);
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  return folder;
}

const lastOf = (path: string) => decodeURIComponent(path.split("/").at(-1) ?? "");

const pathOf = (blob: Blob) => (blob instanceof File ? blob.webkitRelativePath || blob.name : "model.gguf");

const fileOf = (blob: Blob) => (blob instanceof File ? blob : new File([blob], "model.gguf"));

/** A single file's name without its ending, or the folder's of several. */
function modelName(paths: string[]): string {
  const first = paths[0]!;
  if (paths.length === 1) return lastOf(first).replace(FIRST_PART, "").replace(/\.[a-z]+$/i, "") || "model";
  return lastOf(first.slice(0, Math.max(first.lastIndexOf("/"), 0))) || "model";
}
