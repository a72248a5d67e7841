#!/usr/bin/env bash
# Builds the demo page, fetches the default model where it is not kept yet, and serves both on 127.0.0.1:5173 with the headers
# the page wants.
set -euo pipefail
cd "$(dirname "$0")/.."

model=${1:-smollm2-135m-instruct}
scripts/build-web.sh
kept=${XDG_CACHE_HOME:-$HOME/.cache}/tinderbox
[[ $(uname -s) != Darwin ]] || kept=$HOME/Library/Caches/tinderbox
if ! compgen -G "$kept/$model/*.gguf" >/dev/null; then
    cargo build --release -p tinderbox
    target/release/tinderbox pull "$model" --cache "$kept"
fi
TINDERBOX_MODELS=$kept npm run preview --prefix www -- --host 127.0.0.1 --port 5173 --strictPort
