"""Records of ScandEval and EuroEval, of every generation, as one: the form that ScandEval had up to 13.

    up to 13   results.raw {"test": [...]}, dataset_languages, scandeval_version
    14 to 16   results.raw [...], languages, euroeval_version
    from 17    "Every Eval Ever" 0.2: evaluation_results [...]; of the rest, most is text in additional_details

`results.total` holds `test_METRIC` (0..100, of MCC -100..100) and `test_METRIC_se`, which is no standard error but
1.96 sd / sqrt(n), half of the 95 % interval of the resamples' mean. What is not finite becomes null.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput

# what stands for a task: the metrics of the paper's table, which are not ScandEval's own first ones; else its first
PRIMARY = {
    "linguistic-acceptability": ("macro_f1",),
    "sentiment-classification": ("macro_f1",),
    "named-entity-recognition": ("micro_f1",),
    "reading-comprehension": ("f1",),
    "summarization": ("bertscore", "chr_f3pp"),  # EuroEval from 16.17 on has no BERTScore
    "knowledge": ("accuracy",),
    "common-sense-reasoning": ("accuracy",),
}
Record = dict[str, Any]


def read_records(path: Path) -> tuple[list[Record], list[str]]:
    """The records of a results file in one form, and what was wrong with the lines that hold none."""
    found = [each for _, each in read_lines(path)]
    return [each for each in found if not isinstance(each, str)], [each for each in found if isinstance(each, str)]


def read_lines(path: Path) -> Iterator[tuple[bytes, Record | str]]:
    """Each line of a results file with its record, or with what is wrong with it."""
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield line, normalise(json.loads(line))
        except ValueError as fault:  # not JSON, not UTF-8, or no record
            reason = fault if isinstance(fault, BadInput) else "cut off, or not JSON"
            yield line, f"{path}, line {number}: {reason}"


def normalise(raw: Any) -> Record:
    """A record of any generation in the legacy form, with scorer, version, split, metric, interval and chance."""
    if not isinstance(raw, dict):
        raise BadInput(f"a record should be an object, got {str(raw)[:40]!r}")
    try:
        record = from_every_eval_ever(raw) if "evaluation_results" in raw else from_legacy(raw)
        metrics = [key.removeprefix("test_") for key in record["results"]["total"] if is_score(key)]
        record["metric"] = primary_metric(record["task"], metrics)
    except (KeyError, TypeError, AttributeError, IndexError) as fault:
        raise BadInput(f"is no record of ScandEval or EuroEval ({type(fault).__name__}: {fault})") from None
    record["chance"] = 0.0 if record["metric"] == "mcc" else None
    return finite(record)


def primary_metric(task: str, metrics: list[str]) -> str:
    """The metric that stands for a task among those that were measured."""
    return next((metric for metric in PRIMARY.get(task, ()) if metric in metrics), metrics[0])


def is_score(key: str) -> bool:
    """Whether a key of `total` is a metric's score on the split that was evaluated."""
    return key.startswith("test_") and not key.endswith("_se")


def from_legacy(raw: Record) -> Record:
    """A record of versions up to 16."""
    results = raw["results"]
    scores = results["raw"]["test"] if isinstance(results["raw"], dict) else results["raw"]
    total = results["total"]
    scorer = "scandeval" if "scandeval_version" in raw else "euroeval"
    failed = total.get("num_failed_instances")
    return {
        "dataset": raw["dataset"],
        "task": raw["task"],
        "dataset_languages": raw["dataset_languages"] if "dataset_languages" in raw else raw["languages"],
        "model": raw["model"],
        "results": {"raw": {"test": scores}, "total": total},
        "interval": {key: interval(value, total.get(f"{key}_se")) for key, value in total.items() if is_score(key)},
        "num_model_parameters": known(raw.get("num_model_parameters")),
        "max_sequence_length": known(raw.get("max_sequence_length")),
        "vocabulary_size": known(raw.get("vocabulary_size")),
        "generative": raw.get("generative"),
        "few_shot": raw.get("few_shot"),
        "validation_split": raw.get("validation_split"),
        "failed": failed,
        **of_scorer(scorer, raw[f"{scorer}_version"], raw.get("validation_split")),
    }


def from_every_eval_ever(raw: Record) -> Record:
    """A record of versions from 17 on: https://github.com/evaleval/every_eval_ever"""
    library, first = raw["eval_library"], raw["evaluation_results"][0]
    told, of_model = library["additional_details"], raw["model_info"].get("additional_details") or {}
    total: dict[str, Any] = {}
    ends, failed = {}, []
    for result in raw["evaluation_results"]:
        key, details = result["evaluation_name"], result["score_details"]
        uncertain = (details.get("uncertainty") or {}).get("confidence_interval") or {}
        low, high = uncertain.get("lower", math.nan), uncertain.get("upper", math.nan)
        total |= {key: details["score"], f"{key}_se": (high - low) / 2}
        ends[key] = [low, high] if math.isfinite(high - low) else None
        failed.append((details.get("details") or {}).get("num_failed_instances"))
    validation = as_flag(told.get("validation_split"))
    return {
        "dataset": first["source_data"].get("dataset_name") or told["dataset"],
        "task": told["task"],
        "dataset_languages": json.loads(told["languages"]),
        "model": raw["model_info"]["name"],
        "results": {"raw": {"test": json.loads(told.get("raw_results") or "[]")}, "total": total},
        "interval": ends,
        **{name: known(of_model.get(name)) for name in ("num_model_parameters", "max_sequence_length")},
        "vocabulary_size": known(of_model.get("vocabulary_size")),
        "generative": as_flag(of_model.get("generative")),
        "few_shot": as_flag(told.get("few_shot")),
        "validation_split": validation,
        "failed": next((float(number) for number in failed if number is not None), None),
        **of_scorer(library["name"].lower(), library["version"], validation),
    }


def of_scorer(scorer: str, version: str, validation: bool | None) -> Record:
    """What says which numbers may share a curve; of a data set without a validation split, null, it is the test."""
    return {"scorer": scorer, "scorer_version": version, "split": "val" if validation else "test"}


def interval(value: float, half_width: float | None) -> list[float] | None:
    """The ends of a score's 95 % interval; None where one resample has left none."""
    if half_width is None or not math.isfinite(half_width):
        return None
    return [value - half_width, value + half_width]


def known(number: Any) -> int | None:
    """A count of a model; -1 is what both programs say of those that they do not know."""
    return None if number is None or int(number) < 0 else int(number)


def as_flag(text: Any) -> bool | None:
    """ "true" or "false"."""
    return text if text is None or isinstance(text, bool) else {"true": True, "false": False}[text]


def finite(value: Any) -> Any:
    """The same with null for what is NaN or infinite, which is no JSON."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
