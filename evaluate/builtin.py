"""Score each checkpoint of a series without ScandEval: bits per byte of held-out text, and sets of ScandEval's kinds.

python evaluate/builtin.py --config configs/tiny.yaml

A set is asked with examples before each question, as ScandEval does; a tokenizer that carries a chat template is asked
in it. The answer is the option with the largest sum of log p(option's tokens | prompt), or what the model writes,
token by token the likeliest one. Each data set of a step gets a folder with `records.jsonl`, a line in ScandEval's
shape, and `items.parquet`, one item a row: sets come and go without each other, and an interrupted run goes on with
those that are missing. evaluate/README.md tells tasks, metrics, and what ScandEval does otherwise.
"""

import hashlib
import re
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scorer.kept import write_items

from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.documents import sample_texts
from snakmodel.paths import BASELINES, PRETRAINED, step_name
from snakmodel.records import Work, begin, missing, only_one, write_jsonl
from snakmodel.series import Checkpoint, choose, find_baselines, read_series
from snakmodel.settings import array_part, share
from snakmodel.tables import as_input
from snakmodel.testsets import TestSet, find_testset

if TYPE_CHECKING:
    from scorer.judges import Judges
    from scorer.score import Loaded, Measured

# what says how summaries are judged; no other set's record depends on it
JUDGES = ("bertscore", "bertscore_layers", "entailment", "entailment_label")


@dataclass
class Settings:
    # which folders are made, not what is in one: more of them never invalidate those that are there
    series: list[str] = knob([PRETRAINED], "series to score; tuned ones are asked in their own format", execution=True)
    steps: str = knob("all", "steps to score: all, first, last, numbers or START:STOP:STRIDE", execution=True)
    baselines: dict[str, str] = knob(
        {}, "models beside the series: name -> folder, or ORG/NAME@REVISION", execution=True
    )
    held_out: dict[str, str] = knob({}, "language -> Parquet file of documents that no training saw")
    held_out_documents: int = knob(300, "most documents of a language, evenly spaced over its file", low=1)
    window: int = knob(512, "tokens that a model reads at once of a long document; at most its training's", low=2)
    prompt_window: int | None = knob(
        None,
        "most tokens of a prompt with its answer; examples that it has no room for go; null: all that a model reads",
        low=16,
    )
    testsets: list[str] = knob([], "names of the sets to score with, each with a record of its own")
    own: dict[str, TestSet] = knob({}, "test sets described in the recipe itself; they win over the catalogue's")
    # the sets that are used count as inputs, so the catalogue may change elsewhere
    catalogue: str = knob("configs/testsets.yaml", "YAML file: name -> test set", execution=True)
    split: Literal["test", "val"] = knob("test", "test: that of each set; val: the validation split, as the paper")
    bertscore: str | None = knob(
        None, "model of summaries' BERTScore: a folder, or ORG/NAME@COMMIT; null: not measured, ROUGE-L stands for them"
    )
    bertscore_layers: int | None = knob(None, "layers of it; null: bert-score's choice for ORG/NAME", low=1)
    entailment: str | None = knob(
        None, "model that says whether a summary follows from its text: a folder, or ORG/NAME@COMMIT; null: not asked"
    )
    entailment_label: str = knob("entailment", "the name of that class among the model's labels")
    resamples: int = knob(10, "bootstrap resamples of a data set's items (ScandEval: 10)", low=2)
    seed: int = knob(4242, "of the resamples and of the examples in prompts (ScandEval's)", low=0)
    part: str = knob("", "the share that this process scores, as 2/4; else that of a Slurm array's job", execution=True)
    batch_tokens: int = knob(
        4_096, "most tokens in a batch, shared ones, padding and answers included", low=1, execution=True
    )


@dataclass
class Model:
    """What is to be scored of a model."""

    label: str
    facts: dict[str, Any]  # of every record
    checkpoint: Checkpoint
    place: Path  # its folder, with one for each data set
    works: dict[str, Work] = field(default_factory=dict)  # of the data sets that were not finished

    @property
    def missing(self) -> list[str]:
        return [name for name in self.works if not (self.place / name / "run.json").is_file()]


@dataclass
class Inputs:
    """What all models are scored with."""

    texts: dict[str, list[str]]  # data set's name -> held-out documents
    sets: dict[str, "Loaded"]
    judges: "Judges"


