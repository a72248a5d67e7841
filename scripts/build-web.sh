#!/usr/bin/env bash
# Builds the browser package, crates/web/dist, and the demo page, www/dist: the engine for WebAssembly, then what is around it.
# No wasm-opt: on this module it takes minutes, and what it saves is gone after compression (BENCHMARKS.md).
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup-wasm.sh
target=${CARGO_TARGET_DIR:-$PWD/target}
export TINDERBOX_WASM=$target/web-wasm

# Builds a module: NAME FOLDER [OPTIONS OF CARGO...]
module() {
    cargo build --config scripts/wasm.toml --release --target wasm32-unknown-unknown -p tinderbox-web --lib --target-dir "$2" "${@:3}"
    .cache/tools/bin/wasm-bindgen --target web --remove-name-section --remove-producers-section \
        --out-name "$1" --out-dir "$TINDERBOX_WASM" "$2/wasm32-unknown-unknown/release/tinderbox_web.wasm"
}

# Beside the other one: each ends with crates that wait for one another.
module tinderbox_web "$target" &
# Threads share memory, which the standard library as it is shipped does not know of. cargo takes its sources only where unstable
# features are allowed; the folder is another one, because macros are compiled otherwise where they are.
shared="-C target-feature=+simd128,+atomics,+bulk-memory"
for argument in --shared-memory --import-memory --max-memory=4294967296 --export={__wasm_init_tls,__tls_size,__tls_align,__tls_base}; do
    shared+=" -C link-arg=$argument"
done
RUSTC_BOOTSTRAP=1 RUSTFLAGS=$shared module tinderbox_web_threads "$target/build-std" \
    --no-default-features --features threads -Zbuild-std=std,panic_abort
wait $!

for folder in crates/web www; do
    scripts/npm.sh "$folder"
    npm run build --prefix "$folder" --silent
done
echo "sizes, gzip: $(cd crates/web/dist && for file in *.wasm *.js; do echo "$file $(gzip -9c "$file" | wc -c)"; done | paste -sd, | sed 's/,/, /g')"
