#!/usr/bin/env bash
# A Mesa newer than this machine may have, from Debian's packages, with a C library of its own beside the machine's: in .cache/mesa, whose
# icd.json names its GPU in software, lavapipe. x86-64 and apt; does nothing where it is there. Prints the folder of its libraries.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/apt.sh

mesa=$PWD/.cache/mesa
libraries=$mesa/usr/lib/x86_64-linux-gnu
if [[ ! -e $mesa/icd.json || ! -x $mesa/usr/bin/patchelf ]]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    own_apt "$work/apt" stable stable-backports
    # Nothing counts as installed, so that all it needs comes along.
    apt-get "${apt_options[@]}" -o Dir::State::status=/dev/null -o Debug::NoLocking=1 -y --no-install-recommends --download-only \
        -t stable-backports install mesa-vulkan-drivers libvulkan1 libgcc-s1 patchelf >&2
    mkdir -p "$mesa"
    for package in "$work"/apt/archives/*.deb; do dpkg -x "$package" "$mesa"; done
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' \
        "$libraries/libvulkan_lvp.so" >"$mesa/icd.json"
fi
echo "$libraries"
