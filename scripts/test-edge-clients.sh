#!/usr/bin/env bash
# The clients again, through the edge in front of the server at TINDERBOX_URL:
#   scripts/with-server.sh MODEL scripts/test-edge-clients.sh
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -z ${BEHIND:-} ]]; then
    BEHIND=edge exec node tests/edge/behind.mjs "$0"
fi
status=0
for family in curl litellm locallab lorax openai openai_js; do
    scripts/test-clients.sh "$family" || status=1
done
# lm-eval's runs take long, and differ in what they ask of the model, not in how it travels.
scripts/test-clients.sh lm_eval -k 'num_concurrent=4 or textsynth' || status=1
exit "$status"
