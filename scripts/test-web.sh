#!/usr/bin/env bash
# The browser package and the demo page in Chromium: scripts/test-web.sh [FILE.test.mjs...]
# Their answers must equal those of target/release/tinderbox, or of the binary that TINDERBOX names.
set -euo pipefail
cd "$(dirname "$0")/.."

files=("$@")
((${#files[@]})) || files=(tests/web/*/*.test.mjs)
# One file after the other: each has a browser and an engine of its own, and there may be two cores.
node --test --test-concurrency=1 --test-timeout=300000 --test-reporter=tap "${files[@]}"
