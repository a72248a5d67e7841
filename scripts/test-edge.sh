#!/usr/bin/env bash
# The edge Worker in workerd: scripts/test-edge.sh [FILE.test.mjs...]
# Needs workers/edge/dist (scripts/build-edge.sh) and target/release/tinderbox, or the binary that TINDERBOX names.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/npm.sh workers/edge
files=("$@")
((${#files[@]})) || files=(tests/edge/*.test.mjs)
# One file after the other: each has a runtime of its own, and there may be two cores.
node --test --test-concurrency=1 --test-timeout=300000 --test-reporter=tap "${files[@]}"
