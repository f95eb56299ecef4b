#!/usr/bin/env bash
# Checks the graph and runs the cases of graph.test.yaml: no server, no key, no cost.
set -euo pipefail
cd "$(dirname "$0")"
millstream="${MILLSTREAM:-millstream}"
"$millstream" graph check graph.yaml
"$millstream" graph test graph.yaml
