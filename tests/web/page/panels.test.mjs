// What the page shows of the engine: speed, probabilities, device, bench.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, fixture, loadTiny, openPanel, setMaxTokens } from "./fixture.mjs";

/** An adapter that says it is a real one, and whose shaders divide by zero where they should multiply. */
const WRONG_GPU = `
  Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
  const make = GPUDevice.prototype.createShaderModule;
  GPUDevice.prototype.createShaderModule = function (how) {
    return make.call(this, { ...how, code: how.code.replaceAll(/ (\\w+) \\* (\\w+);/g, " $1 / ($2 - $2);") });
  };`;

let world;
let page;

before(async () => {
  world = await fixture();
  page = await world.open();
  await loadTiny(page, world.tiny);
  await setMaxTokens(page, 48);
  await ask(page, "hello abc");
});

after(() => world.close());

test("the plot draws the wait and the speed, and says both in words", async () => {
  const panel = await openPanel(page, "Speed");
  const plot = panel.getByRole("img", { name: "Speed of the answer over its time" });
  assert.match(await plot.getByText("First token after").textContent(), /^First token after .+, then .+ tokens a second until .+\.$/);
  assert.equal(await plot.locator("polyline").evaluate((line) => line.points.numberOfItems), 47);
  assert.match(await panel.locator(".figures").innerText(), /First token\s+\d.*\s+Tokens a second\s+\d/i);
});

test("a token's probability and its alternatives are read with arrow keys", async () => {
  const text = await page.locator(".answer .prose").innerText();
  await page.getByRole("radio", { name: "Tokens" }).check();
  const tokens = page.getByRole("toolbar", { name: "Tokens of the answer" }).getByRole("button");
  assert.equal(await tokens.count(), 48);
  const spelled = (await tokens.allInnerTexts()).join("").replaceAll("⏎", "\n");
  assert.equal(spelled.replace(/\s+/g, ""), text.replace(/\s+/g, ""));

  const focused = () => page.evaluate(() => document.activeElement.ariaLabel);
  const facts = page.locator(".token-facts");
  await tokens.first().focus();
  const first = await focused();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  const third = await focused();
  assert.equal(third, await tokens.nth(2).getAttribute("aria-label"));
  assert.ok((await facts.locator("p").innerText()).includes(third.split(", ").at(-1)));
  assert.equal(await facts.getByRole("listitem").count(), 5);
  assert.equal(await page.evaluate(() => document.getElementById(document.activeElement.getAttribute("aria-describedby"))?.className), "token-facts");
  await page.keyboard.press("Home");
  assert.equal(await focused(), first);
  await page.keyboard.press("End");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), await tokens.last().getAttribute("aria-label"));
});

test("a token's probability is shown to a pointer", async () => {
  const token = page.getByRole("toolbar").getByRole("button").nth(5);
  await token.hover();
  const percent = (await token.getAttribute("aria-label")).split(", ").at(-1);
  await page.locator(".token-facts p").getByText(percent).waitFor();
});

test("the device panel says what computes, why, and what it takes", async () => {
  const panel = await openPanel(page, "Device");
  const text = await panel.innerText();
  assert.match(text, /CPU/);
  assert.match(text, /512 tokens/);
  // The page is cross-origin isolated.
  assert.match(text, /Threads\s+[2-8]\b/);
  assert.match(text, /Memory: [\d.]+ MB/);
  assert.match(text, /Weights\s+[\d.]+ kB/);
  const widths = await panel.locator(".memory-bar span").evaluateAll((parts) => parts.map((part) => part.getBoundingClientRect().width));
  assert.ok(widths.length >= 2 && widths.every((width) => width > 0));
  await panel.getByRole("button", { name: "Refresh" }).click();
});

test("the bench's result is copied as text", async () => {
  const panel = await openPanel(page, "Bench");
  await panel.getByRole("button", { name: "Measure" }).click();
  await panel.getByRole("button", { name: "Copy as text" }).click();
  await panel.getByRole("button", { name: "Copied" }).waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /^Tinderbox bench: tiny\ndevice: CPU.*\nload: .+\ntime to first token: .+ \(128 tokens\)\nprefill: [\d.]+ tokens\/s\ndecode: [\d.]+ tokens\/s \(64 tokens/);
});

test("a model without a chat template goes on with the text", async () => {
  await page.getByRole("button", { name: "Change model" }).click();
  await loadTiny(page, world.plain);
  await page.getByRole("button", { name: "New chat" }).first().click();
  await page.getByText("it goes on with whatever you write").waitFor();
  await ask(page, "hello abc");
  assert.equal(await page.getByRole("toolbar").getByRole("button").count(), 48);
  assert.equal(await page.locator(".token-facts").getByRole("listitem").count(), 5);
});

test("on WebGPU, the device panel has the adapter and its self-test", async () => {
  await page.getByRole("button", { name: "Change model" }).click();
  await page.getByRole("radio", { name: "WebGPU" }).check();
  await page.getByLabel("Model file", { exact: true }).setInputFiles(world.tiny);
  await page.getByLabel("Your message").waitFor();
  const panel = await openPanel(page, "Device");
  await panel.getByText(/^Adapter: .*swiftshader.* \(software\)$/).click();
  await panel.getByText(/^Self-test: /).click();
  assert.ok((await panel.getByRole("row").count()) > 5);
  await setMaxTokens(page, 16);
  await ask(page, "hello abc");
  assert.match(await page.locator(".loaded .badge").innerText(), /in this tab · WebGPU/);
});

test("a GPU that computes wrongly is named, and the panel says that the CPU computes", async () => {
  const page = await world.open();
  await page.route("**/worker-*.js", async (route) => {
    const response = await route.fetch();
    const body = `${WRONG_GPU}${await response.text()}`;
    await route.fulfill({ response, body });
  });
  await page.getByLabel("Model file", { exact: true }).setInputFiles(world.tiny);
  await page.getByLabel("Your message").waitFor();
  const panel = await openPanel(page, "Device");
  await panel.getByText(/^Self-test: \d+ of \d+ wrong, so the CPU computes$/).waitFor();
  assert.match(await panel.innerText(), /computes wrong numbers/);
  assert.ok((await panel.getByRole("cell", { name: "wrong" }).count()) > 0);
  // Not every deviation is a number.
  assert.ok((await panel.getByRole("row").filter({ hasText: /wrong.*–$/ }).count()) > 0);
  assert.match(await page.locator(".loaded .badge").innerText(), /in this tab · CPU/);
});

test("nothing was complained of", () => assert.deepEqual(world.complaints, []));
