#!/usr/bin/env bash
# Test with several processes on this node, one for each GPU; without a GPU they run on the CPU.
#
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
#
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of test.py]" >&2
    exit 2
fi
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/launch.sh
source "$TOOLS/launch.sh"
launch_processes "$3" "$TOOLS/test.py" "$1" "$2" "${@:4}"
