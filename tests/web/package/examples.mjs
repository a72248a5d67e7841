// The example folders, their packages installed.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { packageFolder } from "./fixture.mjs";

export function example(name) {
  const folder = join(packageFolder, "examples", name);
  if (existsSync(join(folder, "package.json")) && !existsSync(join(folder, "node_modules"))) {
    execFileSync("npm", ["ci", "--ignore-scripts"], { cwd: folder, stdio: "inherit" });
  }
  return folder;
}

export const npm = (folder, ...args) => execFileSync("npm", args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

/** Says something in an example's page and waits for the beginning of an answer. */
export async function chat(page, text) {
  await page.locator("#say:enabled").fill(text);
  await page.keyboard.press("Enter");
  await page.waitForFunction((text) => document.getElementById("chat").textContent.length > text.length + 4, text);
  return page.textContent("#chat");
}
