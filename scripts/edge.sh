#!/usr/bin/env bash
# Builds the edge Worker with its model and the demo page, and runs it in workerd: scripts/edge.sh [options of wrangler dev]
set -euo pipefail
cd "$(dirname "$0")/.."

model=${TINDERBOX_EDGE_MODEL:-smollm2-135m-instruct}
assets=workers/edge/assets
scripts/build-web.sh
scripts/build-edge.sh
cargo build --release --workspace --bins
rm -rf "$assets"
mkdir -p "$assets/models"
cp -r www/dist/. "$assets"
target/release/tinderbox pack --model "$model" --embedding q4_1 --out "$assets/models/$model"
scripts/npm.sh workers/edge
cd workers/edge
exec npx --no-install wrangler dev --config ../../wrangler.toml --ip 127.0.0.1 --port "${PORT:-8787}" "$@"
