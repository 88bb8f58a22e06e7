#!/usr/bin/env bash
# Train as a Slurm job.
#
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [arguments of train.py]
#
# GPUS, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS size the job.
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [WORK_DIR] [arguments of train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
ARGUMENTS=("$3")
shift 3
# MMAction2's script takes no WORK_DIR, its relatives do: what is not an option is the folder.
if [[ $# -gt 0 && $1 != -* ]]; then
    ARGUMENTS+=("--work-dir" "$1")
    shift
fi

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/launch.sh
source "$TOOLS/launch.sh"
launch_slurm "$PARTITION" "$JOB_NAME" "$TOOLS/train.py" "${ARGUMENTS[@]}" "$@"
