// The native server, on the CPU where nothing else is said: judge of the browser's tokens, and an edge to fall back on.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

const binary = process.env.TINDERBOX ?? resolve(import.meta.dirname, "../../target/release/tinderbox");

/** Why tests with it are skipped; false where they are not. */
export const noNative = existsSync(binary) ? false : `no ${binary} (TINDERBOX names another)`;

export async function serveNative(model, options = ["--device", "cpu"]) {
  const server = spawn(binary, ["serve", "--port", "0", "--model", model, ...options], { stdio: ["ignore", "pipe", "pipe"] });
  let url;
  const device = await new Promise((found, failed) => {
    // What it prints once it is ready: its address, its model, its device.
    const hear = (line) => {
      url = line.match(/^  address +(http:\/\/\S+)/)?.[1] ?? url;
      const [, device] = line.match(/^  device +(.+)/) ?? [];
      if (url && device) found(device);
    };
    for (const stream of [server.stdout, server.stderr]) createInterface({ input: stream }).on("line", hear);
    server.on("error", failed);
    server.on("exit", (code) => failed(new Error(`the server ended with ${code}`)));
  });
  return { url, device, close: () => server.kill() };
}
