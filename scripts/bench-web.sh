#!/usr/bin/env bash
# Measures the browser package beside wllama in Chromium: scripts/bench-web.sh [CATALOG NAME OR FILE.gguf] [options of web.mjs]
set -euo pipefail
cd "$(dirname "$0")/.."

model=${1:-smollm2-135m-instruct}
shift || true
scripts/build-web.sh
if [[ ! -f $model ]]; then
    cargo build --release --workspace --bins
    model=$(target/release/tinderbox pull "$model")
fi
scripts/npm.sh tests/web
lavapipe=$(scripts/chromium-lavapipe.sh) || echo "no Chromium on lavapipe here, so not that setup" >&2
node benches/web.mjs "$model" ${lavapipe:+--lavapipe "$lavapipe"} "$@"
