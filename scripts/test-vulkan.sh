#!/usr/bin/env bash
# The GPU's kernels as SPIR-V (feature `vulkan`), cooperative matrices among them, on the GPU in software of a newer Mesa (scripts/mesa.sh).
# x86-64 and apt; 15 minutes with the build.
set -euo pipefail
cd "$(dirname "$0")/.."

libraries=$(scripts/mesa.sh)
output=$(mktemp)
trap 'rm -f "$output"' EXIT
export VK_DRIVER_FILES=$PWD/.cache/mesa/icd.json VK_LOADER_LAYERS_DISABLE='*'
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$libraries/ld-linux-x86-64.so.2 --library-path $libraries"
cargo test --release -p tinderbox-kernels --features vulkan --lib --test gpu_oracle -- --show-output | tee "$output"
if grep '^SKIP: ' "$output"; then exit 1; fi
