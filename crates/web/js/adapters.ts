// An adapter's files, from the address of its folder or from the user.
import { asError, TinderboxError } from "./errors.ts";
import type { AdapterSource } from "./types.ts";

const NEEDED = ["adapter_config.json", "adapter_model.safetensors"];
const MORE = ["tokenizer_config.json", "added_tokens.json", "chat_template.jinja"];

export interface AdapterFiles {
  /** The folder's. */
  name: string;
  files: File[];
}

export async function adapterOf(source: AdapterSource, signal?: AbortSignal): Promise<AdapterFiles> {
  if (typeof source !== "string" && !(source instanceof URL)) return given(source);
  const folder = URL.parse(String(source), document.baseURI);
  if (!folder) throw new TinderboxError("invalid_request", `source: "${source}" is no address`, "source");
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  const needed = NEEDED.map((file) => fetched(new URL(file, folder), file, true, signal));
  const more = MORE.map((file) => fetched(new URL(file, folder), file, false, signal));
  const files = (await Promise.all([...needed, ...more])).filter((file) => file !== null);
  return { name: decodeURIComponent(folder.pathname.split("/").at(-2) ?? ""), files };
}

function given(files: readonly File[]): AdapterFiles {
  for (const needed of NEEDED) {
    if (files.some(({ name }) => name === needed)) continue;
    throw new TinderboxError("invalid_request", `source: there is no ${needed} among the files`, "source");
  }
  return { name: files[0]!.webkitRelativePath.split("/").at(-2) ?? "adapter", files: [...files] };
}

async function fetched(url: URL, name: string, needed: boolean, signal?: AbortSignal): Promise<File | null> {
  let response: Response;
  let bytes: Blob;
  try {
    response = await fetch(url, signal ? { signal } : {});
    bytes = await response.blob();
  } catch (error) {
    throw asError(error, "network");
  }
  // Servers of single pages answer every address, with the page.
  const there = response.ok && !bytes.type.startsWith("text/html");
  if (there) return new File([bytes], name);
  if (!needed) return null;
  throw new TinderboxError("not_found", `${url}: the server answers ${response.status}, not with a file`);
}
