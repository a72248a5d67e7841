// Runs a command against the edge in front of a node:
//   TINDERBOX_URL=http://127.0.0.1:8080 node tests/edge/behind.mjs COMMAND...
// The command finds the edge in TINDERBOX_URL. Exit status: the command's.

import {spawn} from "node:child_process";
import {once} from "node:events";

import {worker} from "../../workers/edge/local.mjs";

const [command, ...args] = process.argv.slice(2);
const it = await worker({
    assets: false,
    vars: {NODES: JSON.stringify([{name: "behind", url: process.env.TINDERBOX_URL}]), LOCALLAB_RATE: "0"},
    // Clients under test ask faster than anybody may by default.
    options: {ratelimits: {}}
});
const child = spawn(command, args, {stdio: "inherit", env: {...process.env, TINDERBOX_URL: it.url}});
const [status] = await once(child, "exit");
await it.stop();
process.exit(status ?? 1);
