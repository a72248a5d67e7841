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

# Starts a command beside the others; `ended` waits for it, and shows it as a stage.
declare -A begun
begin() {
    local name=$1
    shift
    setsid "$@" >"$logs/$name.begun" 2>&1 &
    begun[$name]=$!
}
show() { cat "$logs/$1.begun" && return "$2"; }
ended() {
    local name=$1 status=0
    wait "${begun[$name]}" || status=$?
    unset "begun[$name]"
    stage "$name" show "$name" "$status"
}
trap 'for group in "${begun[@]}"; do kill -- "-$group" 2>/dev/null || true; done' EXIT

finish() {
    grep -hsE '^(# )?SKIP: ' "$logs"/*.log | sort -u || true
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0)) || exit 1
    [[ ${CI:-} != true ]] || ((skipped == 0)) || exit 1
    exit 0
}

# The binary and every test with one set of features, so that burn is compiled once.
build() {
    cargo build --release --workspace --bins
    cargo test --release --workspace --no-run
}

# Prints where the model lies.
pull() {
    target/release/tinderbox pull "$model" || echo "SKIP: $model could not be fetched, so no test on a real model"
}

rm -f "$logs"/*.log "$logs"/*.begun
# It waits for packages more than it computes, so it goes on beside the build.
begin setup scripts/setup-test.sh
stage build build || finish
ended setup || finish
# Twelve minutes of compiling; tests leave a core idle for as long.
if [[ -x .cache/tools/bin/wasm-bindgen && -x ${TINDERBOX_CHROMIUM:-/usr/bin/chromium} ]]; then
    begin build-web nice -n 19 scripts/build-web.sh
fi
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
fi
if [[ -f $file ]]; then
    # The clients ask faster than LocalLab's limit allows.
    export TINDERBOX_LOCALLAB_RATE=0
    stage clients scripts/with-server.sh "$model" scripts/test-clients.sh || true
    if [[ -f workers/edge/dist/tinderbox_edge.js ]]; then
        stage edge-clients scripts/with-server.sh "$model" scripts/test-edge-clients.sh || true
    fi
fi
if [[ -v begun[build-web] ]] && ended build-web; then
    stage web scripts/test-web.sh || true
fi
finish
