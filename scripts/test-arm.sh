#!/usr/bin/env bash
# The CPU twin's tests on 64-bit Arm, whose NEON kernels nothing else runs: cross-compiled, under QEMU where the machine is another.
# Takes Debian's gcc-aarch64-linux-gnu and qemu-user, and the sources of the standard library (scripts/setup-wasm.sh).
set -euo pipefail
cd "$(dirname "$0")/.."

# The standard library is built along, since only rustup could fetch one.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu'
cargo test --release --target aarch64-unknown-linux-gnu -Zbuild-std=std,panic_unwind,test \
    -p tinderbox-kernels --no-default-features --features threads --lib
