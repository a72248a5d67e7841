// The built page behind `vite preview`, a Chromium, and a made-up model to drop on it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { launch } from "../browser.mjs";
import { realModels, SMOLLM2 } from "../package/fixture.mjs";
import { gguf } from "../package/tiny.mjs";

const root = resolve(import.meta.dirname, "../../..");
const www = join(root, "www");
/** So many that an answer is still being written when a test looks. */
const LAYERS = 16;
/** The built page's code. */
export const built = join(www, "dist/assets");
const axePath = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
export const screenshots = process.env.TINDERBOX_SCREENSHOTS ?? join(root, "target/screenshots");

/** `open()` gives a page of a profile of its own; whatever a console or a policy complains of ends up in `complaints`. */
export async function fixture() {
  assert.ok(existsSync(join(www, "dist/index.html")), "www/dist is missing: `npm run build` in www makes it");
  const folder = await mkdtemp(join(tmpdir(), "tinderbox-page-"));
  const tiny = join(folder, "tiny.gguf");
  await writeFile(tiny, gguf({}, LAYERS));
  const plain = join(folder, "plain.gguf");
  await writeFile(plain, gguf({ "tokenizer.chat_template": null }, LAYERS));
  const broken = join(folder, "broken.gguf");
  await writeFile(broken, "no model at all");
  // One level down, as the tool that downloads models lays them.
  await mkdir(join(folder, "models/smollm2"), { recursive: true });
  const real = realModels();
  if (real) await symlink(join(real, SMOLLM2), join(folder, "models/smollm2", SMOLLM2));
  await symlink(tiny, join(folder, "models/smollm2/tiny.gguf"));
  await mkdir(screenshots, { recursive: true });

  const preview = await startPreview(join(folder, "models"));
  const browser = await launch();
  const complaints = [];
  return {
    tiny, plain, broken, real, complaints, origin: preview.origin,
    async open(options = {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: "reduce", permissions: ["clipboard-read", "clipboard-write"], ...options });
      const page = await context.newPage();
      page.setDefaultTimeout(30_000);
      page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
      page.on("pageerror", (error) => complaints.push(error.message));
      // Nothing but this origin is ever asked.
      page.on("request", (request) => /^(?:blob|data):/.test(request.url()) || request.url().startsWith(preview.origin) || complaints.push(`outside request: ${request.url()}`));
      await page.goto(preview.origin);
      await page.getByRole("heading", { name: "Choose a model" }).waitFor();
      return page;
    },
    async close() {
      await browser.close();
      await preview.close();
      await rm(folder, { recursive: true });
    },
  };
}

async function startPreview(models) {
  const port = await freePort();
  const server = spawn(process.execPath, [join(www, "node_modules/vite/bin/vite.js"), "preview", "--host", "127.0.0.1", "--port", String(port), "--strictPort"], {
    cwd: www, env: { ...process.env, TINDERBOX_MODELS: models }, stdio: ["ignore", "ignore", "inherit"],
  });
  const origin = `http://127.0.0.1:${port}`;
  const ended = once(server, "exit");
  for (let tries = 0; !(await answers(origin)); tries++) {
    assert.ok(tries < 100 && server.exitCode === null, "vite preview does not answer");
    await new Promise((done) => setTimeout(done, 100));
  }
  return { origin, close: () => (server.kill(), ended) };
}

const answers = (origin) => fetch(origin).then(({ ok }) => ok, () => false);

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Loads a file on the CPU, through the file picker. */
export async function loadTiny(page, file) {
  await page.getByRole("radio", { name: "CPU" }).check();
  await page.getByLabel("Model file", { exact: true }).setInputFiles(file);
  await page.getByLabel("Your message").waitFor();
}

/** Sends a message and waits until its answer is whole. */
export async function ask(page, text) {
  await page.getByLabel("Your message").fill(text);
  await page.getByRole("button", { name: "Send" }).click();
  await answered(page);
}

export async function answered(page) {
  await page.locator(".answer:not(.writing) .numbers").last().waitFor();
  await page.getByRole("button", { name: "Send" }).waitFor();
}

/** Answers of the made-up model never end by themselves: few tokens make short ones. */
export async function setMaxTokens(page, tokens) {
  await openPanel(page, "Instructions and sampling");
  await page.getByLabel("Most tokens an answer").fill(String(tokens));
}

export async function openPanel(page, name) {
  const panel = page.locator("details.panel", { has: page.getByRole("heading", { name, exact: true, level: 2 }) });
  if (!(await panel.evaluate((details) => details.open))) await panel.locator("summary").first().click();
  return panel;
}

/** What axe finds, as text; empty where there is nothing. */
export async function accessibility(page) {
  // Through the debugger, so that the page's policy stays as strict as it is.
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(await readFile(axePath, "utf8"));
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  return violations.map(({ id, help, nodes }) => `${id}: ${help}\n${nodes.map(({ html, failureSummary }) => `  ${html}\n  ${failureSummary}`).join("\n")}`).join("\n");
}

export const shoot = (page, name) => page.screenshot({ path: join(screenshots, `${name}.png`) });
