// The page as a person uses it: choose, ask, stop, ask again, come back.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { answered, ask, built, fixture, loadTiny, openPanel, setMaxTokens } from "./fixture.mjs";

let world;
let page;
const said = () => page.locator(".said").allInnerTexts();
const answers = () => page.locator(".answer .prose").allInnerTexts();

before(async () => {
  world = await fixture();
  page = await world.open();
});

after(() => world.close());

test("the server's headers isolate the page and keep everything out", async () => {
  const response = await fetch(world.origin);
  const policy = response.headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self';/);
  assert.doesNotMatch(policy, /unsafe-inline|'unsafe-eval'/);
  // Beside this origin: what nobody can change under way.
  assert.match(policy, /connect-src 'self' https: http:\/\/127\.0\.0\.1:\* http:\/\/localhost:\*;/);
  assert.equal(policy.match(/\*/g).length, 2);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.equal(await page.evaluate(() => crossOriginIsolated), true);
});

test("the page's code stays small", async () => {
  const assets = (await readdir(built)).filter((name) => /^index-.*\.(?:js|css)$/.test(name));
  assert.ok(assets.length >= 2);
  let bytes = 0;
  for (const name of assets) bytes += gzipSync(await readFile(join(built, name))).length;
  assert.ok(bytes < 150_000, `${bytes} bytes`);
});

test("the server gives models from a folder of folders, in ranges, and says what is missing", async () => {
  const range = await fetch(`${world.origin}/models/tiny.gguf`, { headers: { range: "bytes=0-3" } });
  assert.equal(range.status, 206);
  assert.equal(await range.text(), "GGUF");
  assert.equal((await fetch(`${world.origin}/models/none.gguf`)).status, 404);
});

test("a file that is no model is refused where it was chosen, with what to do", async () => {
  await page.getByLabel("Model file", { exact: true }).setInputFiles(world.broken);
  const alert = page.getByRole("alert");
  await alert.waitFor();
  assert.match(await alert.innerText(), /invalid_model[\s\S]*broken\.gguf[\s\S]*Choose a whole GGUF/);
});

test("an address with nothing behind it is said to be so", async () => {
  await page.getByLabel("Address of a model file").fill("/models/none.gguf");
  await page.getByRole("button", { name: "Load", exact: true }).click();
  await page.getByRole("alert").getByText("not_found").waitFor();
  // The browser itself logs a request that was answered with 404.
  assert.deepEqual(world.complaints.splice(0).filter((text) => !text.includes("404")), []);
});

test("a model dropped on the page is loaded, and answers", async () => {
  await page.getByRole("radio", { name: "CPU" }).check();
  const base64 = (await readFile(world.tiny)).toString("base64");
  await page.evaluate((base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], "tiny.gguf"));
    document.querySelector("main").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  }, base64);
  await page.getByLabel("Your message").waitFor();
  assert.equal(await page.getByLabel("Your message").evaluate((area) => area === document.activeElement), true, "asking is next");
  await setMaxTokens(page, 32);
  await ask(page, "hello abc");
  assert.deepEqual(await said(), ["hello abc"]);
  assert.ok((await answers())[0].length > 0);
  assert.match(await page.locator(".answer .message-tools").innerText(), /in this tab\s+32 tokens\s+first after .+\s+[\d.]+ tokens\/s/);
});

test("an answer is stopped, and what there is of it stays", async () => {
  await setMaxTokens(page, 2048);
  await page.getByLabel("Your message").fill("go on and on");
  await page.getByLabel("Your message").press("Enter");
  await page.locator(".writing .prose > div").first().waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await answered(page);
  assert.match(await page.locator(".answer").last().innerText(), /Stopped/);
  assert.equal((await answers()).length, 2);
});

test("the last question is asked again", async () => {
  await setMaxTokens(page, 32);
  const [first, stopped] = await answers();
  await page.getByRole("button", { name: "Regenerate" }).click();
  await answered(page);
  assert.deepEqual(await said(), ["hello abc", "go on and on"]);
  const [same, other] = await answers();
  assert.equal(same, first);
  assert.notEqual(other, stopped);
});

test("a message is asked otherwise, and what came after it is replaced", async () => {
  const edit = page.getByRole("button", { name: "Edit this message" }).first();
  await edit.click();
  const editor = page.getByLabel("Edit your message");
  assert.equal(await editor.inputValue(), "hello abc");
  await editor.press("Escape");
  await editor.waitFor({ state: "detached" });
  await page.waitForFunction(() => document.activeElement?.textContent.startsWith("Edit"));
  await edit.click();
  await editor.fill("abc hello");
  await page.getByRole("button", { name: "Ask again" }).click();
  await answered(page);
  assert.deepEqual(await said(), ["abc hello"]);
  assert.equal((await answers()).length, 1);
});

test("a conversation too long for the model is refused in place, and nothing is lost", async () => {
  await page.getByLabel("Your message").fill("hello ".repeat(400));
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("alert").getByText("invalid_request").waitFor();
  assert.equal((await said()).length, 2);
  await page.getByRole("button", { name: "Edit this message" }).last().click();
  await page.getByLabel("Edit your message").fill("short");
  await page.getByLabel("Edit your message").press("Enter");
  await answered(page);
  assert.equal(await page.getByRole("alert").count(), 0);
  assert.deepEqual(await said(), ["abc hello", "short"]);
});

