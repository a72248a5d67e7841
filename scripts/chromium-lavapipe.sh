#!/usr/bin/env bash
# A Chromium whose WebGPU is Mesa's lavapipe, which has what most GPUs have and SwiftShader lacks, `shader-f16` above all. Prints its path,
# which browser tests take as TINDERBOX_CHROMIUM. It is Debian's Chromium in .cache/chromium-lavapipe, with a newer Mesa and the C library
# that this one needs (scripts/mesa.sh). x86-64 and apt; does nothing where it is there.
set -euo pipefail
cd "$(dirname "$0")/.."

source=/usr/lib/chromium
here=$PWD/.cache/chromium-lavapipe
[[ -x $source/chromium ]] || { echo "no Chromium in $source (Debian's package chromium)" >&2 && exit 1; }
libraries=$(scripts/mesa.sh)
if [[ ! -x $here/launch || $source/chromium -nt $here/launch ]]; then
    rm -rf "$here"
    mkdir "$here"
    ln -s "$source"/* "$here"
    rm "$here"/{chromium,libvk_swiftshader.so}
    "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" .cache/mesa/usr/bin/patchelf \
        --set-interpreter "$libraries/ld-linux-x86-64.so.2" \
        --force-rpath --set-rpath "\$ORIGIN:$libraries:/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu" \
        --output "$here/chromium" "$source/chromium"
    rustc --edition 2024 -O --crate-type cdylib --crate-name vk_swiftshader -o "$here/libvk_swiftshader.so" tests/web/lavapipe.rs
    printf '#!/bin/sh\nVK_DRIVER_FILES=%q VK_LOADER_LAYERS_DISABLE="*" exec %q "$@"\n' \
        "$PWD/.cache/mesa/icd.json" "$here/chromium" >"$here/launch"
    chmod +x "$here/launch"
fi
echo "$here/launch"
