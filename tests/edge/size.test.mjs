// What is uploaded.

import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {test} from "node:test";
import {gzipSync} from "node:zlib";

import {bundle} from "../../workers/edge/local.mjs";

test("the code is at most 10 MB, compressed", (t) => {
    const files = bundle().modules.map(({path}) => readFileSync(path));
    const raw = files.reduce((sum, {length}) => sum + length, 0);
    const compressed = files.reduce((sum, file) => sum + gzipSync(file, {level: 9}).length, 0);
    t.diagnostic(`${(raw / 1e6).toFixed(1)} MB, compressed ${(compressed / 1e6).toFixed(1)} MB`);
    assert.ok(compressed <= 10e6, `${compressed} bytes`);
});
