#!/usr/bin/env bash
# Builds the edge Worker into workers/edge/dist: scripts/build-edge.sh
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup-wasm.sh
target=${CARGO_TARGET_DIR:-$PWD/target}
out=workers/edge/dist
cargo build --config scripts/wasm.toml --release --target wasm32-unknown-unknown -p tinderbox-edge --lib
.cache/tools/bin/wasm-bindgen --target web --remove-name-section --remove-producers-section \
    --experimental-reset-state-function --out-dir "$out" "$target/wasm32-unknown-unknown/release/tinderbox_edge.wasm"
echo "edge: wasm $(wc -c <"$out/tinderbox_edge_bg.wasm") bytes, gzip $(gzip -9c "$out/tinderbox_edge_bg.wasm" | wc -c)"
