import { existsSync, readdirSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { homedir } from "node:os";
import { join } from "node:path";
import sirv from "sirv";
import { defineConfig, type Connect, type Plugin } from "vite";

// Cross-origin isolated: the page's clock is finer then, and nothing else's memory is near.
const isolation = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

const policy = {
  "default-src": "'none'",
  "script-src": "'self' 'wasm-unsafe-eval'",
  "style-src": "'self'",
  "img-src": "'self' data: blob:",
  // A model or an edge may be anywhere, as long as nobody can change what comes under way: on this machine, nobody can.
  "connect-src": "'self' https: http://127.0.0.1:* http://localhost:*",
  "worker-src": "'self'",
  "base-uri": "'none'",
  "form-action": "'none'",
  "frame-ancestors": "'none'",
};

const header = (directives: Record<string, string>) =>
  Object.entries(directives).map(([name, value]) => `${name} ${value}`).join("; ");

const built = { ...isolation, "Content-Security-Policy": header(policy) };

/** Vite's client puts styles into the page and talks over a WebSocket. */
const developing = {
  ...isolation,
  "Content-Security-Policy": header({
    ...policy,
    "script-src": `${policy["script-src"]} 'unsafe-inline'`,
    "style-src": `${policy["style-src"]} 'unsafe-inline'`,
    "connect-src": `${policy["connect-src"]} ws:`,
  }),
};

/** `/models/<file>` is that file in the folder of models or in a folder of it. */
function models(): Plugin {
  const root = process.env.TINDERBOX_MODELS ?? join(homedir(), ".cache/tinderbox");
  const folders = existsSync(root)
    ? [root, ...readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => join(root, name))]
    : [];
  const handlers = folders.map((folder) => sirv(folder, { dev: true, etag: true }));
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    const missing = () => void response.writeHead(404).end();
    handlers.reduceRight<() => void>((next, handler) => () => handler(request, response, next), missing)();
  };
  const mount = ({ middlewares }: { middlewares: Connect.Server }) => void middlewares.use("/models", serve);
  return { name: "tinderbox-models", configureServer: mount, configurePreviewServer: mount };
}

/** The headers for hosts of static files that read them from `_headers`, as Cloudflare's do. */
function headers(): Plugin {
  const lines = Object.entries(built).map(([name, value]) => `  ${name}: ${value}`);
  const cached = "/assets/*\n  Cache-Control: public, max-age=31536000, immutable";
  const source = `/*\n${lines.join("\n")}\n${cached}\n`;
  return {
    name: "tinderbox-headers",
    apply: "build",
    generateBundle() {
      this.emitFile({ type: "asset", fileName: "_headers", source });
    },
  };
}

export default defineConfig({
  plugins: [models(), headers()],
  // A path that is no file is an error, not the page.
  appType: "mpa",
  // A prebundled package would not find its worker.
  optimizeDeps: { exclude: ["tinderbox-web"] },
  worker: { format: "es" },
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { headers: developing, fs: { allow: [".", "../crates/web"] } },
  preview: { headers: built },
});
