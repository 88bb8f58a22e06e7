# Shared by the dist_*.sh and slurm_*.sh scripts: start a tool in several processes.
# Sourced, not executed. PYTHON is the interpreter, `python` by default.

# Let a checkout that is not installed find its package.
export_checkout() {
    local root
    root=$(cd "$(dirname "$1")/.." && pwd)
    if [[ -d $root/amflow_mm ]]; then
        export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
    fi
}

# launch_processes PROCESSES TOOL ARGUMENT...
#
# NNODES, NODE_RANK, MASTER_ADDR and PORT are those of MMAction2's scripts.
launch_processes() {
    local processes=$1 tool=$2
    shift 2
    local python=${PYTHON:-python} nodes=${NNODES:-1} port=${PORT:-}
    export_checkout "$tool"

    # Once, in one process: an error that the user can put right stays one line. From torchrun it
    # would come once for each process, followed by a traceback of torchrun itself.
    "$python" "$tool" "$@" --dry-run >/dev/null

    if [[ -z $port && $nodes -eq 1 ]]; then
        # A free port keeps two jobs on one node apart. Several nodes must agree on theirs.
        port=$("$python" -c \
            'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    fi
    # As torchrun and MMEngine do, without their warnings; raise it to use more cores a process.
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}
    exec "$python" "$(dirname "$tool")/torchrun.py" \
        --nnodes="$nodes" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$processes" \
        --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${port:-29500}" \
        "$tool" "$@" --launcher pytorch
}

# launch_slurm PARTITION JOB_NAME TOOL ARGUMENT...
#
# GPUS, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS are those of MMAction2's scripts;
# GPUS_PER_NODE=0 asks for no GPU and starts GPUS processes on the CPUs.
launch_slurm() {
    local partition=$1 job_name=$2 tool=$3
    shift 3
    local per_node=${GPUS_PER_NODE:-8}
    local resources=(--ntasks="${GPUS:-8}" --cpus-per-task="${CPUS_PER_TASK:-5}")
    if [[ $per_node -gt 0 ]]; then
        resources+=(--gres="gpu:$per_node" --ntasks-per-node="$per_node")
    fi
    local extra=()
    # Several options in one variable, hence split at blanks on purpose.
    read -r -a extra <<<"${SRUN_ARGS:-}"
    export_checkout "$tool"

    # Two jobs may share a node; all tasks of this one read the same value.
    export MASTER_PORT=${MASTER_PORT:-$((12000 + RANDOM % 20000))}
    exec srun --partition="$partition" --job-name="$job_name" "${resources[@]}" \
        --kill-on-bad-exit=1 ${extra[@]+"${extra[@]}"} \
        "${PYTHON:-python}" -u "$tool" "$@" --launcher slurm
}
