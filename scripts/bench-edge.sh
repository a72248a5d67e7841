#!/usr/bin/env bash
# Measures the edge beside LiteLLM's proxy and wllama: scripts/bench-edge.sh [CATALOG NAME OR FILE.gguf] [options of edge.mjs]
set -euo pipefail
cd "$(dirname "$0")/.."

model=${1:-smollm2-135m-instruct}
shift || true
scripts/build-edge.sh
cargo build --release --workspace --bins
[[ -f $model ]] || model=$(target/release/tinderbox pull "$model")
scripts/npm.sh workers/edge tests/web
venv=.cache/venv-bench-litellm requirements=benches/litellm/requirements.txt
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r "$requirements"
    cp "$requirements" "$venv/requirements.txt"
fi
node benches/edge.mjs "$model" --litellm "$venv/bin/litellm" "$@"
