"""What the built-in scorer asks, and what its records depend on; `s` are the settings of builtin.py."""

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorer.examples import find_wording
from scorer.kept import Kept
from snakmodel.config import BadInput
from snakmodel.documents import sample_texts
from snakmodel.records import first_difference, missing, shape_of
from snakmodel.tables import as_input, check_there, resolve_revision
from snakmodel.testsets import TestSet, find_testset

if TYPE_CHECKING:
    from scorer.judges import Judges
    from scorer.score import Loaded

# of a test set's description, what scoring uses; the rest is for the search in the corpus
ASKED = ("task", "language", "text", "answer", "options", "id", "split", "judged", "shots", "answer_tokens")
# how summaries are judged; no other set's record depends on it
JUDGES = ("bertscore", "bertscore_layers", "entailment", "entailment_label")


@dataclass
class Asked:
    """A data set, as all models are asked it."""

    folder: str  # of its records, beneath that of a model: held-out-da, tiny-reading, val/tiny-reading
    settings: Any = None  # what its records depend on, beside files: they last while this is as it was
    inputs: dict[str, str | Path] = field(default_factory=dict)  # its files, as inputs of records.begin
    testset: TestSet | None = None  # None: held-out text
    fault: str | None = None  # why no model can be asked it
    texts: list[str] | None = None  # of held-out text, once it is read
    loaded: "Loaded | None" = None  # of a test set, once it is read
    judges: "Judges | None" = None  # of summaries, once they are tried

    @property
    def name(self) -> str:
        return Path(self.folder).name


def find_asked(s: Any, kept: list[Kept]) -> list[Asked]:
    """The held-out texts and test sets of a recipe; records of the validation split lie in a folder `val`.

    A set on the Hub that names no revision is of the commit that it was at for the first record; without records, at
    now. Where that cannot be had, its `fault` says why.
    """
    common = {"resamples": s.resamples, "seed": s.seed}
    how = {"held_out_documents": s.held_out_documents, "window": s.window}
    asked = []
    for language, path in s.held_out.items():
        if not Path(path).is_file():
            raise BadInput(missing(Path(path)))
        asked.append(Asked(f"held-out-{language}", how | common, {f"held_out.{language}": Path(path)}))
    for name in s.testsets:
        testset = find_testset(name, s.own, s.catalogue, "builtin.testsets")
        if testset.task is None:
            raise BadInput(f"builtin.testsets: {name!r} says no task; add task: to its description")
        if name.startswith("held-out-") or name == "val" or not re.fullmatch(r"\w[\w.+-]*", name):
            raise BadInput(f"builtin.testsets: {name!r} is to be a folder's name of its own; call the set otherwise")
        check_there(testset.path, f"test set {name}")
        asked.append(each := Asked(name if s.split == "test" else f"val/{name}"))
        try:
            revision = find_revision(testset, each, kept)
        except BadInput as fault:
            each.fault = str(fault)
            continue
        split = testset.split if s.split == "test" else "val"
        each.testset = replace(testset, revision=revision, split=split)
        describe(each, each.testset, s, common)
    return asked


def ready(asked: list[Asked]) -> list[Asked]:
    """The data sets that models can be asked, as far as is known."""
    return [each for each in asked if each.fault is None]


def find_revision(testset: TestSet, each: Asked, kept: list[Kept]) -> str | None:
    """Of a set on the Hub the commit that it is pinned to, was at for the first record, or is at now."""
    begun = f"{testset.path}@"
    known = (old.record["revision"] for old in kept if old.dataset == each.folder and old.data.startswith(begun))
    return resolve_revision(testset.path, testset.revision or next(known, None), f"test set {each.name}")


def describe(each: Asked, testset: TestSet, s: Any, common: dict[str, int]) -> None:
    """Notes what the records of a test set depend on."""
    wording = find_wording(each.name, testset)
    settings = {name: getattr(testset, name) for name in ASKED}
    settings |= {"wording": wording and asdict(wording), "prompt_window": s.prompt_window}
    data = as_input(testset.path, testset.configuration, testset.split, testset.revision, f"test set {each.name}")
    each.inputs = {f"testsets.{each.name}": data}
    if testset.task == "summary":
        settings |= {name: getattr(s, name) for name in JUDGES}
        each.inputs |= {judge: at for judge in ("bertscore", "entailment") if (at := getattr(s, judge))}
    each.settings = settings | common


def read_asked(s: Any, wanted: list[Asked]) -> None:
    """Reads data sets, and tries the models that judge summaries; what cannot be had is noted as a fault."""
    from scorer.judges import find_judges  # imports torch
    from scorer.score import load_set

    judges: Judges | None = None  # tried once for all sets
    for each in ready(wanted):
        if each.texts is not None or each.loaded is not None:
            continue
        try:
            if each.testset is None:
                (path,) = each.inputs.values()
                each.texts = sample_texts(Path(path), s.held_out_documents)
                continue
            if each.testset.task == "summary":
                judges = judges or find_judges(s.bertscore, s.bertscore_layers, s.entailment, s.entailment_label)
                each.judges = judges
            each.loaded = load_set(each.name, each.testset, s.seed)
        except BadInput as fault:
            each.fault = str(fault)


def refuse_mixtures(kept: list[Kept], shapes: dict[str, dict[str, Any]]) -> None:
    """Refuses to score a data set otherwise than any other model of this run: all of them share curves and tables.

    shapes: a data set's folder -> what its records depend on beside the model (records.shape_of).
    """
    for each in kept:
        inputs = {name: made for name, made in each.record["inputs"].items() if name != "model"}
        if each.dataset in shapes:
            difference = first_difference({"settings": each.record["settings"], "inputs": inputs}, shapes[each.dataset])
            if difference:
                cure = f"score all models again with --overwrite, remove {each.place}, or change run_dir"
                raise BadInput(f"{each.folder} was made with {difference}; {cure}")


def shapes_of(asked: list[Asked]) -> dict[str, dict[str, Any]]:
    """What the records of each data set depend on, beside the model."""
    return {each.folder: shape_of(each.settings, each.inputs) for each in ready(asked)}
