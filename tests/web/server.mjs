// A loopback server of folders and files: ranges, ETags, and what a test wants to go wrong.
import { createServer } from "node:http";
import { once } from "node:events";
import sirv from "sirv";

/** Headers under which a page is cross-origin isolated. */
export const isolated = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

/**
 * Serves `mounts`, paths to folders, on a port of its own. `fault(request, response)` comes first and returns true
 * where it answered. `count(path)` is how many requests a path had.
 */
export async function serve(mounts, { headers = {}, fault = () => false } = {}) {
  const asked = new Map();
  const handlers = Object.entries(mounts)
    .map(([prefix, folder]) => [prefix, sirv(folder, { dev: true, etag: true, setHeaders })])
    // The longest prefix that fits is the one that is meant.
    .sort(([a], [b]) => b.length - a.length);
  function setHeaders(response) {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  }
  const server = createServer((request, response) => {
    const path = request.url.split("?")[0];
    asked.set(path, (asked.get(path) ?? 0) + 1);
    if (fault(request, response)) return;
    const [prefix, handler] = handlers.find(([prefix]) => path.startsWith(prefix)) ?? [];
    const missing = () => response.writeHead(404).end();
    if (!handler) return missing();
    request.url = `/${request.url.slice(prefix.length)}`;
    handler(request, response, missing);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const origin = `http://127.0.0.1:${server.address().port}`;
  return {
    origin,
    count: (path) => asked.get(path) ?? 0,
    close: () => new Promise((done) => (server.closeAllConnections(), server.close(done))),
  };
}
