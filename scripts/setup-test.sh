#!/usr/bin/env bash
# Installs what the tests need beside Rust: a software Vulkan device, Node, Chromium, an emulator of 64-bit Arm,
# the clients, the wasm target.
# What cannot be installed here is named on a line that starts with "SKIP: ". Does nothing, quickly, when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "SKIP: $1"; }

# Installs Debian packages, when this is root on a machine that has apt.
install() {
    [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null || return 1
    echo "installing $*"
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >/dev/null
}

has_vulkan() { command -v vulkaninfo >/dev/null && vulkaninfo --summary 2>/dev/null | grep -q deviceName; }
has_chromium() { [[ -x ${TINDERBOX_CHROMIUM:-/usr/bin/chromium} ]]; }
has_node() { command -v node >/dev/null && (($(node --version | sed 's/^v\([0-9]*\).*/\1/') >= 20)); }

has_arm() { command -v qemu-aarch64 >/dev/null && command -v aarch64-linux-gnu-gcc >/dev/null; }

has_vulkan || install mesa-vulkan-drivers libvulkan1 vulkan-tools || true
has_vulkan || skip "no Vulkan device, so no GPU test (packages mesa-vulkan-drivers libvulkan1 vulkan-tools)"
has_node || install nodejs npm || true
has_node || skip "no Node 20 or newer, so no wasm test and no JavaScript client"
has_chromium || install chromium || true
has_chromium || skip "no Chromium at /usr/bin/chromium or TINDERBOX_CHROMIUM, so no browser test"
scripts/chromium-lavapipe.sh >/dev/null ||
    skip "no Chromium on lavapipe, so no browser test with shader-f16 (x86-64, Debian's chromium and its stable-backports)"
has_arm || install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user || true
has_arm || skip "no compiler or emulator for 64-bit Arm, so no test of NEON (packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)"
command -v curl >/dev/null || install curl || skip "no curl, so no client test"

# One environment a family of clients: what they need does not fit together.
# The lists are complete, so pip needs to resolve nothing.
for requirements in tests/clients/*/requirements.txt; do
    family=$(basename "$(dirname "$requirements")")
    venv=.cache/venv-$family
    if ! cmp -s "$requirements" "$venv/requirements.txt"; then
        rm -rf "$venv"
        { python3 -m venv "$venv" >/dev/null || { install python3-venv && python3 -m venv "$venv"; }; } &&
            "$venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r "$requirements" &&
            cp "$requirements" "$venv/requirements.txt" ||
            skip "no $family clients, so no test with them (python3 with venv, and the packages of $requirements)"
    fi
done

for lock in tests/clients/*/package-lock.json tests/web/package-lock.json workers/edge/package-lock.json; do
    has_node && scripts/npm.sh "$(dirname "$lock")" ||
        skip "no packages of $lock, so no test with them (Node 20)"
done

scripts/setup-wasm.sh || skip "no wasm target, so no wasm test and no browser test"
