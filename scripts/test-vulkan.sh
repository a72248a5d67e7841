#!/usr/bin/env bash
# The GPU's kernels as SPIR-V (feature `vulkan`), cooperative matrices among them, on a GPU in software: that of a Mesa newer than this
# machine may have, from Debian's packages, with a C library of its own beside the machine's. x86-64 and apt; 15 minutes with the build.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/apt.sh

mesa=$PWD/.cache/mesa
libraries=$mesa/usr/lib/x86_64-linux-gnu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ ! -e $mesa/icd.json ]]; then
    own_apt "$work/apt" stable stable-backports
    # Nothing counts as installed, so that all it needs comes along.
    apt-get "${apt_options[@]}" -o Dir::State::status=/dev/null -o Debug::NoLocking=1 -y --no-install-recommends --download-only \
        -t stable-backports install mesa-vulkan-drivers libvulkan1 libgcc-s1
    for package in "$work"/apt/archives/*.deb; do dpkg -x "$package" "$mesa"; done
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' \
        "$libraries/libvulkan_lvp.so" >"$mesa/icd.json"
fi
export VK_DRIVER_FILES=$mesa/icd.json VK_LOADER_LAYERS_DISABLE='*'
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$libraries/ld-linux-x86-64.so.2 --library-path $libraries"
cargo test --release -p tinderbox-kernels --features vulkan --lib --test gpu_oracle -- --show-output | tee "$work/output"
if grep '^SKIP: ' "$work/output"; then exit 1; fi
