#!/usr/bin/env bash
# Builds the edge Worker with its model and the demo page, and runs it in workerd, or deploys it:
#   scripts/edge.sh
#   scripts/edge.sh deploy [options of wrangler deploy]
# For the first, NODES in the environment configures nodes, as in wrangler.toml; PORT is where it listens.
# ADAPTER_FOLDER is a folder of adapters to put beside the model; ADAPTERS in wrangler.toml says which are offered.
set -euo pipefail
cd "$(dirname "$0")/.."

model=smollm2-135m-instruct
assets=workers/edge/assets
scripts/build-web.sh
scripts/build-edge.sh
cargo build --release --workspace --bins
scripts/npm.sh workers/edge
rm -rf "$assets"
mkdir -p "$assets/models"
cp -r www/dist/. "$assets"
target/release/tinderbox pack --model "$model" --embedding q4_1 --out "$assets/models/$model"
if [[ -n ${ADAPTER_FOLDER:-} ]]; then
    for config in "$ADAPTER_FOLDER"/*/adapter_config.json; do
        folder=${config%/*}
        mkdir -p "$assets/adapters/${folder##*/}"
        # What is read of an adapter; everybody can read what is among the assets.
        for name in adapter_config.json adapter_model.safetensors tokenizer_config.json added_tokens.json chat_template.jinja; do
            [[ ! -e $folder/$name ]] || cp "$folder/$name" "$assets/adapters/${folder##*/}"
        done
    done
fi
if [[ ${1:-} == deploy ]]; then
    exec workers/edge/node_modules/.bin/wrangler "$@"
fi
exec node workers/edge/local.mjs "$assets"
