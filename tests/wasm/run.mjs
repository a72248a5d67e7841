// Prints the ids of one greedy answer, computed in WebAssembly: node run.mjs PACKAGE FILE.gguf PROMPT COUNT.
// PACKAGE is the JavaScript that wasm-bindgen wrote.

import {readFile} from "node:fs/promises";
import {createRequire} from "node:module";

const [library, file, prompt, count] = process.argv.slice(2);
const {greedy} = createRequire(import.meta.url)(library);
const ids = await greedy(await readFile(file), prompt, Number(count));
console.log(`[${Array.from(ids).join(", ")}]`);
