// The edge Worker in workerd, and nodes for it: real ones and scripted ones.

import {spawn} from "node:child_process";
import {once} from "node:events";
import {existsSync} from "node:fs";
import {createServer} from "node:http";
import {createServer as createSocket} from "node:net";
import {join} from "node:path";
import {after} from "node:test";
import {fileURLToPath} from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The binary under test. */
export const TINDERBOX = process.env.TINDERBOX ?? join(root, "target/release/tinderbox");

/** A port that nobody listens on. */
async function freePort() {
    const server = createSocket().listen(0, "127.0.0.1");
    await once(server, "listening");
    const {port} = server.address();
    server.close();
    await once(server, "close");
    return port;
}

/** Starts a program; it is ready once `ready` finds its words in what the program prints. */
async function start(program, args, {ready, ...options}) {
    const child = spawn(program, args, {stdio: ["ignore", "pipe", "pipe"], detached: true, ...options});
    let log = "";
    await new Promise((resolve, reject) => {
        const listen = (chunk) => {
            log += chunk;
            if (ready.test(log)) {
                resolve();
            }
        };
        child.stdout.on("data", listen);
        child.stderr.on("data", listen);
        child.on("exit", (code) => reject(new Error(`${program} left with ${code}:\n${log}`)));
        setTimeout(() => reject(new Error(`${program} is not ready:\n${log}`)), 90_000).unref();
    });
    return {
        log: () => log,
        async stop(signal = "SIGTERM") {
            if (child.exitCode === null && child.signalCode === null) {
                const left = once(child, "exit");
                // Its children are of its group.
                process.kill(-child.pid, signal);
                await left;
            }
        }
    };
}

export {worker as edge} from "../../workers/edge/local.mjs";

/** A real node that serves a model file. */
export async function node(model, args = [], env = {}) {
    const port = await freePort();
    const process_ = await start(TINDERBOX, ["serve", "--model", model, "--device", "cpu", "--port", String(port), ...args], {
        ready: /is ready/,
        env: {...process.env, ...env}
    });
    return {url: `http://127.0.0.1:${port}`, ...process_};
}

/** A node that answers as a test says; how it is, it says only where the test answers that. */
export async function scripted(answer, health = good) {
    const requests = [];
    const server = createServer(async (request, response) => {
        if (request.url === "/health") {
            return health(request, response);
        }
        let body = "";
        for await (const chunk of request) {
            body += chunk;
        }
        requests.push({method: request.method, url: request.url, headers: request.headers, body});
        await answer(request, response, body);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return {
        url: `http://127.0.0.1:${server.address().port}`,
        requests,
        stop() {
            server.closeAllConnections();
            server.close();
        }
    };
}

/** An answer of a scripted node. */
export const json = (response, status, value, headers = {}) => {
    response.writeHead(status, {"content-type": "application/json", ...headers});
    response.end(JSON.stringify(value));
};
export const good = (request, response) => json(response, 200, {from: "good"});

const started = [];
/** Started things are stopped at the end of the file, whatever happened. */
export const keep = async (thing) => {
    const it = await thing;
    started.push(it);
    return it;
};
after(() => Promise.all(started.map((it) => it.stop())));

/** The variable that configures nodes. */
export const nodes = (...list) => JSON.stringify(list.map((node, index) => ({name: `n${index}`, ...node})));

/** A JSON request. */
export const post = (url, body, options = {}) => fetch(url, {
    method: "POST",
    body: JSON.stringify(body),
    ...options,
    headers: {"content-type": "application/json", ...options.headers}
});

/** Waits until a condition holds; fails after some seconds. */
export async function until(condition, what, seconds = 10) {
    for (const end = Date.now() + seconds * 1000; Date.now() < end;) {
        if (await condition()) {
            return;
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${what}: not within ${seconds} s`);
}

/** SmolLM2's file, where it was fetched. */
export function smollm2() {
    const folder = process.env.TINDERBOX_TEST_MODELS;
    const file = folder && join(folder, "SmolLM2-135M-Instruct.Q4_1.gguf");
    return file && existsSync(file) ? file : undefined;
}

