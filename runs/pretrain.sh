#!/usr/bin/env bash
#SBATCH --job-name=pretrain
#SBATCH --nodes=1
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --mem=0
#SBATCH --time=2-00:00:00
#SBATCH --signal=USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#
# Pre-train over the processes of this machine, or over all tasks of a Slurm job (one a GPU, one node or many).
#
#   bash runs/pretrain.sh RECIPE RANKS [key=value ...]
#   sbatch --nodes=2 runs/pretrain.sh RECIPE auto [key=value ...]
#
# SIGTERM, SIGUSR1 (Slurm's warning, ten minutes ahead) or Ctrl-C: the step under way is finished and saved, exit status
# 75, and Slurm queues the job again; so it does after a hang, and after a crash if new checkpoints were written before.
# Typed again, the same command continues. Processes start only when there is something to train, and when one fails the
# others are ended. IMAGE=snakmodel.sif runs this folder's code in that container.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
[ -d .venv/bin ] && export PATH="$PWD/.venv/bin:$PATH" # what `make` installed
[ $# -ge 2 ] || { echo "usage: bash runs/pretrain.sh RECIPE RANKS [key=value ...]" >&2; exit 2; }
recipe=$1 ranks=$2
shift 2
[ "$ranks" != auto ] || ranks=${SLURM_NTASKS:-$({ nvidia-smi -L 2> /dev/null || true; } | wc -l)}
[[ $ranks =~ ^[1-9][0-9]*$ ]] || { echo "error: RANKS is '$ranks': give a number of processes (auto: one a GPU)" >&2; exit 2; }
python=(python)
# this folder's code, not the image's copy of it
[ -z "${IMAGE:-}" ] || python=(apptainer exec --nv --bind "$PWD" --pwd "$PWD" --env "PYTHONPATH=$PWD" "$IMAGE" python)
status=0
said=$(WORLD_SIZE=$ranks "${python[@]}" pretrain/train.py --config "$recipe" "$@" --check) || status=$?
echo "$said"
case $status in
    0) ;;
    3) exit 0 ;; # finished, as --check has said
    *) exit "$status" ;;
esac
export WORLD_SIZE=$ranks OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} PYTORCH_ALLOC_CONF=expandable_segments:True

if [ -n "${SLURM_NTASKS:-}" ]; then
    MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    export MASTER_ADDR MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
    checkpoints=$(sed -n 's/^pretrain: ready (\(.*\))$/\1/p' <<< "$said")
    newest() { { find "$checkpoints" -maxdepth 2 -name optimizer 2> /dev/null || true; } | sort | tail -n 1; }
    before=$(newest)
    # --wait: when one task has failed, the others get two minutes to say what they know of it
    srun --kill-on-bad-exit=0 --wait=120 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
        bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec "$@"' rank \
        "${python[@]}" pretrain/train.py --config "$recipe" "$@" || status=$?
    # saved for a signal, or hung; or a lost node or process, if the run had come further than where it began
    again=no
    case $status in
        0 | 2) ;;
        70 | 75) again=yes ;;
        *) [ "$(newest)" = "$before" ] || again=yes ;;
    esac
    if [ $again = yes ] && ((${SLURM_RESTART_COUNT:-0} < ${MOST_RESTARTS:-50})); then
        scontrol requeue "$SLURM_JOB_ID" || true
    fi
    exit "$status"
fi

export MASTER_ADDR=127.0.0.1
MASTER_PORT=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export MASTER_PORT
processes=()
for ((rank = 0; rank < ranks; rank++)); do
    RANK=$rank LOCAL_RANK=$rank "${python[@]}" pretrain/train.py --config "$recipe" "$@" &
    processes+=($!)
done
trap 'kill -TERM "${processes[@]}" 2> /dev/null || true' TERM USR1 INT HUP

failed= # when the first of them did
while ((${#processes[@]})); do
    sleep 0.2 & wait $! || true # a trap interrupts `wait` at once, `sleep` it would await
    alive=()
    for process in "${processes[@]}"; do
        if kill -0 "$process" 2> /dev/null; then
            alive+=("$process")
        else
            ended=0
            wait "$process" || ended=$?
            ((ended < 128)) || echo "one of the processes was ended by signal $((ended - 128)); the same command resumes" >&2
            ((ended == 0 || status != 0)) || { status=$ended failed=$SECONDS; }
        fi
    done
    ((${#alive[@]})) || break
    processes=("${alive[@]}")
    # the others get a moment to come to the same end; then they wait for nobody
    [ -z "$failed" ] || ((SECONDS - failed < ${GRACE_SECONDS:-20})) || kill -KILL "${processes[@]}" 2> /dev/null || true
done
exit "$status"
