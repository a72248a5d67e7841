// For everybody: by keyboard, by screen reader, on a phone, in the dark; and pictures of it all.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessibility, answered, ask, fixture, loadTiny, openPanel, setMaxTokens, shoot } from "./fixture.mjs";

const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true };
const NARROWEST = { viewport: { width: 360, height: 640 } };
const PANELS = ["Speed", "Instructions and sampling", "Device", "Bench", "Chats"];

let world;

before(async () => (world = await fixture()));
after(() => world.close());

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

test("everything is done with the keyboard alone", async () => {
  const page = await world.open();
  // From the start: a listener that comes with the key press can come too late.
  page.on("filechooser", (chooser) => chooser.setFiles(world.tiny));
  const focused = () => page.evaluate(() => document.activeElement.ariaLabel ?? document.activeElement.innerText);
  /** Tab until what has the focus is called so; a page has less than sixty stops. */
  const tabTo = async (name) => {
    for (let stops = 0; stops < 60; stops++) {
      await page.keyboard.press("Tab");
      if (name.test(await focused())) return;
    }
    assert.fail(`no way to ${name}`);
  };
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the conversation");
  await page.keyboard.press("Enter");
  await tabTo(/^Model file$/);
  await page.getByRole("radio", { name: "Automatic" }).focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.getByRole("radio", { name: "CPU" }).isChecked(), true);
  await page.getByLabel("Model file", { exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.getByLabel("Your message").waitFor();
  assert.equal(await page.getByRole("status").innerText(), "tiny is ready");

  await page.keyboard.type("hello abc");
  await page.keyboard.press("Enter");
  await page.locator(".writing .prose > div").first().waitFor();
  await page.keyboard.press("Escape");
  await answered(page);
  assert.equal(await page.getByRole("status").innerText(), "Stopped");
  assert.equal(await page.getByLabel("Your message").evaluate((area) => area === document.activeElement), true);

  await page.keyboard.type("abc");
  await tabTo(/^Send$/);
  await page.keyboard.press("Space");
  await page.locator(".writing").waitFor();
  assert.equal(await focused(), "Stop");
  await page.keyboard.press("Space");
  await answered(page);
  await tabTo(/^(Bench|Chats)$/);
  await page.keyboard.press("Enter");
  await page.locator("details.panel[open] h2", { hasText: /^(Bench|Chats)$/ }).waitFor();
  await page.getByRole("button", { name: "Change model" }).focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement === document.getElementById("main"));
  await page.context().close();
});

for (const [name, options] of Object.entries({ light: {}, dark: { colorScheme: "dark" }, phone: PHONE, "phone-dark": { ...PHONE, colorScheme: "dark" }, narrowest: NARROWEST })) {
  test(`axe finds nothing: ${name}`, async () => {
    const page = await world.open(options);
    assert.equal(await accessibility(page), "", "picker");
    assert.ok((await overflow(page)) <= 0, "picker");
    await page.getByLabel("Model file", { exact: true }).setInputFiles(world.broken);
    await page.getByRole("alert").waitFor();
    assert.equal(await accessibility(page), "", "error");
    await loadTiny(page, world.tiny);
    const narrow = options.viewport !== undefined;
    const panels = page.getByRole("button", { name: "Panels" });
    if (narrow) await panels.click();
    await setMaxTokens(page, 32);
    if (narrow) await page.getByRole("button", { name: "Close the panels" }).click();
    await ask(page, "hello abc");
    assert.equal(await accessibility(page), "", "chat");
    await page.getByRole("radio", { name: "Tokens" }).check();
    assert.equal(await accessibility(page), "", "tokens");
    assert.ok((await overflow(page)) <= 0, "chat");
    await shoot(page, `${name}-tokens`);
    await page.getByRole("button", { name: "Edit this message" }).click();
    assert.equal(await accessibility(page), "", "editing");
    await page.getByRole("button", { name: "Cancel" }).click();
    if (narrow) {
      await panels.click();
      assert.equal(await page.getByRole("region", { name: "Panels" }).evaluate((panels) => panels === document.activeElement), true);
    }
    for (const panel of PANELS) await openPanel(page, panel);
    for (const more of await page.locator("details.more:not([open]) > summary").all()) await more.click();
    assert.equal(await accessibility(page), "", "panels");
    assert.ok((await overflow(page)) <= 0, "panels");
    await shoot(page, `${name}-panels`);
    if (narrow) {
      await page.keyboard.press("Escape");
      assert.equal(await panels.evaluate((button) => button === document.activeElement), true);
    }
    await page.context().close();
  });
}

test("the colours can be chosen, and are kept", async () => {
  const page = await world.open();
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await ground();
  await page.getByRole("button", { name: "Colours: auto" }).click();
  await page.getByRole("button", { name: "Colours: light" }).click();
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.reload();
  await page.getByRole("button", { name: "Colours: dark" }).waitFor();
  assert.equal(await ground(), dark);
  await page.context().close();
});

test("SmolLM2 is fetched by its card, seen loading, and chats", async (t) => {
  if (!world.real) return t.skip("no SmolLM2");
  const page = await world.open();
  const looks = {
    desktop: () => page.emulateMedia({ colorScheme: "light" }),
    dark: () => page.emulateMedia({ colorScheme: "dark" }),
    phone: () => page.emulateMedia({ colorScheme: "light" }).then(() => page.setViewportSize(PHONE.viewport)),
  };
  const begins = () => page.waitForFunction(() => document.querySelector(".answer .prose")?.textContent.length > 100);
  await page.evaluate(() => localStorage.setItem("tinderbox/sampling", JSON.stringify({ max_tokens: 64, seed: 4 })));
  await page.reload();
  const start = page.getByRole("button", { name: "Fetch and start smollm2-135m-instruct" });
  await start.waitFor();
  for (const [name, look] of Object.entries(looks)) {
    await look();
    await shoot(page, `${name}-picker`);
  }
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.getByRole("radio", { name: "CPU" }).check();
  await start.click();
  await page.getByText(/^[1-9].* of 98\.4 MB$/).waitFor();
  await shoot(page, "desktop-loading");
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("status").getByText("Loading cancelled").waitFor();
  await page.getByRole("button", { name: /tart smollm2-135m-instruct/ }).click();
  await page.getByLabel("Your message").waitFor();

  await page.getByLabel("Your message").fill("What is a tinderbox? Answer in two sentences.");
  await page.getByRole("button", { name: "Send" }).click();
  await begins();
  await shoot(page, "desktop-chatting");
  await answered(page);
  assert.match(await page.locator(".answer").innerText(), /tinder/i);
  await page.getByRole("button", { name: "Regenerate" }).click();
  await looks.dark();
  await begins();
  await shoot(page, "dark-chatting");
  await answered(page);
  await page.getByRole("button", { name: "Panels" }).click();
  await looks.phone();
  await shoot(page, "phone-chatting");
  await page.getByRole("radio", { name: "Tokens" }).check();
  await page.getByRole("toolbar").getByRole("button").nth(12).hover();
  await shoot(page, "phone-probabilities");
});

test("nothing was complained of", () => assert.deepEqual(world.complaints, []));
