# Shared by dist_train.sh and dist_test.sh: start a tool in several processes of this node.
# Sourced, not executed.

# launch_processes PROCESSES TOOL ARGUMENT...
#
# NNODES, NODE_RANK, MASTER_ADDR and PORT are those of MMAction2's scripts; PYTHON is the interpreter.
launch_processes() {
    local processes=$1 tool=$2
    shift 2
    local python=${PYTHON:-python} nodes=${NNODES:-1} port=${PORT:-}
    PYTHONPATH="$(dirname "$(dirname "$tool")")${PYTHONPATH:+:$PYTHONPATH}"
    export PYTHONPATH

    # Once, in one process: an error that the user can put right stays one line. From torchrun it
    # would come once for each process, followed by a traceback of torchrun itself.
    "$python" "$tool" "$@" --dry-run >/dev/null

    if [[ -z $port ]]; then
        # Nodes must agree on the port; on one node a free one keeps two jobs apart.
        port=29500
        if [[ $nodes -eq 1 ]]; then
            port=$("$python" -c \
                'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        fi
    fi
    # As torchrun and MMEngine do, without their warnings; raise it to use more cores a process.
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}
    exec "$python" -m torch.distributed.run \
        --nnodes="$nodes" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$processes" \
        --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="$port" \
        "$tool" "$@" --launcher pytorch
}
