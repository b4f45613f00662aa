"""What the built-in scorer asks, and what its records depend on; `s` are the settings of builtin.py."""

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from scorer.examples import find_wording
from scorer.kept import Kept
from snakmodel.config import BadInput
from snakmodel.records import first_difference, missing, shape_of
from snakmodel.tables import as_input, check_there, resolve_revision
from snakmodel.testsets import TestSet, find_testset

# of a test set's description, what scoring uses; the rest is for the search in the corpus
ASKED = ("task", "language", "text", "answer", "options", "id", "split", "judged", "shots", "answer_tokens")
# how summaries are judged; no other set's record depends on it
JUDGES = ("bertscore", "bertscore_layers", "entailment", "entailment_label")


def find_sets(s: Any, kept: list[Kept], faults: dict[str, str]) -> dict[str, TestSet]:
    """The test sets by the names of their records' folders; those of the validation split lie in a folder `val`.

    On the Hub, a set that names no revision is of the commit that it was at for the first record; without records,
    at now. Where that cannot be had, `faults` says why.
    """
    sets = {}
    for name in s.testsets:
        testset = find_testset(name, s.own, s.catalogue, "builtin.testsets")
        folder = name if s.split == "test" else f"val/{name}"
        if testset.task is None:
            raise BadInput(f"builtin.testsets: {name!r} says no task; add task: to its description")
        if name.startswith("held-out-") or name == "val" or not re.fullmatch(r"\w[\w.+-]*", name):
            raise BadInput(f"builtin.testsets: {name!r} is to be a folder's name of its own; call the set otherwise")
        check_there(testset.path, f"test set {name}")
        if not Path(testset.path).exists():
            begun = f"{testset.path}@"
            known = (each.record for each in kept if each.dataset == folder and each.data.startswith(begun))
            revision = testset.revision or next(known, {"revision": None})["revision"]
            try:
                revision = resolve_revision(testset.path, revision, f"test set {name}")
            except BadInput as fault:
                faults[folder] = str(fault)
                continue
            testset = replace(testset, revision=revision)
        sets[folder] = replace(testset, split=testset.split if s.split == "test" else "val")
    return sets


def ask(s: Any, sets: dict[str, TestSet]) -> dict[str, dict[str, Any]]:
    """What each data set's record depends on, beside files: it lasts while this is as it was."""
    common = {"resamples": s.resamples, "seed": s.seed}
    how = {"held_out_documents": s.held_out_documents, "window": s.window}
    asked: dict[str, dict[str, Any]] = {f"held-out-{language}": how | common for language in s.held_out}
    for folder, testset in sets.items():
        wording = find_wording(Path(folder).name, testset)
        about = {name: getattr(testset, name) for name in ASKED}
        about |= {"wording": wording and asdict(wording), "prompt_window": s.prompt_window}
        if testset.task == "summary":
            about |= {name: getattr(s, name) for name in JUDGES}
        asked[folder] = about | common
    return asked


def describe_inputs(s: Any, sets: dict[str, TestSet]) -> dict[str, dict[str, str | Path]]:
    """The files of each data set, as inputs of records.begin."""
    files: dict[str, dict[str, str | Path]] = {}
    for language, path in s.held_out.items():
        if not Path(path).is_file():
            raise BadInput(missing(Path(path)))
        files[f"held-out-{language}"] = {f"held_out.{language}": Path(path)}
    for folder, testset in sets.items():
        name = Path(folder).name
        data = as_input(testset.path, testset.configuration, testset.split, testset.revision, f"test set {name}")
        files[folder] = {f"testsets.{name}": data}
        if testset.task == "summary":
            files[folder] |= {judge: at for judge in ("bertscore", "entailment") if (at := getattr(s, judge))}
    return files


def refuse_mixtures(kept: list[Kept], asked: dict[str, dict[str, Any]], files: dict[str, dict[str, Any]]) -> None:
    """Refuses to score a data set otherwise than any other model of this run: all of them share curves and tables."""
    shapes = {name: shape_of(settings, files[name]) for name, settings in asked.items()}
    for each in kept:
        inputs = {name: made for name, made in each.record["inputs"].items() if name != "model"}
        if each.dataset in shapes:
            difference = first_difference({"settings": each.record["settings"], "inputs": inputs}, shapes[each.dataset])
            if difference:
                cure = "score all models again with --overwrite, or change run_dir"
                raise BadInput(f"{each.folder} was made with {difference}; {cure}")
