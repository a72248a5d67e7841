#!/usr/bin/env bash
# Forced decoding on every place beside a float oracle and llama.cpp: scripts/agreement.sh LAMBADA.jsonl [CATALOG NAME OR FILE.gguf] [options of agreement.mjs]
# LAMBADA.jsonl has lines with context and continuation.
set -euo pipefail
cd "$(dirname "$0")/.."

text=${1:?usage: scripts/agreement.sh LAMBADA.jsonl [CATALOG NAME OR FILE.gguf] [options of agreement.mjs]}
model=${2:-smollm2-135m-instruct}
shift $(($# < 2 ? $# : 2))
cargo build --release --workspace --bins
scripts/build-web.sh
scripts/build-edge.sh
[[ -f $model ]] || model=$(target/release/tinderbox pull "$model")
scripts/npm.sh benches tests/web workers/edge
venv=.cache/venv-eval requirements=benches/eval/requirements.txt
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r "$requirements"
    cp "$requirements" "$venv/requirements.txt"
fi
node benches/eval/agreement.mjs "$model" "$text" --python "$venv/bin/python" "$@"
