"""Where beneath a model's folder its scores lie, a folder a data set, by what a recipe asks of each scorer.

For those who ask what is left to score. What a recipe does not name is as in the settings of the scorer's script.
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

# the paper's data sets, in its order: what scandeval_all.py scores with unless a recipe names others
DANISH = ["scala-da", "dansk", "angry-tweets", "nordjylland-news", "hellaswag-da", "scandiqa-da", "danske-talemaader"]
DANISH += ["danish-citizen-tests"]


def builtin_places(settings: Mapping[str, Any]) -> list[str]:
    """held-out-LANGUAGE, then DATASET of the test split, or val/DATASET."""
    beneath = "val/" if settings.get("split") == "val" else ""
    held_out = [f"held-out-{language}" for language in named(settings.get("held_out"))]
    return held_out + [f"{beneath}{name}" for name in settings.get("testsets") or []]


def scandeval_places(settings: Mapping[str, Any]) -> list[str]:
    """PROGRAM-SPLIT/DATASET, or PROGRAM-SPLIT-zero-shot/DATASET."""
    program, split = PurePath(settings.get("command", "scandeval")).name, settings.get("split", "test")
    kind = f"{program}-{split}{'' if settings.get('few_shot', True) else '-zero-shot'}"
    datasets = named(settings.get("datasets", {"da": DANISH}))
    return [f"{kind}/{name}" for names in datasets.values() for name in names]


def named(entries: Mapping[str, Any] | None) -> dict[str, Any]:
    """A recipe's mapping without what it leaves out, by null, of the recipe that it extends."""
    return {name: entry for name, entry in (entries or {}).items() if entry is not None}
