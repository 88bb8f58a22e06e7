#!/usr/bin/env bash
# Train with several processes on this node, one for each GPU; without a GPU they run on the CPU.
#
#   tools/dist_train.sh CONFIG GPUS [arguments of train.py]
#
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: $0 CONFIG GPUS [arguments of train.py]" >&2
    exit 2
fi
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/launch.sh
source "$TOOLS/launch.sh"
launch_processes "$2" "$TOOLS/train.py" "$1" "${@:3}"
