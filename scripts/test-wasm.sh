#!/usr/bin/env bash
# WebAssembly does what native code does: scripts/test-wasm.sh [FILE.gguf]
# The router passes its tests in Node, wire bytes and all; with a file, the engine gives the tokens it gives natively.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
tools=$PWD/.cache/tools/bin
export RUSTFLAGS='-C target-feature=+simd128'
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$tools/wasm-bindgen-test-runner

status=0
cargo test --release --target wasm32-unknown-unknown -p tinderbox-api --test '*' --no-fail-fast || status=1
[[ $# -gt 0 ]] || exit "$status"

question=("$(realpath "$1")" "The capital of France is" 16)
cargo build --release --target wasm32-unknown-unknown -p tinderbox-wasm-test --lib
"$tools/wasm-bindgen" --target nodejs --out-dir "$target/wasm-test" \
    "$target/wasm32-unknown-unknown/release/tinderbox_wasm_test.wasm"

native=$("$target/release/tinderbox-wasm-test" "${question[@]}")
wasm=$(node tests/wasm/run.mjs "$target/wasm-test/tinderbox_wasm_test.js" "${question[@]}")
echo "native: $native"
echo "wasm:   $wasm"
if [[ -n $native && $native == "$wasm" ]]; then
    echo "1 passed, 0 failed"
else
    echo "0 passed, 1 failed"
    status=1
fi
exit "$status"
