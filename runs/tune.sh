#!/usr/bin/env bash
#SBATCH --job-name=tune
#SBATCH --nodes=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=2-00:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#
# Tune the steps of a series, one process a GPU, each its share of the steps; then merge what was tuned.
#
#   bash runs/tune.sh RECIPE [PROCESSES|auto] [key=value ...]                 auto: one a GPU; without GPUs, one
#   sbatch --array=1-5 runs/tune.sh RECIPE [PROCESSES|auto] [key=value ...]   each of five jobs its share, not merged
#
# key=value are settings of finetune/train.py (variant=..., rank=64) or of any section (merge.dtype=bfloat16). Typed
# again, the same command continues: what is finished is skipped, what was interrupted resumes. A share that fails does
# not stop the others; the exit status is then its own. After an array: python finetune/merge.py --config RECIPE.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
[ -d .venv/bin ] && export PATH="$PWD/.venv/bin:$PATH" # what `make` installed
[ $# -ge 1 ] || { echo "usage: bash runs/tune.sh RECIPE [PROCESSES|auto] [key=value ...]" >&2; exit 2; }
recipe=$1 processes=auto
shift
[[ $# -eq 0 || $1 == *=* ]] || { processes=$1; shift; }
gpus=$({ nvidia-smi -L 2> /dev/null || true; } | wc -l)
[ "$processes" != auto ] || processes=$((gpus > 0 ? gpus : 1))
[[ $processes =~ ^[1-9][0-9]*$ ]] || { echo "error: PROCESSES is '$processes': give a number (auto: one a GPU)" >&2; exit 2; }
export TOKENIZERS_PARALLELISM=false PYTORCH_ALLOC_CONF=expandable_segments:True
job=0 jobs=1 # of an array
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    job=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN)) jobs=$SLURM_ARRAY_TASK_COUNT
fi
python finetune/train.py --config "$recipe" "$@" --check > /dev/null # a mistake is told once

running=()
trap 'kill "${running[@]}" 2> /dev/null || true' TERM INT HUP
for ((process = 0; process < processes; process++)); do
    part=$((job * processes + process + 1))/$((jobs * processes))
    visible=${CUDA_VISIBLE_DEVICES:-}
    if ((gpus > 0)); then # of those that the job was given, where it was given some
        IFS=, read -ra given <<< "${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((gpus - 1)))}"
        visible=${given[process % ${#given[@]}]}
    fi
    CUDA_VISIBLE_DEVICES=$visible python finetune/train.py --config "$recipe" "$@" part=$part &
    running+=($!)
done
status=0
for process in "${running[@]}"; do
    wait "$process" || status=$?
done
[ "$status" = 0 ] || exit "$status"
((jobs == 1)) || exit 0

merging=()
for word in "$@"; do
    case $word in
        variant=* | finetune.variant=*) merging+=("merge.variant=${word#*=}") ;;
        *.*=* | run_dir=* | base_run=*) merging+=("$word") ;;
    esac
done
python finetune/merge.py --config "$recipe" ${merging[@]+"${merging[@]}"}
