#!/usr/bin/env bash
# Makes `cargo build --target wasm32-unknown-unknown` work, also with `-Zbuild-std` (the browser's module with threads has a standard
# library of its own), and installs the wasm-bindgen tool that the wasm test needs.
# Asks rustup first. Where rustup cannot download, takes the standard library's sources from Debian's package of them.
# Does nothing, quickly, when all is there. Exit status 1: not possible here, and why.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/apt.sh

target=wasm32-unknown-unknown
version=$(rustc --version | cut -d' ' -f2)
sysroot=$(rustc --print sysroot)
libdir=$sysroot/lib/rustlib/$target/lib
src=$sysroot/lib/rustlib/src/rust
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# True when a test that uses std compiles for the target.
std_works() {
    echo '#[test] fn probe() { println!("{:?}", std::env::args().collect::<Vec<_>>()) }' >"$work/probe.rs"
    rustc --test --target "$target" --emit metadata -o "$work/probe.rmeta" "$work/probe.rs" 2>/dev/null
}

have_sources() { [[ -r $src/library/std/Cargo.toml ]]; }

# Fetches rust-src in exactly the compiler's version, and lays it where cargo looks for it.
fetch_sources() {
    own_apt "$work/apt" stable stable-backports oldstable-backports testing unstable || return 1
    local package
    package=$(apt-cache "${apt_options[@]}" madison rust-src | awk -v v="$version" 'index($3, v "+") == 1 || index($3, v "~") == 1 {print $3; exit}')
    [[ -n $package ]] || return 1
    (cd "$work" && apt-get "${apt_options[@]}" download "rust-src=$package") || return 1
    dpkg -x "$work"/rust-src_*.deb "$work/rust-src"
    mkdir -p "$src"
    cp -rL "$work/rust-src/usr/src/rustc-$version/library" "$src/library"
}

# Builds std from those sources once and lays its rlibs where a plain --target finds them.
build_std() {
    mkdir -p "$work/std/src"
    echo '#![no_std]' >"$work/std/src/lib.rs"
    printf '[package]\nname = "std-for-wasm"\nedition = "2024"\n[profile.release]\nopt-level = 3\n[workspace]\n' >"$work/std/Cargo.toml"
    (cd "$work/std" && env -u RUSTFLAGS RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/std/target" \
        cargo build --release --target "$target" -Zbuild-std=std,panic_abort,test)
    mkdir -p "$libdir"
    find "$work/std/target/$target/release/deps" -name '*.rlib' ! -name 'libstd_for_wasm*' -exec cp {} "$libdir" \;
}

if ! std_works; then
    echo "$target: asking rustup"
    timeout 300 rustup target add "$target" || echo "$target: rustup cannot; trying the sources that Debian ships"
fi
if ! have_sources; then
    timeout 300 rustup component add rust-src || echo "rust-src: rustup cannot; trying the sources that Debian ships"
fi
if ! have_sources && command -v apt-get dpkg >/dev/null; then
    fetch_sources || true
fi
if ! std_works && have_sources; then
    build_std
fi
if ! std_works || ! have_sources; then
    echo "$target: no standard library, or not its sources, for rustc $version. Run 'rustup target add $target' and" \
        "'rustup component add rust-src' where they can download, or install the rust-src of the same version and run this again." >&2
    exit 1
fi

# The tool must have the version of the library in Cargo.lock.
wanted=$(grep -A1 '^name = "wasm-bindgen"$' Cargo.lock | sed -n 's/^version = "\(.*\)"$/\1/p')
tool=.cache/tools/bin/wasm-bindgen
if [[ $("$tool" --version 2>/dev/null) != "wasm-bindgen $wanted" ]]; then
    echo "wasm-bindgen $wanted: building the tool (a few minutes, once)"
    # As in Cargo.toml: less to compile.
    export CARGO_PROFILE_RELEASE_LTO=off
    install=(cargo install wasm-bindgen-cli --version "$wanted" --quiet --root .cache/tools)
    # A mirror may lag behind the newest crates that the tool's own lock file names.
    "${install[@]}" --locked || "${install[@]}"
fi
echo "wasm: rustc $version and wasm-bindgen $wanted are ready"
