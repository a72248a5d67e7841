#!/usr/bin/env bash
# Runs a command against a server of its own: scripts/with-server.sh MODEL COMMAND...
# TINDERBOX_URL names the server, TINDERBOX_MODEL its model. Exit status: the command's, or 1 when the server did not start, died, or did not stop
# in peace when asked.
set -euo pipefail

model=$1
shift
log=$(mktemp)
"${TINDERBOX:-target/release/tinderbox}" serve --model "$model" --host 127.0.0.1 --port 0 >"$log" 2>&1 &
server=$!
trap 'kill -KILL "$server" 2>/dev/null || true; rm -f "$log"' EXIT

fail() {
    echo "with-server: $1; its last lines:" >&2
    tail -n 30 "$log" >&2
    exit 1
}

# Up to two minutes for the address and a loaded model.
for ((tries = 0; ; tries++)); do
    kill -0 "$server" 2>/dev/null || fail "the server ended before it was ready"
    url=$(grep -aoEm1 'http://127\.0\.0\.1:[0-9]+' "$log" || true)
    if [[ -n $url ]] && curl -fsS "$url/health" >/dev/null 2>&1; then break; fi
    ((tries < 600)) || fail "the server was not ready in time"
    sleep 0.2
done

status=0
TINDERBOX_URL=$url TINDERBOX_MODEL=$model "$@" || status=$?

kill -TERM "$server" 2>/dev/null || fail "the server died while the command ran"
for ((tries = 0; tries < 300; tries++)); do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
kill -0 "$server" 2>/dev/null && fail "the server was still there 30 s after SIGTERM"
stopped=0
wait "$server" || stopped=$?
((stopped == 0)) || fail "the server left with status $stopped after SIGTERM"
((status == 0)) || tail -n 30 "$log" >&2
exit "$status"
