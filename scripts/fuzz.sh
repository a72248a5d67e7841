#!/usr/bin/env bash
# Fuzzes a target of fuzz/: TARGET [SECONDS, 60]. Beginnings are in fuzz/seeds, finds go to fuzz/corpus and fuzz/artifacts.
# The compiler's own coverage passes and libFuzzer are all it takes: a stable toolchain and a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

target=$1 seconds=${2:-60}
host=$(rustc --print host-tuple)
flags="--cfg fuzzing -Cpasses=sancov-module"
for pass in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$pass"
done
# With --target, what runs while building is left as it is.
RUSTFLAGS=$flags cargo build --release --target "$host" --bin "$target"
mkdir -p "corpus/$target" "artifacts/$target"
exec "target/$host/release/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=8192 \
    -artifact_prefix="artifacts/$target/" "corpus/$target" "seeds/$target"
