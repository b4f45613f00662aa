"""Score each checkpoint of a series without ScandEval: bits per byte of held-out text, and multiple-choice tasks.

python evaluate/builtin.py --config configs/tiny.yaml

A task's prediction is the option with the largest sum of log p(option tokens | prompt); a tokenizer that carries a
chat template is asked in it. Each step gets a folder with
`records.jsonl`: one data set a line, in ScandEval's shape.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scorer.metrics import METRICS, resample, summarise

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import sample_texts
from snakmodel.multiple_choice import read_items
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.records import begin, write_jsonl
from snakmodel.series import choose, read_series
from snakmodel.testsets import TestSet, find_testset

Task = Literal["acceptability", "sentiment", "knowledge"]
TASKS: dict[Task, tuple[str, str]] = {  # ScandEval's name of each task, and the metric that stands for it
    "acceptability": ("linguistic-acceptability", "accuracy"),
    "sentiment": ("sentiment-classification", "macro_f1"),
    "knowledge": ("knowledge", "accuracy"),
}


@dataclass
class Settings:
    # which folders are made, not what is in one: more of them never invalidate those that are there
    series: list[str] = knob([PRETRAINED], "series to score; tuned ones are asked in their own format", execution=True)
    steps: str = knob("all", "steps to score: all, first, last, numbers or START:STOP:STRIDE", execution=True)
    held_out: dict[str, str] = knob({}, "language -> Parquet file of documents that no training saw")
    held_out_documents: int = knob(300, "most documents of a language, evenly spaced over its file", low=1)
    window: int = knob(512, "tokens that a model reads at once of a long document; at most its training's", low=2)
    tasks: dict[Task, str] = knob({}, "task -> its test set's name")
    own: dict[str, TestSet] = knob({}, "test sets described in the recipe itself; they win over the catalogue's")
    # the sets that are used count as inputs, so the catalogue may change elsewhere
    catalogue: str = knob("configs/testsets.yaml", "YAML file: name -> test set", execution=True)
    language: str = knob("da", "language of the tasks")
    resamples: int = knob(10, "bootstrap resamples of a data set's items (ScandEval: 10)", low=2)
    seed: int = knob(4242, "of the resamples (ScandEval's)", low=0)
    batch_tokens: int = knob(4_096, "most tokens in a batch, padding included", low=1, execution=True)


def main() -> None:
    command = read_command(Settings, "builtin", __doc__)
    s, run = command.settings, command.run
    if not s.held_out and not s.tasks:
        raise BadInput("builtin: nothing to score with; give held_out, tasks or both")
    files = {f"held_out.{language}": Path(path) for language, path in s.held_out.items()}
    sets = {task: find_testset(name, s.own, s.catalogue, f"builtin.tasks.{task}") for task, name in s.tasks.items()}
    files |= {f"tasks.{task}": Path(testset.path) for task, testset in sets.items()}
    texts = {language: sample_texts(Path(path), s.held_out_documents) for language, path in s.held_out.items()}
    tasks = {task: read_items(testset) for task, testset in sets.items()}
    chosen = {name: choose(read_series(run.series(name)), s.steps, f"builtin.steps of {name}") for name in s.series}
    for series, checkpoint in ((name, checkpoint) for name in chosen for checkpoint in chosen[name]):
        folder = run.folder("builtin") / series / step_name(checkpoint.step)
        work = begin(command, folder, {"model": checkpoint.source, **files})
        if work is None:
            continue
        from snakmodel.models import load_scorer  # late: torch takes seconds, and a finished stage says so at once

        model, tokenizer = load_scorer(checkpoint.location)
        records = [score_held_out(model, tokenizer, s, *pair) for pair in texts.items()]
        records += [score_task(model, tokenizer, s, *pair) for pair in tasks.items()]
        facts = {"series": series, "step": checkpoint.step, "tokens": checkpoint.row.get("tokens")}
        facts |= {"model": checkpoint.location, "num_model_parameters": model.num_parameters()}
        facts |= {"max_sequence_length": model.config.max_position_embeddings}
        facts |= {"vocabulary_size": model.config.vocab_size}
        facts |= {"prompts": "chat template" if tokenizer.chat_template else "raw text"}
        write_jsonl(folder / "records.jsonl", [record | facts for record in records])
        work.finish(device=str(model.device), counts={name: len(rows) for name, rows in (texts | tasks).items()})
        del model  # or it would stay in memory while the next one is loaded
        brief = [f"{r['dataset']} {r['results']['total']['test_' + r['metric']]:.2f}" for r in records]
        print(f"{series} {folder.name}: {', '.join(brief)}", flush=True)


def score_held_out(model: Any, tokenizer: Any, s: Settings, language: str, texts: list[str]) -> dict[str, Any]:
    """The record of one language's held-out documents: bits per byte."""
    from snakmodel.likelihood import document_bits  # imports torch

    measured = document_bits(model, tokenizer, texts, s.window, s.batch_tokens)
    bits, sizes = np.array(measured)[resample(len(texts), s.resamples, s.seed)].sum(1).T
    raw = [{"bits_per_byte": value} for value in (bits / sizes).tolist()]
    return make_record(f"held-out-{language}", "language-modelling", language, raw, "bits_per_byte", None)


def score_task(model: Any, tokenizer: Any, s: Settings, name: Task, items: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of one multiple-choice task: accuracy, macro-F1 and MCC."""
    from snakmodel.likelihood import option_log_likelihoods  # imports torch

    questions = [(item["prompt"], item["options"]) for item in items]
    log_likelihoods = option_log_likelihoods(model, tokenizer, questions, s.batch_tokens)
    places_K = np.arange(max(len(item["options"]) for item in items))
    answers_NK = np.array([places_K == item["answer"] for item in items], dtype=float)
    predicted_NK = np.array([places_K == np.argmax(sums) for sums in log_likelihoods], dtype=float)
    random_NK = np.array([(places_K < len(item["options"])) / len(item["options"]) for item in items])
    raw = [
        {metric: score(answers_NK[draw], predicted_NK[draw]) for metric, score in METRICS.items()}
        for draw in resample(len(items), s.resamples, s.seed)
    ]
    task, metric = TASKS[name]
    chance = 100 * METRICS[metric](answers_NK, random_NK)
    return make_record(s.tasks[name], task, s.language, raw, metric, chance)


def make_record(
    dataset: str, task: str, language: str, raw: list[dict[str, float]], metric: str, chance: float | None
) -> dict[str, Any]:
    """A record in the shape of ScandEval up to 13, with our `metric` (primary), `chance` and `interval`."""
    total, interval = summarise(raw, scale=1 if metric == "bits_per_byte" else 100)
    how = {"few_shot": False, "validation_split": False, "generative": True, "scorer": "builtin"}
    results = {"results": {"raw": {"test": raw}, "total": total}, "interval": interval, "chance": chance}
    return {"dataset": dataset, "task": task, "dataset_languages": [language], "metric": metric, **results, **how}


if __name__ == "__main__":
    run_script(main)
