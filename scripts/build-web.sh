#!/usr/bin/env bash
# Builds the browser package, crates/web/dist, and the demo page, www/dist: the engine for WebAssembly, then what is around it.
# No wasm-opt: on this module it takes minutes, and what it saves is gone after compression (BENCHMARKS.md).
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup-wasm.sh
target=${CARGO_TARGET_DIR:-$PWD/target}
RUSTFLAGS='-C target-feature=+simd128' cargo build --profile web --target wasm32-unknown-unknown -p tinderbox-web --lib
.cache/tools/bin/wasm-bindgen --target web --remove-name-section --remove-producers-section \
    --out-name tinderbox_web --out-dir "$target/web-wasm" "$target/wasm32-unknown-unknown/web/tinderbox_web.wasm"

for folder in crates/web www; do
    scripts/npm.sh "$folder"
    TINDERBOX_WASM=$target/web-wasm npm run build --prefix "$folder" --silent
done
echo "sizes, gzip: wasm $(gzip -9c crates/web/dist/tinderbox_web_bg.wasm | wc -c), worker $(gzip -9c crates/web/dist/worker.js | wc -c)," \
    "package $(gzip -9c crates/web/dist/tinderbox.js | wc -c)"
