// The native server on the CPU: judge of the browser's tokens, and an edge to fall back on.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

const binary = process.env.TINDERBOX ?? resolve(import.meta.dirname, "../../target/release/tinderbox");

/** Why tests with it are skipped; false where they are not. */
export const noNative = existsSync(binary) ? false : `no ${binary} (TINDERBOX names another)`;

export async function serveNative(model) {
  const server = spawn(binary, ["serve", "--port", "0", "--device", "cpu", "--model", model], { stdio: ["ignore", "pipe", "pipe"] });
  const url = await new Promise((found, failed) => {
    const hear = (line) => line.match(/http:\/\/[\d.]+:\d+/) && found(line.match(/http:\/\/[\d.]+:\d+/)[0]);
    for (const stream of [server.stdout, server.stderr]) createInterface({ input: stream }).on("line", hear);
    server.on("exit", (code) => failed(new Error(`the server ended with ${code}`)));
  });
  return { url, close: () => server.kill() };
}
