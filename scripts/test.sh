#!/usr/bin/env bash
# Installs what the tests need and runs all of them. The last line is the sum: N passed, N failed, N skipped.
# Exit status 1 when something failed, and, where CI=true, when something was skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

model=smollm2-135m-instruct
logs=${CARGO_TARGET_DIR:-target}/test-logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0

# Reads what cargo, pytest, Node and our own scripts say of their tests. A Rust test that cannot run here passes and prints a
# line with SKIP; it counts as skipped.
count() {
    awk '
        /^---- .* stdout ----$/ { inside = 1; counted = 0 }
        /^SKIP: / && !(inside && counted) { skipped++; passed -= inside; counted = inside }
        /^test result: |^[0-9]+ (passed|failed|skipped|error)/ {
            inside = 0
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed/) passed += $(i - 1)
                if ($i ~ /^(failed|errors?)[;,]?$/) failed += $(i - 1)
                if ($i ~ /^(skipped|ignored)/) skipped += $(i - 1)
            }
        }
        /^# (pass|fail|cancelled|skipped) [0-9]+$/ {
            if ($2 == "pass") passed += $3; else if ($2 == "skipped") skipped += $3; else failed += $3
        }
        END { print passed + 0, failed + 0, skipped + 0 }' "$1"
}

# Runs one command under a name, shows how long it took, and adds up its tests.
stage() {
    local name=$1 start=$SECONDS status=0 p f s
    shift
    echo "== $name"
    "$@" 2>&1 | tee "$logs/$name.log" || status=$?
    read -r p f s < <(count "$logs/$name.log")
    ((status == 0 || f > 0)) || f=1
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    echo "== $name: $p passed, $f failed, $s skipped, $((SECONDS - start)) s"
    return "$status"
}

finish() {
    grep -hsE '^(# )?SKIP: ' "$logs"/*.log | sort -u || true
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0)) || exit 1
    [[ ${CI:-} != true ]] || ((skipped == 0)) || exit 1
    exit 0
}

# The binary and every test at once, so that what they need is compiled once and nothing waits.
build() { cargo test --release --workspace --no-run; }

# Prints where the model lies.
pull() {
    target/release/tinderbox pull "$model" || echo "SKIP: $model could not be fetched, so no test on a real model"
}

rm -f "$logs"/*.log
# It waits for packages more than it computes, so it goes on beside the build.
output=$(mktemp)
trap 'rm -f "$output"' EXIT
scripts/setup-test.sh >"$output" 2>&1 &
installing=$!
stage build build || finish
status=0
wait "$installing" || status=$?
setup() { cat "$output" && return "$status"; }
stage setup setup || finish
stage pull pull || true
file=$(tail -n 1 "$logs/pull.log")
if [[ -f $file ]]; then export TINDERBOX_TEST_MODELS=${file%/*}; fi

stage cargo cargo test --release --workspace --no-fail-fast -- --show-output || true
if [[ -x .cache/tools/bin/wasm-bindgen ]]; then
    if command -v qemu-aarch64 >/dev/null; then stage arm scripts/test-arm.sh || true; fi
    stage wasm scripts/test-wasm.sh || true
    if stage build-edge scripts/build-edge.sh; then
        stage edge scripts/test-edge.sh || true
    fi
    if [[ -x ${TINDERBOX_CHROMIUM:-/usr/bin/chromium} ]] && stage build-web scripts/build-web.sh; then
        stage web scripts/test-web.sh || true
        # The numbers once more with the half floats of most GPUs, which SwiftShader lacks.
        if lavapipe=$(scripts/chromium-lavapipe.sh); then
            TINDERBOX_CHROMIUM=$lavapipe stage web-lavapipe scripts/test-web.sh tests/web/package/{adapters,parity}.test.mjs || true
        fi
    fi
fi
if [[ -f $file ]]; then
    # The clients ask faster than LocalLab's limit allows.
    export TINDERBOX_LOCALLAB_RATE=0
    stage clients scripts/with-server.sh "$model" scripts/test-clients.sh || true
    if [[ -f workers/edge/dist/tinderbox_edge.js ]]; then
        stage edge-clients scripts/with-server.sh "$model" scripts/test-edge-clients.sh || true
    fi
fi
finish
