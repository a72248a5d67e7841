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

declare -A begun since

# Runs one command under a name, shows how long it took, and adds up its tests.
stage() {
    local name=$1 start=${since[$1]:-$SECONDS} status=0 p f s
    shift
    echo "== $name"
    "$@" 2>&1 | tee "$logs/$name.log" || status=$?
    read -r p f s < <(count "$logs/$name.log")
    ((status == 0 || f > 0)) || f=1
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    echo "== $name: $p passed, $f failed, $s skipped, $((SECONDS - start)) s"
    return "$status"
}

# Begins a stage beside those that follow.
begin() {
    since[$1]=$SECONDS
    "${@:2}" >"$logs/$1.output" 2>&1 &
    begun[$1]=$!
}

# Waits for it, and shows it as a stage like others.
ended() {
    local status=0
    wait "${begun[$1]}" || status=$?
    stage "$1" said "$1" "$status"
}
said() { cat "$logs/$1.output" && return "$2"; }

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

rm -f "$logs"/*
# It waits for packages more than it computes, so it goes on beside the build.
begin setup scripts/setup-test.sh
stage build build || finish
ended setup || finish
stage pull pull || true
file=$(tail -n 1 "$logs/pull.log")
if [[ -f $file ]]; then export TINDERBOX_TEST_MODELS=${file%/*}; fi

stage cargo cargo test --release --workspace --no-fail-fast -- --show-output || true
# Clients and nodes wait for one another half of the time, so what is compiled for other machines goes on beside them. Not beside
# cargo, which waits for itself.
if [[ -x .cache/tools/bin/wasm-bindgen ]]; then
    if command -v qemu-aarch64 >/dev/null; then begin arm nice scripts/test-arm.sh; fi
    begin wasm nice scripts/test-wasm.sh
fi
if [[ -f $file ]]; then
    # The clients ask faster than LocalLab's limit allows.
    TINDERBOX_LOCALLAB_RATE=0 stage clients scripts/with-server.sh "$model" scripts/test-clients.sh || true
fi
if [[ -v begun[arm] ]]; then ended arm || true; fi
if [[ -v begun[wasm] ]]; then
    ended wasm || true
    status=0
    stage build-edge scripts/build-edge.sh || status=$?
    if [[ -x ${TINDERBOX_CHROMIUM:-/usr/bin/chromium} ]]; then begin build-web nice scripts/build-web.sh; fi
    if ((status == 0)); then
        stage edge scripts/test-edge.sh || true
        if [[ -f $file ]]; then
            TINDERBOX_LOCALLAB_RATE=0 stage edge-clients scripts/with-server.sh "$model" scripts/test-edge-clients.sh || true
        fi
    fi
fi
if [[ -v begun[build-web] ]] && ended build-web; then
    stage web scripts/test-web.sh || true
    # The numbers once more with the half floats of most GPUs, which SwiftShader lacks.
    if lavapipe=$(scripts/chromium-lavapipe.sh); then
        TINDERBOX_CHROMIUM=$lavapipe stage web-lavapipe scripts/test-web.sh tests/web/package/{adapters,parity}.test.mjs || true
    fi
fi
finish
