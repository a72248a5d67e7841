// The page as the edge serves it, and its answers from there: a real Worker in workerd, SmolLM2 in its isolate.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { worker } from "../../../workers/edge/local.mjs";
import { launch } from "../browser.mjs";
import { realModels, SMOLLM2 } from "../package/fixture.mjs";
import { ask, openPanel, shoot } from "./fixture.mjs";

const root = resolve(import.meta.dirname, "../../..");
const tinderbox = process.env.TINDERBOX ?? join(root, "target/release/tinderbox");
const real = realModels();
const skip = real ? false : "SKIP: SmolLM2 was not fetched";
const MODEL = "smollm2-135m-instruct";

let assets;
let edge;
let browser;

before(async () => {
  if (skip) return;
  assets = await mkdtemp(join(tmpdir(), "tinderbox-edge-page-"));
  await cp(join(root, "www/dist"), assets, { recursive: true });
  execFileSync(tinderbox, ["pack", "--model", join(real, SMOLLM2), "--embedding", "q4_1", "--out", join(assets, "models", MODEL)]);
  edge = await worker({ assets, vars: { MODEL, CONTEXT: "512", BUDGET: "256" } });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await edge?.stop();
  if (assets) await rm(assets, { recursive: true });
});

test("the page comes with its policy, and an answer comes from the edge", { skip }, async () => {
  const head = await fetch(edge.url);
  assert.equal(head.headers.get("cross-origin-opener-policy"), "same-origin");
  assert.match(head.headers.get("content-security-policy"), /default-src 'none'/);
  await head.text();

  const page = await browser.newPage();
  page.setDefaultTimeout(30_000);
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(edge.url);
  await page.getByText("More: context length, an edge server").click();
  await page.getByLabel("Answers come from").selectOption("edge");
  await page.getByLabel("Address of a Tinderbox server").fill(`${edge.url}/v1`);
  await page.getByRole("button", { name: /start .*smollm2-135m-instruct/i }).click();
  await page.getByLabel("Your message").waitFor();
  await openPanel(page, "Instructions and sampling");
  await page.getByLabel("Temperature").fill("0");
  await ask(page, "What is the capital of France?");
  const answer = page.locator(".answer").last();
  assert.match(await answer.locator(".prose").innerText(), /Paris/);
  await answer.getByText("on the edge").waitFor();
  await shoot(page, "edge");
  assert.deepEqual(complaints, []);
});
