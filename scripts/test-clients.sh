#!/usr/bin/env bash
# Every family of clients that could be installed, each in its own environment, against the server at TINDERBOX_URL.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
for folder in tests/clients/*/; do
    family=$(basename "$folder")
    [[ -f .cache/venv-$family/requirements.txt ]] || continue
    echo "-- $family"
    ".cache/venv-$family/bin/pytest" -q -p no:cacheprovider "$folder" || status=1
done
exit "$status"
