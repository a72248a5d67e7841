#!/usr/bin/env bash
# Measures Tinderbox beside llama.cpp on one model: scripts/bench.sh [CATALOG NAME OR FILE.gguf] [options of compare.mjs]
set -euo pipefail
cd "$(dirname "$0")/.."

model=${1:-smollm2-135m-instruct}
shift || true
cargo build --release -p tinderbox
[[ $(uname -sm) == "Linux x86_64" ]] || { echo "bench: llama.cpp's prebuilt binaries are pinned for Linux on x86-64 only" >&2; exit 1; }
[[ -f $model ]] || model=$(target/release/tinderbox pull "$model")
scripts/npm.sh benches
node benches/compare.mjs "$model" "$@"