test("the same seed gives the same answer, and the system prompt is part of the question", async () => {
  await page.getByLabel("Seed").fill("7");
  const again = async () => {
    await page.getByRole("button", { name: "Regenerate" }).click();
    await answered(page);
    return (await answers()).at(-1);
  };
  const first = await again();
  assert.equal(await again(), first);
  await page.getByLabel("System prompt").fill("abc abc");
  assert.notEqual(await again(), first);
  await page.getByRole("button", { name: "Reset sampling" }).click();
  assert.equal(await page.getByLabel("Seed").inputValue(), "");
});

test("the conversation is exported as JSON and as Markdown", async () => {
  await openPanel(page, "Chats");
  const saved = async (name) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).click()]);
    return { name: download.suggestedFilename(), text: await readFile(await download.path(), "utf8") };
  };
  const json = await saved("Export JSON");
  const { turns, system } = JSON.parse(json.text);
  assert.equal(json.name, "tinderbox-chat.json");
  assert.equal(system, "abc abc");
  assert.deepEqual(turns.map(({ role }) => role), ["user", "assistant", "user", "assistant"]);
  assert.equal(turns[1].tokens.length, 32);
  const markdown = await saved("Export Markdown");
  assert.equal(markdown.name, "tinderbox-chat.md");
  assert.match(markdown.text, /^# abc hello\n\n> abc abc\n\n## You\n\nabc hello\n\n## tiny\n/);
});

test("conversations outlive a reload, even in the middle of an answer, and go on", async () => {
  await setMaxTokens(page, 2048);
  await page.getByLabel("Your message").fill("more");
  await page.getByLabel("Your message").press("Enter");
  await page.locator(".writing .prose > div").first().waitFor();
  const before = await answers();
  await page.reload();
  await page.getByRole("heading", { name: "Choose a model, and the chat goes on." }).waitFor();
  assert.deepEqual(await said(), ["abc hello", "short", "more"]);
  const kept = await answers();
  assert.deepEqual(kept.slice(0, 2), before.slice(0, 2));
  assert.ok(kept[2].startsWith(before[2]));
  await loadTiny(page, world.tiny);
  await setMaxTokens(page, 16);
  await page.getByRole("button", { name: "New chat" }).first().click();
  assert.deepEqual(await said(), []);
  await ask(page, "another");
  await openPanel(page, "Chats");
  assert.deepEqual(await page.locator(".chat-title").allInnerTexts(), ["another", "abc hello"]);
  await page.getByRole("button", { name: "abc hello", exact: true }).click();
  assert.deepEqual(await said(), ["abc hello", "short", "more"]);
  await page.getByRole("button", { name: "Delete abc hello" }).click();
  assert.deepEqual(await said(), ["another"]);
});

test("an address on this server is fetched, kept, and forgotten", async () => {
  await page.getByRole("button", { name: "Change model" }).click();
  await page.getByLabel("Address of a model file").fill("/models/tiny.gguf");
  await page.getByLabel("Address of a model file").press("Enter");
  await page.getByLabel("Your message").waitFor();
  await page.getByRole("button", { name: "Change model" }).click();
  await page.getByRole("button", { name: /^Start .*tiny\.gguf/ }).click();
  await page.getByLabel("Your message").waitFor();
  await page.getByRole("button", { name: "Change model" }).click();
  await page.getByRole("button", { name: /^Delete .*tiny\.gguf/ }).click();
  await page.getByRole("heading", { name: "Kept in this browser" }).waitFor({ state: "detached" });
});

test("Markdown in an answer is shown, and can load and run nothing", async () => {
  const content = "# Title\n\n**bold** `code`\n\n```js\n1 < 2;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![seen](https://outside.example/a.png) "
    + "[link](https://outside.example/) [bad](javascript:alert(1))\n\n<img src=x onerror=alert(1)><script>alert(2)</script>";
  await page.evaluate((content) => {
    const answer = { role: "assistant", content, tokens: [], speed: null, model: "made up", place: "browser", end: "stop" };
    const chat = { id: "x", started: 0, turns: [{ role: "user", content: "<b>mine</b>" }, answer] };
    localStorage.setItem("tinderbox/chats", JSON.stringify([chat]));
  }, content);
  await page.reload();
  const prose = page.locator(".prose");
  assert.deepEqual(await said(), ["<b>mine</b>"]);
  assert.equal(await prose.locator("strong").innerText(), "bold");
  assert.equal(await prose.locator("pre code").innerText(), "1 < 2;\n");
  assert.equal(await prose.locator("td").count(), 2);
  assert.equal(await prose.locator("img, script, [onerror], [style], [href^='javascript']").count(), 0);
  assert.match(await prose.innerText(), /<script>alert\(2\)<\/script>/);
  assert.deepEqual(await prose.locator("a[href]").evaluateAll((links) => links.map(({ target, rel }) => `${target} ${rel}`)),
    Array(2).fill("_blank noopener noreferrer nofollow"));
});

test("what was kept by another version, or by nobody, does not break the page", async () => {
  for (const wrong of ["[]", "{", "null", '{"a":1}', '[{"id":"x"}]']) {
    await page.evaluate((wrong) => localStorage.setItem("tinderbox/chats", wrong), wrong);
    await page.reload();
    await page.getByRole("heading", { name: "A language model, struck alight in this tab." }).waitFor();
  }
});

test("nothing was complained of", () => assert.deepEqual(world.complaints, []));
