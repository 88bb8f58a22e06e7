# Shared by slurm_train.sh and slurm_test.sh: start a tool under srun. Sourced, not executed.

# launch_slurm PARTITION JOB_NAME TOOL ARGUMENT...
#
# GPUS, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS are those of MMAction2's scripts;
# GPUS_PER_NODE=0 asks for no GPU and starts GPUS processes on the CPUs.
launch_slurm() {
    local partition=$1 job_name=$2 tool=$3
    shift 3
    local gpus=${GPUS:-8}
    local per_node=${GPUS_PER_NODE:-8}
    local resources=(--ntasks="$gpus" --cpus-per-task="${CPUS_PER_TASK:-5}")
    if [[ $per_node -gt 0 ]]; then
        resources+=(--gres="gpu:$per_node" --ntasks-per-node="$per_node")
    fi
    local extra=()
    # Several options in one variable, hence split at blanks on purpose.
    read -r -a extra <<<"${SRUN_ARGS:-}"

    # Two jobs may share a node; all tasks of this one read the same value.
    export MASTER_PORT=${MASTER_PORT:-$((12000 + RANDOM % 20000))}
    PYTHONPATH="$(dirname "$(dirname "$tool")")${PYTHONPATH:+:$PYTHONPATH}"
    export PYTHONPATH
    exec srun --partition="$partition" --job-name="$job_name" "${resources[@]}" \
        --kill-on-bad-exit=1 ${extra[@]+"${extra[@]}"} \
        "${PYTHON:-python}" -u "$tool" "$@" --launcher slurm
}
