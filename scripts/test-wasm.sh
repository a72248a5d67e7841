#!/usr/bin/env bash
# The engine in WebAssembly gives the tokens that it gives natively: scripts/test-wasm.sh FILE.gguf
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
question=("$(realpath "$1")" "The capital of France is" 16)

RUSTFLAGS='-C target-feature=+simd128' cargo build --release --target wasm32-unknown-unknown -p tinderbox-wasm-test --lib
.cache/tools/bin/wasm-bindgen --target nodejs --out-dir "$target/wasm-test" \
    "$target/wasm32-unknown-unknown/release/tinderbox_wasm_test.wasm"

native=$("$target/release/tinderbox-wasm-test" "${question[@]}")
wasm=$(node tests/wasm/run.mjs "$target/wasm-test/tinderbox_wasm_test.js" "${question[@]}")
echo "native: $native"
echo "wasm:   $wasm"
if [[ -n $native && $native == "$wasm" ]]; then
    echo "1 passed, 0 failed"
else
    echo "0 passed, 1 failed"
    exit 1
fi
