"""Score each checkpoint of a series without ScandEval: bits per byte of held-out text, and sets of ScandEval's kinds.

python evaluate/builtin.py --config configs/tiny.yaml

A set is asked with examples before each question, as ScandEval does; a tokenizer that carries a chat template is asked
in it. The answer is the option with the largest sum of log p(option's tokens | prompt), or what the model writes,
token by token the likeliest one. Each data set of a step gets a folder with `records.jsonl`, a line in ScandEval's
shape, and `items.parquet`, one item a row: sets come and go without each other, and an interrupted run goes on with
those that are missing. evaluate/README.md tells tasks, metrics, and what ScandEval does otherwise.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError
from scorer.asked import Asked, find_asked, read_asked, ready, refuse_mixtures, shapes_of
from scorer.kept import is_scored, read_kept, throw_away, write_items
from scorer.working_folder import note_fault

from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.paths import BASELINES, PRETRAINED, step_name
from snakmodel.records import begin, only_one, write_jsonl
from snakmodel.series import Checkpoint, choose, find_baselines, read_series
from snakmodel.settings import array_part, share
from snakmodel.testsets import TestSet

# of a model or a set: a device without memory, a chat template that refuses, say; the others go on
FAULTS = (BadInput, RuntimeError, OSError, TemplateError)


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

    def lacking(self, asked: list[Asked]) -> list[Asked]:
        """The data sets of which there is no record, and could be."""
        return [each for each in ready(asked) if not (self.place / each.folder / "run.json").is_file()]


def main() -> None:
    command = read_command(Settings, "builtin", __doc__)
    s, kept = command.settings, read_kept(command.run, "builtin")
    if not s.held_out and not s.testsets:
        raise BadInput("builtin: nothing to score with; give held_out, testsets or both")
    asked = find_asked(s, [] if command.overwrite else kept)
    chosen = find_models(command)
    models = share(chosen, s.part or array_part(), f"{command.config}: builtin")
    if command.overwrite and not command.check:
        for model in models:  # what cannot be had keeps its scores
            note_fault(model.checkpoint)
    replaced = [each.place for each in chosen if command.overwrite and each.checkpoint.fault is None]  # by any share
    refuse_mixtures([each for each in kept if each.place not in replaced], shapes_of(asked))
    for model in models:  # before the first one is loaded
        refuse_changed(command, model, asked)
    if command.overwrite or command.check:  # nothing is thrown away for a set that cannot be read
        read_asked(s, asked)
    if command.overwrite and not command.check:
        had = [model for model in models if model.checkpoint.fault is None]
        old = [model.place / each.folder for model in had for each in ready(asked)]
        throw_away((only_one(model.place) for model in had), old)
    todo = [model for model in models if model.lacking(asked) or command.overwrite]
    for model in models:
        if model not in todo:
            print(f"builtin {model.label}: done ({model.place})", flush=True)
        elif command.check and model.checkpoint.fault is None:
            print(f"builtin {model.label}: ready ({model.place})", flush=True)
    if command.check:
        failures = sum(tell_failure(each.label, fault) for each in todo if (fault := each.checkpoint.fault))
    else:
        if wanted := [each for each in asked if any(model.lacking([each]) for model in todo)]:
            read_asked(s, wanted)
        failures = sum(score_or_tell(command, model, asked) for model in todo)
    failures += sum(tell_failure(each.folder, each.fault) for each in asked if each.fault)
    if failures:
        print("error: not all could be scored; the same command tries again what is missing", file=sys.stderr)
        sys.exit(1)


def find_models(command: Command[Settings]) -> list[Model]:
    """The chosen steps of each series, then the baselines."""
    s, run = command.settings, command.run
    folder, models = run.folder("builtin"), []
    for series in s.series:
        there = read_series(run.series(series), whole=False)  # what has been scored may be deleted
        for each in choose(there, s.steps, f"{command.config}: builtin.steps of {series}"):
            name = step_name(each.step)
            facts = {"series": series, "step": each.step, "tokens": each.row.get("tokens"), "name": None}
            models.append(Model(f"{series} {name}", facts, each, folder / series / name))
    for name, each in find_baselines(s.baselines, command).items():
        facts = {"series": BASELINES, "step": None, "tokens": None, "name": name}
        models.append(Model(f"{BASELINES} {name}", facts, each, folder / BASELINES / name))
    return models


def refuse_changed(command: Command[Settings], model: Model, asked: list[Asked]) -> None:
    """Refuses a model of which there are records that were made when it was another one."""
    for each in ready(asked):
        folder = model.place / each.folder
        gone = model.checkpoint.fault is not None
        if gone and (is_scored(folder, model.checkpoint) or not (folder / "run.json").is_file()):
            continue
        look = replace(command, settings=each.settings, check=True)
        begin(look, folder, {"model": model.checkpoint.source, **each.inputs}, quiet=True)


def tell_failure(what: str, fault: Exception | str) -> int:
    """Tells a failure; one, to be counted."""
    reason = str(fault) if isinstance(fault, (BadInput, str)) else f"{type(fault).__name__}: {fault}".splitlines()[0]
    print(f"failed: {what}: {reason}", file=sys.stderr, flush=True)
    return 1


def score_or_tell(command: Command[Any], model: Model, asked: list[Asked]) -> int:
    """Scores what a model lacks; how many failures it told."""
    try:
        return score_model(command, model, asked)
    except FAULTS as fault:  # it cannot be loaded, or another process is at work on it
        return tell_failure(model.label, fault)


def score_model(command: Command[Any], model: Model, asked: list[Asked]) -> int:
    """Scores what a model lacks, each record written as soon as it is there; how many could not be made."""
    from scorer.record import score_held_out, score_set  # imports torch
    from scorer.score import VERSION

    from snakmodel.models import load_scorer
    from snakmodel.shared_prefix import longest_input

    s, told, failures = command.settings, [], 0
    location = model.checkpoint.pinned
    with only_one(model.place):
        wanted = model.lacking(asked)  # by now
        if not wanted:
            return 0
        scored, tokenizer = load_scorer(location)
        precision = str(scored.dtype).removeprefix("torch.")
        facts = model.facts | {"model": location, "scorer_version": f"{VERSION} {precision}"}
        facts |= {"num_model_parameters": scored.num_parameters(), "vocabulary_size": scored.config.vocab_size}
        facts |= {"max_sequence_length": longest_input(scored)}
        facts |= {"prompts": "chat template" if tokenizer.chat_template else "raw text", "split": s.split}
        facts |= {"validation_split": s.split == "val"}
        for each in wanted:
            about = {"model": model.checkpoint.source, **each.inputs}
            again = replace(command, settings=each.settings, overwrite=False)
            work = begin(again, model.place / each.folder, about, quiet=True)
            assert work is not None, "it is ours alone, and not finished"
            try:
                if each.loaded is None:
                    record, revision = score_held_out(scored, tokenizer, s, each), None
                else:
                    record, items = score_set(scored, tokenizer, s, each)
                    write_items(work.folder / "items.parquet", items)
                    revision = each.loaded.testset.revision
            except FAULTS as fault:
                failures += tell_failure(f"{model.label} {each.folder}", fault)
                continue
            write_jsonl(work.folder / "records.jsonl", [record | facts])
            made = {"items": record["items"], "revision": revision, "scorer_version": facts["scorer_version"]}
            work.finish(device=str(scored.device), **made)
            told.append(f"{each.folder} {record['results']['total']['test_' + record['metric']]:.2f}")
    if told:
        print(f"{model.label}: {', '.join(told)}", flush=True)
    return failures


if __name__ == "__main__":
    run_script(main)
