#!/usr/bin/env bash
# The clients again, through the edge in front of the server at TINDERBOX_URL:
#   scripts/with-server.sh MODEL scripts/test-edge-clients.sh
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -z ${BEHIND:-} ]]; then
    BEHIND=edge exec node tests/edge/behind.mjs "$0"
fi
status=0
# Not what a server says of itself: the edge has counts, metrics and a health of its own.
own='not time_and_count and not how_long_it_took and not metrics_count and not frees_its_place'
for family in curl litellm locallab lorax openai openai_js; do
    scripts/test-clients.sh "$family" -k "$own" || status=1
done
# lm-eval's runs take long, and differ in what they ask of the model, not in how it travels.
scripts/test-clients.sh lm_eval -k 'more1 or textsynth' || status=1
exit "$status"