def main() -> None:
    command = read_command(Settings, "builtin", __doc__)
    s, where = command.settings, f"{command.config}: builtin"
    if not s.held_out and not s.testsets:
        raise BadInput("builtin: nothing to score with; give held_out, testsets or both")
    sets = {name: find_testset(name, s.own, s.catalogue, "builtin.testsets") for name in s.testsets}
    alone, files = ask_alone(s, sets), describe_inputs(s, sets)
    models = share(find_models(command, where), s.part or array_part(), where)
    # what is to be replaced is not thrown away for sets that cannot be read
    inputs = read_inputs(s, sets, list(alone)) if command.overwrite or command.check else None
    for model in models:  # other settings than those of any record are refused before the first model is loaded
        for name, asked in alone.items():
            one = replace(command, settings=asked)
            work = begin(one, model.place / name, {"model": model.checkpoint.source, **files[name]}, quiet=True)
            if work is not None:
                model.works[name] = work
        if not model.works:
            done = all((model.place / name / "run.json").is_file() for name in alone)
            print(f"builtin {model.label}: {'done' if done else 'ready'} ({model.place})", flush=True)
    todo = [model for model in models if model.works]
    if not todo:
        return
    inputs = inputs or read_inputs(s, sets, [name for name in alone if any(name in model.works for model in todo)])
    failures = 0
    for model in todo:
        try:
            with only_one(model.place):
                score_model(s, model, inputs)
        except BadInput as fault:  # a diverged step, say: the others can be scored all the same
            print(f"failed: {model.label}: {fault}", file=sys.stderr, flush=True)
            failures += 1
    if failures:
        print(f"error: {failures} of {len(todo)} models failed; the same command tries them again", file=sys.stderr)
        sys.exit(1)


def ask_alone(s: Settings, sets: dict[str, TestSet]) -> dict[str, Settings]:
    """Data set's name -> the settings that ask for it alone: its record lasts while these are as they were."""
    common: dict[str, Any] = {name: getattr(s, name) for name in ("resamples", "seed", "batch_tokens")}
    found = {}
    for language, path in s.held_out.items():
        alone = Settings(held_out={language: path}, held_out_documents=s.held_out_documents, window=s.window, **common)
        found[f"held-out-{language}"] = alone
    for name, testset in sets.items():
        if name in found or not re.fullmatch(r"\w[\w.+-]*", name):
            raise BadInput(f"builtin.testsets: {name!r} is to be a folder's name of its own; call the set otherwise")
        judges: dict[str, Any] = {each: getattr(s, each) for each in JUDGES} if testset.task == "summary" else {}
        how = {"split": s.split, "prompt_window": s.prompt_window} | judges | common
        found[name] = Settings(testsets=[name], own={name: testset}, **how)
    return found


def find_models(command: Command[Settings], where: str) -> list[Model]:
    """The chosen steps of each series, then the baselines."""
    s, run = command.settings, command.run
    folder, models = run.folder("builtin"), []
    for series in s.series:
        for each in choose(read_series(run.series(series)), s.steps, f"{where}.steps of {series}"):
            name = step_name(each.step)
            facts = {"series": series, "step": each.step, "tokens": each.row.get("tokens"), "name": None}
            models.append(Model(f"{series} {name}", facts, each, folder / series / name))
    for name, each in find_baselines(s.baselines, folder / BASELINES, f"{where}.baselines").items():
        facts = {"series": BASELINES, "step": None, "tokens": None, "name": name}
        models.append(Model(f"{BASELINES} {name}", facts, each, folder / BASELINES / name))
    return models


def describe_inputs(s: Settings, sets: dict[str, TestSet]) -> dict[str, dict[str, str | Path]]:
    """Of each data set its file, and what is asked of it, as inputs of records.begin."""
    from scorer.examples import find_wording

    files: dict[str, dict[str, str | Path]] = {}
    for language, path in s.held_out.items():
        if not Path(path).is_file():
            raise BadInput(missing(Path(path)))
        files[f"held-out-{language}"] = {f"held_out.{language}": Path(path)}
    for name, testset in sets.items():
        if testset.task is None:
            raise BadInput(f"builtin.testsets: {name!r} says no task; add task: to its description")
        label = f"test set {name}"
        data = as_input(testset.path, testset.configuration, testset.split, testset.revision, label)
        wording = find_wording(name, testset)
        asked = [testset.task, testset.language, testset.shots, testset.answer_tokens, testset.judged]
        asked.append(wording and asdict(wording))
        digest = hashlib.sha256(repr(asked).encode()).hexdigest()
        files[name] = {f"testsets.{name}": data, f"wording.{name}": digest}
        if testset.task == "summary":
            files[name] |= {judge: at for judge in ("bertscore", "entailment") if (at := getattr(s, judge))}
    return files


