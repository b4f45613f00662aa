#!/usr/bin/env bash
#SBATCH --job-name=snakmodel-7b
#SBATCH --nodes=1
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --mem=0
#SBATCH --time=7-00:00:00
#SBATCH --signal=USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#
# SnakModel-7B: Llama-2-7B continued on 13.6 B Danish words, 12,500 steps, tuned at 15 of them.
#
# On a cluster make the corpus first, on nodes without GPUs: sbatch runs/corpus.sbatch configs/snakmodel-7b.yaml
#
#   bash runs/snakmodel-7b.sh                          one machine, four GPUs (RANKS=8: eight)
#   sbatch runs/snakmodel-7b.sh                        the same on a cluster
#   sbatch --nodes=4 runs/snakmodel-7b.sh              pre-training over 16 GPUs of four nodes
#   sbatch runs/snakmodel-7b.sh configs/munin-7b.yaml  another system's recipe
#
# Type it again after an interruption and it continues; on Slurm, pre-training saves when time runs out and queues itself
# again. IMAGE=snakmodel.sif pre-trains in the Dockerfile's image. Not run in full by us; runs/tiny.sh is the same in miniature.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
[ -d .venv/bin ] && export PATH="$PWD/.venv/bin:$PATH" # what `make` installed
RECIPE=${1:-configs/snakmodel-7b.yaml}
export TOKENIZERS_PARALLELISM=false

# The base model is Llama-2-7B from the Hub; its licence must be accepted there, and HF_TOKEN set.

# Held-out English, to see what is forgotten
ENGLISH=configs/english.yaml
python pretrain/corpus/download.py --config "$ENGLISH"
python pretrain/corpus/read_sources.py --config "$ENGLISH"
python pretrain/corpus/filter_language.py --config "$ENGLISH"
python pretrain/corpus/deduplicate.py --config "$ENGLISH"
python pretrain/corpus/make_shards.py --config "$ENGLISH"

# The corpus: sources to shards. Four of the ten sources have to be asked for, and one accepted: the first command says where.
python pretrain/corpus/download.py --config "$RECIPE"
python pretrain/corpus/read_sources.py --config "$RECIPE"
python pretrain/corpus/filter_language.py --config "$RECIPE"
python pretrain/corpus/filter_quality.py --config "$RECIPE"
python pretrain/corpus/decontaminate.py --config "$RECIPE"
python pretrain/corpus/deduplicate.py --config "$RECIPE"
python pretrain/corpus/make_shards.py --config "$RECIPE"
python pretrain/corpus/ledger.py --config "$RECIPE"
python pretrain/corpus/fertility.py --config "$RECIPE"

# Continual pre-training: planned, a series of checkpoints, each exported, the series audited
python pretrain/preflight.py --config "$RECIPE"
bash runs/pretrain.sh "$RECIPE" "${RANKS:-auto}"
python pretrain/export.py --config "$RECIPE"
python analyze/audit.py --config "$RECIPE"

# Instruction tuning of chosen steps
python finetune/instructions.py --config "$RECIPE"
bash runs/tune.sh "$RECIPE" auto

# Preference tuning of the last of them, merged into a series of its own; not the paper's
torchrun --nproc-per-node "${RANKS:-gpu}" finetune/preferences.py --config "$RECIPE"
python finetune/merge.py --config "$RECIPE" merge.variant=all-r128-chat-dpo

# Analysis of every step, and of what it was trained on
python analyze/weights.py --config "$RECIPE"
python analyze/embeddings.py --config "$RECIPE"
python analyze/leakage.py --config "$RECIPE"
python analyze/forgetting.py --config "$RECIPE"
python analyze/samples.py --config "$RECIPE"
python analyze/answers.py --config "$RECIPE"
python analyze/probes.py --config "$RECIPE"

# Scores of every step, and of the models that it is compared with. ScandEval has an environment of its own: make scandeval
python evaluate/builtin.py --config "$RECIPE"
python evaluate/scandeval_all.py --config "$RECIPE"
python evaluate/scandeval_all.py --config "$RECIPE" split=val steps=all baselines={}
python evaluate/collect.py --config "$RECIPE"
python evaluate/contrast.py --config "$RECIPE"
python finetune/compare.py --config "$RECIPE"

# Releases: quantised forms of the last step, compared with it, and a card for every step
python finetune/release.py --config "$RECIPE"
python finetune/card.py --config "$RECIPE"

# Figures and report
python plot/training.py --config "$RECIPE"
python plot/throughput.py --config "$RECIPE"
python plot/corpus.py --config "$RECIPE"
python plot/scores.py --config "$RECIPE"
python plot/divergence.py --config "$RECIPE"
python plot/embeddings.py --config "$RECIPE"
python plot/answers.py --config "$RECIPE"
python plot/contamination.py --config "$RECIPE"
python plot/forgetting.py --config "$RECIPE"
python plot/leakage.py --config "$RECIPE"
python plot/compare.py --config "$RECIPE"
python plot/replication.py --config "$RECIPE"
python plot/report.py --config "$RECIPE"
