#!/usr/bin/env bash
# One experiment on a Slurm allocation, from the root of a checkout that all nodes see and whose .venv `make` has set up:
#   sbatch cluster/slurm.sh run_dir=/shared/runs/first runtime.num_gpus=0.5 'fleet.depths=[12,10,8,6,4,3]'
# Submitted again with the same run_dir it goes on from its newest checkpoint, as it does by itself after preemption.
# All nodes run clients, the first one the driver and the server as well: no node here goes away alone.
#SBATCH --job-name=fedra-ray
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

case " $* " in
    *" run_dir=/"* | *" run_dir="*://*) ;;
    *)
        echo "error: run_dir must be an absolute path that all nodes see, or a URI: sbatch $0 run_dir=/shared/..." >&2
        exit 2
        ;;
esac

source .venv/bin/activate
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# This script runs on the first node; symmetric-run makes the node that has the address the head.
address="$(hostname -I | cut -d ' ' -f 1):6379"
driver=$(mktemp)

# Two minutes before the time is up, or at `scancel --batch --signal=TERM JOB`, the driver alone is told to stop, so
# that it can still save; a plain scancel ends Ray under it, and the run goes on from an earlier checkpoint.
trap 'kill -TERM "$(cat "$driver")" || true' TERM

srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus "$SLURM_CPUS_PER_TASK" -- \
    bash -c 'echo $$ >"$0"; exec python -m fedra_ray "$@"' "$driver" runtime.address="$address" "$@" &
step=$!

status=0
wait "$step" || status=$?
if kill -0 "$step" 2>/dev/null; then # the trapped signal ended the wait, not the step
    status=0
    wait "$step" || status=$?
fi
rm -f "$driver"
exit "$status"
