#!/usr/bin/env bash
# Installs exactly what the lock files of folders say, once: scripts/npm.sh FOLDER...
set -euo pipefail
cd "$(dirname "$0")/.."

for folder in "$@"; do
    installed=$folder/node_modules/.package-lock.json.of
    cmp -s "$folder/package-lock.json" "$installed" && continue
    # Some releases of npm refuse a lock file that leaves out optional packages for other machines (benches/.npmrc does).
    npm ci --prefix "$folder" --ignore-scripts --silent || npm install --prefix "$folder" --ignore-scripts --no-save --silent
    cp "$folder/package-lock.json" "$installed"
done