def read_inputs(s: Settings, sets: dict[str, TestSet], wanted: list[str]) -> Inputs:
    """Reads the data sets of these names, and finds the models that judge summaries."""
    from scorer.judges import Judges, find_judges  # imports torch
    from scorer.score import load_set

    names = {f"held-out-{language}": Path(path) for language, path in s.held_out.items()}
    texts = {name: sample_texts(path, s.held_out_documents) for name, path in names.items() if name in wanted}
    loaded = {
        name: load_set(name, testset, "val" if s.split == "val" else testset.split, s.seed)
        for name, testset in sets.items()
        if name in wanted
    }
    judged = any(sets[name].task == "summary" for name in loaded)
    judges = find_judges(s.bertscore, s.bertscore_layers, s.entailment, s.entailment_label) if judged else Judges()
    return Inputs(texts, loaded, judges)


def score_model(s: Settings, model: Model, inputs: Inputs) -> None:
    """Writes records and items of the data sets that a model lacks, each as soon as it is scored."""
    from scorer.score import VERSION  # imports torch

    from snakmodel.models import load_scorer

    wanted = model.missing  # another process may have scored some since
    if not wanted:
        return
    scored, tokenizer = load_scorer(model.checkpoint.pinned)
    longest = scored.config.max_position_embeddings
    precision = str(scored.dtype).removeprefix("torch.")
    facts = model.facts | {"model": model.checkpoint.pinned, "scorer_version": f"{VERSION} {precision}"}
    facts |= {"num_model_parameters": scored.num_parameters(), "max_sequence_length": longest}
    facts |= {"vocabulary_size": scored.config.vocab_size, "split": s.split, "validation_split": s.split == "val"}
    facts |= {"prompts": "chat template" if tokenizer.chat_template else "raw text"}
    told = []
    for name in wanted:
        work = model.works[name]
        work.clock = time.monotonic()
        if name in inputs.texts:
            record, revision = score_held_out(scored, tokenizer, s, name, inputs.texts[name]), None
        else:
            record, items = score_set(scored, tokenizer, s, inputs.sets[name], inputs.judges)
            write_items(work.folder / "items.parquet", items)
            revision = inputs.sets[name].testset.revision
        write_jsonl(work.folder / "records.jsonl", [record | facts])
        work.finish(device=str(scored.device), items=record["items"], revision=revision, scorer=facts["scorer_version"])
        told.append(f"{name} {record['results']['total']['test_' + record['metric']]:.2f}")
    print(f"{model.label}: {', '.join(told)}", flush=True)


def score_held_out(model: Any, tokenizer: Any, s: Settings, name: str, texts: list[str]) -> dict[str, Any]:
    """The record of one language's held-out documents: bits per byte."""
    from scorer.metrics import resample

    from snakmodel.likelihood import document_bits
    from snakmodel.shared_prefix import check_length

    check_length(model, s.window)
    measured = document_bits(model, tokenizer, texts, s.window, s.batch_tokens)
    bits, sizes = np.array(measured)[resample(len(texts), s.resamples, s.seed)].sum(1).T
    raw = [{"bits_per_byte": value} for value in (bits / sizes).tolist()]
    record = make_record(name, "language-modelling", name.removeprefix("held-out-"), raw, "bits_per_byte", None)
    return record | {"few_shot": False, "items": len(texts), "failed": None}


def score_set(
    model: Any, tokenizer: Any, s: Settings, loaded: "Loaded", judges: "Judges"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record of one set, and its items."""
    from scorer.metrics import resample  # imports scikit-learn
    from scorer.score import answer, measure

    longest = model.config.max_position_embeddings
    window = min(s.prompt_window or longest, longest)
    answered = answer(model, tokenizer, loaded, window, s.batch_tokens)
    measured = measure(loaded, answered, resample(len(loaded.examples), s.resamples, s.seed), judges)
    return task_record(loaded, measured, s) | {"prompt_window": window}, measured.items


def task_record(loaded: "Loaded", measured: "Measured", s: Settings) -> dict[str, Any]:
    """The record of one set: its measures, and how many examples its prompts had room for."""
    from scorer.score import TASKS

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
    """A record in the shape of ScandEval up to 13, with our `metric` (primary), `chance` and `interval`."""
    from scorer.metrics import summarise

    total, interval = summarise(raw, scale=1 if metric == "bits_per_byte" else 100)
    results = {"results": {"raw": {"test": raw}, "total": total}, "interval": interval, "chance": chance}
    how = {"generative": True, "scorer": "builtin"}
    return {"dataset": dataset, "task": task, "dataset_languages": [language], "metric": metric, **results, **how}


if __name__ == "__main__":
    run_script(main)
