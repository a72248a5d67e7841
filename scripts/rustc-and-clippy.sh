#!/usr/bin/env bash
# Cargo's RUSTC_WORKSPACE_WRAPPER in CI: compiles a crate of this workspace, then has clippy read it, warnings denied. As a command of
# its own clippy would check every dependency once more, six minutes on two cores.
set -euo pipefail

"$@"
# Cargo also asks for the compiler's version, dependencies try it out, and tools are built.
[[ ${CARGO_MANIFEST_DIR:-} == "${0%/scripts/*}"/* ]] || exit 0

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
clippy=("${1%rustc}clippy-driver" "$1")
shift
while (($#)); do
    case $1 in
    --emit=*) clippy+=(--emit=metadata) ;;
    # Cargo would take an artifact's message for one of the crate's own.
    --json=*) clippy+=(--json=diagnostic-rendered-ansi) ;;
    --out-dir) clippy+=(--out-dir "$out") && shift ;;
    *) clippy+=("$1") ;;
    esac
    shift
done
"${clippy[@]}" -D warnings
