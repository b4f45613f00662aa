"""The record of one data set under one model, in ScandEval's shape; `s` are the settings of builtin.py."""

from typing import Any

import numpy as np

from scorer.asked import Asked
from scorer.judges import Judges
from scorer.metrics import resample, summarise
from scorer.score import TASKS, Loaded, Measured, answer, measure
from snakmodel.likelihood import document_bits
from snakmodel.shared_prefix import check_length, longest_input


def score_held_out(model: Any, tokenizer: Any, s: Any, asked: Asked) -> dict[str, Any]:
    """The record of one language's held-out documents: bits per byte."""
    name, texts = asked.name, asked.texts
    assert texts is not None, "they were read"
    check_length(model, s.window)
    measured = document_bits(model, tokenizer, texts, s.window, s.batch_tokens)
    bits, sizes = np.array(measured)[draw(len(texts), s)].sum(1).T
    raw = [{"bits_per_byte": value} for value in (bits / sizes).tolist()]
    record = make_record(name, "language-modelling", name.removeprefix("held-out-"), raw, "bits_per_byte", None)
    return record | {"few_shot": False, "items": len(texts), "failed": None}


def draw(items: int, s: Any) -> np.ndarray:
    """Indices [1 + resamples, items]: first each item once, then the resamples."""
    return np.vstack([np.arange(items), resample(items, s.resamples, s.seed)])


def score_set(model: Any, tokenizer: Any, s: Any, asked: Asked) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record of one set, and its items."""
    loaded, longest = asked.loaded, longest_input(model)
    assert loaded is not None, "it was read"
    window = min(s.prompt_window or longest, longest)
    answered = answer(model, tokenizer, loaded, window, s.batch_tokens)
    measured = measure(loaded, answered, draw(len(loaded.examples), s), asked.judges or Judges())
    return task_record(loaded, measured, s) | {"prompt_window": window}, measured.items


def task_record(loaded: Loaded, measured: Measured, s: Any) -> dict[str, Any]:
    """The record of one set: its measures, and how many examples its prompts had room for."""
    name, testset = loaded.name, loaded.testset
    task = TASKS[str(testset.task)][0]
    record = make_record(name, task, testset.language, measured.raw, measured.metric, measured.chance)
    asked, used = len(loaded.shots), sum(measured.shots) / len(measured.shots)
    how = {"few_shot": asked > 0, "shots": {"drawn": asked, "mean": used}, "items_cut": measured.cut}
    judged = {f"{judge}_model": getattr(s, judge) for judge in ("bertscore", "entailment") if judge in measured.raw[0]}
    human = {model: {"rated": rated, "accepted": accepted} for model, (rated, accepted) in loaded.human.items()}
    return record | how | judged | {"human": human} | {"items": len(loaded.examples), "failed": measured.failed}


def make_record(
    dataset: str, task: str, language: str, raw: list[dict[str, float]], metric: str, chance: float | None
) -> dict[str, Any]:
    """A record of versions up to 13, with our `metric` (primary), `chance`, `interval`, and `plain`: of all items once.

    raw: the measures of all items, then those of each resample.
    """
    plain, *resampled = raw
    scale = 1 if metric == "bits_per_byte" else 100
    total, interval = summarise(resampled, scale)
    results = {"results": {"raw": {"test": resampled}, "total": total}, "interval": interval, "chance": chance}
    results["plain"] = {f"test_{name}": scale * value for name, value in plain.items()}
    how = {"generative": True, "scorer": "builtin"}
    return {"dataset": dataset, "task": task, "dataset_languages": [language], "metric": metric, **results, **how}
