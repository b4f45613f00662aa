#!/usr/bin/env bash
#SBATCH --job-name=snakmodel-released --gpus=1 --cpus-per-task=16 --mem=64G --time=24:00:00
# SnakModel's released models beside the paper: not run. Llama-2 is gated: HF_TOKEN. First: make scandeval.
# Finished stages say so: the same command goes on.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
[ -d .venv/bin ] && export PATH="$PWD/.venv/bin:$PATH" # what `make` installed
RECIPE=${1:-configs/snakmodel-released.yaml}

python pretrain/adopt.py --config "$RECIPE"
python analyze/audit.py --config "$RECIPE"
python analyze/weights.py --config "$RECIPE"
python analyze/embeddings.py --config "$RECIPE"
python analyze/samples.py --config "$RECIPE"
python evaluate/scandeval_all.py --config "$RECIPE"
python evaluate/collect.py --config "$RECIPE"
python plot/scores.py --config "$RECIPE"
python plot/divergence.py --config "$RECIPE"
python plot/embeddings.py --config "$RECIPE"
python plot/compare.py --config "$RECIPE"
python plot/replication.py --config "$RECIPE"
python plot/report.py --config "$RECIPE"
