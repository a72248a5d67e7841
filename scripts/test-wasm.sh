#!/usr/bin/env bash
# Under Node the router passes its tests in WebAssembly too, wire bytes and all, and the engine gives its native tokens.
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$PWD/.cache/tools/bin/wasm-bindgen-test-runner
# One command, so that both crates' dependencies have the same features, and the edge's module is built of them afterwards.
cargo test --config scripts/wasm.toml --release --target wasm32-unknown-unknown -p tinderbox-api -p tinderbox-edge --test '*' --no-fail-fast
