#!/usr/bin/env bash
#SBATCH --job-name=tune
#SBATCH --nodes=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=96G
#SBATCH --time=2-00:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#
# Tune the steps of a series, one process a GPU, each its share of the steps; then merge what was tuned.
#
#   bash runs/tune.sh RECIPE [PROCESSES|auto] [key=value ...]                        auto: one a GPU; without GPUs, one
#   sbatch --array=1-5 runs/tune.sh RECIPE [PROCESSES|auto] jobs=5 [key=value ...]   five jobs, each its share; not merged
#
# key=value are settings of finetune/train.py (variant=..., rank=64) or of any section (merge.dtype=bfloat16). Typed
# again, the same command continues: what is finished is skipped, what was interrupted resumes; of an array any jobs may
# be sent again (--array=3, jobs=5 as before). A share that fails does not stop the others; the exit status is then its
# own. SIGTERM, SIGUSR1 (Slurm's warning, ten minutes ahead) or Ctrl-C: the steps under way are saved, exit status 75, and
# Slurm queues the job again. After an array: python finetune/merge.py --config RECIPE.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
[ -d .venv/bin ] && export PATH="$PWD/.venv/bin:$PATH" # what `make` installed
refuse() { echo "error: $*" >&2; exit 2; }
[ $# -ge 1 ] || { echo "usage: bash runs/tune.sh RECIPE [PROCESSES|auto] [key=value ...]" >&2; exit 2; }
recipe=$1 processes=auto jobs=1 job=1
shift
[[ $# -eq 0 || $1 == *=* ]] || { processes=$1; shift; }
tuning=() merging=()
for word in "$@"; do
    case $word in
        jobs=*) jobs=${word#*=} ;;
        merge.*=*) merging+=("$word") ;;
        run_dir=*) tuning+=("$word") merging+=("$word") ;;
        variant=* | finetune.variant=*) tuning+=("$word") merging+=("merge.variant=${word#*=}") ;;
        *) tuning+=("$word") ;;
    esac
done
gpus=$({ nvidia-smi -L 2> /dev/null || true; } | wc -l)
[ "$processes" != auto ] || processes=$((gpus > 0 ? gpus : 1))
[[ $processes =~ ^[1-9][0-9]*$ ]] || refuse "PROCESSES is '$processes': give a number (auto: one a GPU)"
[[ $jobs =~ ^[1-9][0-9]*$ ]] || refuse "jobs is '$jobs': give the number of the array's jobs, as when it was first sent"
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    job=$SLURM_ARRAY_TASK_ID
    ((job >= 1 && job <= jobs)) || refuse "this is job $job of the array, and jobs=$jobs; give --array=1-N and jobs=N"
fi
export TOKENIZERS_PARALLELISM=false PYTORCH_ALLOC_CONF=expandable_segments:True
# a mistake is told once, before anything runs
python finetune/train.py --config "$recipe" ${tuning[@]+"${tuning[@]}"} --check > /dev/null
python finetune/merge.py --config "$recipe" ${merging[@]+"${merging[@]}"} --check > /dev/null

running=()
trap 'kill -TERM "${running[@]}" 2> /dev/null || true' TERM USR1 INT HUP
for ((process = 1; process <= processes; process++)); do
    part=$(((job - 1) * processes + process))/$((jobs * processes))
    visible=${CUDA_VISIBLE_DEVICES:-}
    if ((gpus > 0)); then # of those that the job was given, where it was given some
        IFS=, read -ra given <<< "${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((gpus - 1)))}"
        visible=${given[(process - 1) % ${#given[@]}]}
    fi
    CUDA_VISIBLE_DEVICES=$visible python finetune/train.py --config "$recipe" ${tuning[@]+"${tuning[@]}"} part=$part &
    running+=($!)
done
# a trap interrupts `wait` at once, so that what it kills is awaited too
while kill -0 "${running[@]}" 2> /dev/null; do sleep 0.5 & wait $! || true; done
status=0
for process in "${running[@]}"; do
    ended=0
    wait "$process" || ended=$?
    case $ended in
        0) ;;
        75) [ $status != 0 ] || status=75 ;; # a failure counts for more
        *) status=$ended ;;
    esac
done
if [ $status = 75 ] && [ -n "${SLURM_JOB_ID:-}" ] && ((${SLURM_RESTART_COUNT:-0} < ${MOST_RESTARTS:-50})); then
    scontrol requeue "$SLURM_JOB_ID" || true # of an array's job, too, this is its own number
fi
[ $status = 0 ] || exit $status
((jobs == 1)) || exit 0
python finetune/merge.py --config "$recipe" ${merging[@]+"${merging[@]}"}
