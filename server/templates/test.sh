#!/usr/bin/env bash
# Checks the graph, serves it with the scripted model (no key, no cost), and asks it one question.
set -euo pipefail
cd "$(dirname "$0")"
millstream="${MILLSTREAM:-millstream}"
"$millstream" graph check graph.yaml
data=$(mktemp -d)
port="${PORT:-18080}"
env -u OPENAI_API_KEY -u OPENAI_BASE_URL "$millstream" dev --graph graph.yaml --listen "127.0.0.1:$port" --data-dir "$data/data" 2>"$data/server.log" &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$data"' EXIT
for _ in $(seq 100); do curl -sf "http://127.0.0.1:$port/ready" >/dev/null && break; sleep 0.1; done
answer=$(curl -sf "http://127.0.0.1:$port/my-agent" --json '{"message": "Hello"}') || { cat "$data/server.log"; exit 1; }
echo "$answer"
case "$answer" in *'"status":"success"'*) echo "passed" ;; *) echo "failed"; exit 1 ;; esac
