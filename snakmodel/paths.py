"""Where each stage writes and the next one reads. Every hand-off is named here, once.

Everything of one run lies beneath its `run_dir` (`out/tiny`, say):

    corpus/downloads -> corpus/{raw,in_language,good,decontaminated,unique}/*.parquet -> tokenizer/ -> shards/
    -> checkpoints/step-00500/
    -> models/step-00500/ + series.json -> instruct/VARIANT/step-00500/ + series.json
    -> analysis/ -> records/ -> scores/ -> release/SERIES/step-00500/ + cards/ -> figures/ -> report/report.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.settings import BadInput, nearest


@dataclass(frozen=True)
class Stage:
    """One script of the pipeline: the recipe section it reads, and the folder it writes."""

    section: str  # of the recipe
    script: str  # as typed, from the repository's root
    folder: str  # beneath run_dir; "" for tools that write no hand-off
    per_step: bool = False  # writes one folder a step, each with its own record


STAGES = (
    Stage("tiny_data", "runs/tiny_data/write.py", "raw_data"),
    Stage("download", "pretrain/corpus/download.py", "corpus/downloads"),
    Stage("read_sources", "pretrain/corpus/read_sources.py", "corpus/raw"),
    Stage("filter_language", "pretrain/corpus/filter_language.py", "corpus/in_language"),
    Stage("annotate_quality", "pretrain/corpus/annotate_quality.py", "quality/annotations"),
    Stage("train_quality", "pretrain/corpus/train_quality.py", "quality/model"),
    Stage("filter_quality", "pretrain/corpus/filter_quality.py", "corpus/good"),
    Stage("decontaminate", "pretrain/corpus/decontaminate.py", "corpus/decontaminated"),
    Stage("deduplicate", "pretrain/corpus/deduplicate.py", "corpus/unique"),
    Stage("train_tokenizer", "pretrain/corpus/train_tokenizer.py", "tokenizer"),
    Stage("make_shards", "pretrain/corpus/make_shards.py", "shards"),
    Stage("ledger", "pretrain/corpus/ledger.py", "corpus/ledger"),
    Stage("fertility", "pretrain/corpus/fertility.py", "corpus/fertility"),
    Stage("inspect", "pretrain/corpus/inspect_corpus.py", ""),
    Stage("preflight", "pretrain/preflight.py", "preflight"),
    Stage("pretrain", "pretrain/train.py", "checkpoints"),
    Stage("export", "pretrain/export.py", "models", per_step=True),
    Stage("publish", "pretrain/publish.py", ""),
    Stage("adopt", "pretrain/adopt.py", "adopted"),
    Stage("instructions", "finetune/instructions.py", "instruct/data"),
    Stage("finetune", "finetune/train.py", "instruct/adapters", per_step=True),
    Stage("preferences", "finetune/preferences.py", "instruct/adapters", per_step=True),
    Stage("merge", "finetune/merge.py", "instruct", per_step=True),
    Stage("audit", "analyze/audit.py", "analysis/audit", per_step=True),
    Stage("weights", "analyze/weights.py", "analysis/weights", per_step=True),
    Stage("embeddings", "analyze/embeddings.py", "analysis/embeddings", per_step=True),
    Stage("leakage", "analyze/leakage.py", "analysis/leakage"),
    Stage("forgetting", "analyze/forgetting.py", "analysis/forgetting", per_step=True),
    Stage("samples", "analyze/samples.py", "analysis/samples"),
    Stage("answers", "analyze/answers.py", "analysis/answers", per_step=True),
    Stage("probes", "analyze/probes.py", "analysis/probes", per_step=True),
    Stage("prompt", "analyze/prompt.py", ""),
    Stage("serve", "analyze/serve.py", ""),
    Stage("builtin", "evaluate/builtin.py", "records/builtin", per_step=True),
    Stage("scandeval", "evaluate/scandeval_all.py", "records/scandeval", per_step=True),
    Stage("collect", "evaluate/collect.py", "scores"),
    Stage("contrast", "evaluate/contrast.py", "contrasts"),
    Stage("compare", "finetune/compare.py", "instruct/comparison"),
    Stage("release", "finetune/release.py", "release", per_step=True),
    Stage("card", "finetune/card.py", "cards", per_step=True),
    Stage("check", "runs/tiny_data/check.py", "check"),
    Stage("plot_training", "plot/training.py", "figures/training"),
    Stage("plot_throughput", "plot/throughput.py", "figures/throughput"),
    Stage("plot_corpus", "plot/corpus.py", "figures/corpus"),
    Stage("plot_scores", "plot/scores.py", "figures/scores"),
    Stage("plot_divergence", "plot/divergence.py", "figures/divergence"),
    Stage("plot_embeddings", "plot/embeddings.py", "figures/embeddings"),
    Stage("plot_answers", "plot/answers.py", "figures/answers"),
    Stage("plot_forgetting", "plot/forgetting.py", "figures/forgetting"),
    Stage("plot_leakage", "plot/leakage.py", "figures/leakage"),
    Stage("plot_contamination", "plot/contamination.py", "figures/contamination"),
    Stage("plot_published", "plot/published.py", "figures/published"),
    Stage("plot_compare", "plot/compare.py", "figures/compare"),
    Stage("replication", "plot/replication.py", "replication"),
    Stage("report", "plot/report.py", "report"),
)
HUB = "hub:"  # "hub:ORG/NAME": a series on the Hub, one revision a step
PRETRAINED = "pretrained"  # the name of the series that pretrain/ writes; tuned series bear their variant's name
BASELINES = "baselines"  # in records and scores, the series of the models that are none's steps
SECTIONS = tuple(stage.section for stage in STAGES)


def stage_of(section: str) -> Stage:
    """The stage that reads this section of the recipe; raises BadInput where there is none."""
    for stage in STAGES:
        if stage.section == section:
            return stage
    raise BadInput(f"no stage is called {section!r}; {nearest(section, SECTIONS)}")


def maker_of(folder: Path) -> str | None:
    """The script that writes this folder (or a step folder within it), or None."""
    for candidate in (folder, folder.parent, folder.parent.parent):
        for stage in STAGES:
            if stage.folder and candidate.as_posix().endswith("/" + stage.folder):
                return stage.script
    return None


def step_name(step: int) -> str:
    """Name of a step's folder: 500 -> "step-00500". Wider steps stay whole."""
    return f"step-{step:05d}"


def step_of(name: str) -> int | None:
    """The step that a folder name stands for, or None: "step-00500" -> 500."""
    match = re.fullmatch(r"step-(\d{5,})", name)
    return int(match.group(1)) if match else None


def model_name(row: Mapping[str, Any]) -> str:
    """What the model of a score is called, unlike all others: SERIES@STEP, a baseline's name, or "SERIES NAME".

    The last one is of a model that was scored elsewhere (collect.also): two such files may hold the same name.
    """
    if row["step"] is not None:
        return f"{row['series']}@{row['step']}"
    return row["name"] if row["series"] == BASELINES else f"{row['series']} {row['name']}"


@dataclass(frozen=True)
class Run:
    """The folders of one run."""

    root: Path

    def folder(self, section: str) -> Path:
        """What the stage of this section writes."""
        return self.root / stage_of(section).folder

    def series(self, name: str) -> Path:
        """The folder of a series: "pretrained", the name of a tuned variant, or "hub:ORG/NAME" as it stands."""
        if name.startswith(HUB):
            return Path(name)
        return self.folder("export") if name == PRETRAINED else self.folder("merge") / name
