#!/usr/bin/env bash
# LAMBADA and Winogrande through the running API, by lm-evaluation-harness, and by llama.cpp on the same file:
#   scripts/eval.sh FOLDER [LIMIT]
# FOLDER holds lambada_openai.jsonl (context, continuation) and winogrande.jsonl (context_options, continuation, gold).
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:?usage: scripts/eval.sh FOLDER [LIMIT]}
limit=${2:-500}
model=${MODEL:-smollm2-135m-instruct}
folder=$(realpath "$folder")
venv=$PWD/.cache/venv-lm_eval
[[ -x $venv/bin/lm-eval ]] || { echo "run scripts/setup-test.sh first: it installs lm-eval" >&2; exit 1; }
[[ -d benches/node_modules ]] || npm --prefix benches ci --silent
tasks=$PWD/benches/eval
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TINDERBOX_MODEL=$model
HF_HOME=$(mktemp -d)
export HF_HOME
trap 'rm -rf "$HF_HOME"' EXIT

# The data is named by the tasks as it lies in the folder.
export TINDERBOX=/tmp/tb-eval
file=$("$TINDERBOX" pull "$model")
cd "$folder"
"$OLDPWD/scripts/with-server.sh" "$model" bash -c '
    exec "$0" run --model local-completions \
        --model_args "model=$TINDERBOX_MODEL,base_url=$TINDERBOX_URL/v1/completions,num_concurrent=2,tokenized_requests=True" \
        --tasks lambada,winogrande --include_path "$1" --limit "$2"' "$venv/bin/lm-eval" "$tasks" "$limit"
cd "$OLDPWD"
echo "llama.cpp:"
node benches/eval/llama.mjs "$file" "$folder" "$limit"
