// A browser, a server of the package and of made-up models, and pages that have the package loaded.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { launch } from "../browser.mjs";
import { serve } from "../server.mjs";
import { gguf, huggingFace } from "./tiny.mjs";

export const packageFolder = resolve(import.meta.dirname, "../../../crates/web");
export const SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf";

/** Folder of the real model, or null, said aloud. */
export function realModels() {
  const folder = process.env.TINDERBOX_TEST_MODELS ?? join(homedir(), ".cache/tinderbox/smollm2-135m-instruct");
  if (existsSync(join(folder, SMOLLM2))) return folder;
  console.log(`SKIP: ${folder} has no ${SMOLLM2} (TINDERBOX_TEST_MODELS names another folder)`);
  return null;
}

/** Strict, but for the answers of other loopback ports, which play the edge. */
export const CSP = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
  + "connect-src 'self' http://127.0.0.1:*; img-src data:";

/** `open()` gives a page of a profile of its own; what the page logs as an error ends up in `complaints`. */
export async function fixture({ fault, mounts = {}, headers = { "content-security-policy": CSP } } = {}) {
  const models = await mkdtemp(join(tmpdir(), "tinderbox-web-"));
  await writeFile(join(models, "tiny.gguf"), gguf());
  await mkdir(join(models, "hf"));
  for (const [name, bytes] of Object.entries(huggingFace())) await writeFile(join(models, "hf", name), bytes);
  const real = realModels();
  if (real) await symlink(join(real, SMOLLM2), join(models, SMOLLM2));

  const folders = { "/": join(import.meta.dirname, "page"), "/dist/": join(packageFolder, "dist"), "/models/": models, ...mounts };
  const server = await serve(folders, { fault, headers });
  const browser = await launch();
  const complaints = [];
  return {
    server, browser, models, complaints, real,
    /** `ready` is a condition in the page. */
    async open({ url = server.origin, ready = () => "Tinderbox" in window, context } = {}) {
      context ??= await browser.newContext();
      const page = await context.newPage();
      page.setDefaultTimeout(600_000);
      page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
      page.on("pageerror", (error) => complaints.push(error.message));
      await page.goto(url);
      await page.waitForFunction(ready);
      return page;
    },
    async close() {
      await browser.close();
      await server.close();
      await rm(models, { recursive: true });
    },
  };
}
