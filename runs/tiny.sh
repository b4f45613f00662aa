#!/usr/bin/env bash
# The SnakModel experiment in miniature, on two CPU cores: the commands of runs/snakmodel-7b.sh, in the same order.
#
#   bash runs/tiny.sh [RECIPE [BASE_RECIPE]]
#
# Type it again after an interruption and it continues; when everything is done it says so.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -d .venv/bin ] && export PATH="$PWD/.venv/bin:$PATH" # what `make` installed
RECIPE=${1:-configs/tiny.yaml}
BASE=${2:-configs/tiny-base.yaml}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} OMP_WAIT_POLICY=passive OPENBLAS_NUM_THREADS=1 # threads that spin cost shared cores dear
export TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 DS_ACCELERATOR=cpu # nothing here comes from the Hub

python pretrain/train.py --config "$RECIPE" --help > /dev/null # a misspelt recipe is refused before the work begins

# The base model: raw data of the miniature, an English corpus, a tokenizer, a small Llama from scratch
python runs/tiny_data/write.py --config "$BASE"
python pretrain/corpus/read_sources.py --config "$BASE"
python pretrain/corpus/filter_language.py --config "$BASE"
python pretrain/corpus/deduplicate.py --config "$BASE"
python pretrain/corpus/train_tokenizer.py --config "$BASE"
python pretrain/corpus/make_shards.py --config "$BASE"
bash runs/pretrain.sh "$BASE" "${RANKS:-2}"
python pretrain/export.py --config "$BASE"

# The corpus: sources to shards
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
bash runs/pretrain.sh "$RECIPE" "${RANKS:-2}"
python pretrain/export.py --config "$RECIPE"
python analyze/audit.py --config "$RECIPE"

# Instruction tuning of chosen steps
python finetune/instructions.py --config "$RECIPE"
bash runs/tune.sh "$RECIPE" auto

# Preference tuning of the last of them, merged into a series of its own
python finetune/preferences.py --config "$RECIPE"
python finetune/merge.py --config "$RECIPE" merge.variant=all-r8-chat-polite

# Analysis of every step
python analyze/weights.py --config "$RECIPE"
python analyze/embeddings.py --config "$RECIPE"
python analyze/leakage.py --config "$RECIPE"
python analyze/forgetting.py --config "$RECIPE"
python analyze/samples.py --config "$RECIPE"
python analyze/answers.py --config "$RECIPE"
python analyze/probes.py --config "$RECIPE"

# Scores of every step; evaluate/scandeval_all.py needs another environment, and data sets from the Hub
python evaluate/builtin.py --config "$RECIPE"
python evaluate/collect.py --config "$RECIPE"
python evaluate/contrast.py --config "$RECIPE"
python finetune/compare.py --config "$RECIPE"

# Releases: quantised forms of the last step, compared with it, and a card for every step
python finetune/release.py --config "$RECIPE"
python finetune/card.py --config "$RECIPE"

# Figures, the miniature's own bars, and the report, which shows both
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
bars=0
python runs/tiny_data/check.py --config "$RECIPE" || bars=$?
python plot/report.py --config "$RECIPE"
exit "$bars"
