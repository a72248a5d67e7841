#!/usr/bin/env bash
# The CPU's operations on 64-bit Arm, whose NEON kernels nothing else runs: cross-compiled, under QEMU where the machine is another.
# Takes Debian's gcc-aarch64-linux-gnu and qemu-user, and the sources of the standard library (scripts/setup-wasm.sh).
set -euo pipefail
cd "$(dirname "$0")/.."

# The standard library is built along, since only rustup could fetch one; the folder is that of scripts/build-web.sh.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu'
cargo test --release --target aarch64-unknown-linux-gnu -Zbuild-std=std,panic_unwind,test \
    --target-dir "${CARGO_TARGET_DIR:-target}/build-std" -p tinderbox-cpu --test cpu
