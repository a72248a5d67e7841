#!/usr/bin/env bash
# Every family of clients that could be installed, each in its own environment, against the server at TINDERBOX_URL.
# One family, with options of pytest: scripts/with-server.sh MODEL scripts/test-clients.sh lorax -k stream
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
for folder in tests/clients/${1:-*}/; do
    family=$(basename "$folder")
    venv=.cache/venv-$family
    # What is not installed was named by scripts/setup-test.sh.
    if [[ -f $venv/requirements.txt ]]; then
        echo "-- $family"
        "$venv/bin/pytest" -q -p no:cacheprovider "$folder" "${@:2}" || status=1
    elif [[ -f ${folder}node_modules/.package-lock.json.of ]]; then
        echo "-- $family"
        node --test --test-reporter=tap "$folder"*.test.js || status=1
    fi
done
exit "$status"
