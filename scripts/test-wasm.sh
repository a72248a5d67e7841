#!/usr/bin/env bash
# Under Node the router passes its tests in WebAssembly too, wire bytes and all, and the engine gives its native tokens.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS='-C target-feature=+simd128'
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$PWD/.cache/tools/bin/wasm-bindgen-test-runner
cargo test --release --target wasm32-unknown-unknown -p tinderbox-api --test '*' --no-fail-fast
# The edge's crate has the engine without a GPU, so that its build of the tensor stack is used again.
cargo test --release --target wasm32-unknown-unknown -p tinderbox-edge --test tokens
