#!/usr/bin/env bash
# Installs exactly what the lock files of folders say, once: scripts/npm.sh FOLDER...
set -euo pipefail
cd "$(dirname "$0")/.."

for folder in "$@"; do
    installed=$folder/node_modules/.package-lock.json.of
    cmp -s "$folder/package-lock.json" "$installed" && continue
    npm ci --prefix "$folder" --ignore-scripts --silent
    cp "$folder/package-lock.json" "$installed"
done
