#!/usr/bin/env bash
# The router passes its tests in WebAssembly too, wire bytes and all, under Node.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS='-C target-feature=+simd128'
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$PWD/.cache/tools/bin/wasm-bindgen-test-runner
cargo test --release --target wasm32-unknown-unknown -p tinderbox-api --test '*' --no-fail-fast
