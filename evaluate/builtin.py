"""Score each checkpoint of a series without ScandEval: bits per byte of held-out text, and sets of ScandEval's kinds.

python evaluate/builtin.py --config configs/tiny.yaml

A set is asked with examples before each question, as ScandEval does; a tokenizer that carries a chat template is asked
in it. The answer is the option with the largest sum of log p(option's tokens | prompt), or what the model writes,
token by token the likeliest one. Each data set of a step gets a folder with `records.jsonl`, a line in ScandEval's
shape, and `items.parquet`, one item a row: sets come and go without each other, and an interrupted run goes on with
those that are missing. evaluate/README.md tells tasks, metrics, and what ScandEval does otherwise.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scorer.asked import ask, describe_inputs, find_sets, refuse_mixtures
from scorer.kept import read_kept, write_items

from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.documents import sample_texts
from snakmodel.paths import BASELINES, PRETRAINED, step_name
from snakmodel.records import begin, only_one, remove_folder, write_jsonl
from snakmodel.series import Checkpoint, choose, find_baselines, read_series
from snakmodel.settings import array_part, share
from snakmodel.testsets import TestSet

if TYPE_CHECKING:
    from scorer.score import Loaded

Asked = dict[str, dict[str, Any]]  # data set's folder -> what its record depends on
Files = dict[str, dict[str, str | Path]]  # data set's folder -> inputs of records.begin
FAULTS = (BadInput, RuntimeError, OSError)  # of a model or a set: a device without memory, say; the others go on


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

    def lacks(self, name: str) -> bool:
        return not (self.place / name / "run.json").is_file()


@dataclass
class Inputs:
    """What all models are scored with, by the names of the data sets' folders."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    sets: dict[str, "Loaded"] = field(default_factory=dict)
    judges: Any = None  # those of summaries
    faults: dict[str, str] = field(default_factory=dict)  # why a data set cannot be scored with


def main() -> None:
    command = read_command(Settings, "builtin", __doc__)
    s, where, kept = command.settings, f"{command.config}: builtin", read_kept(command.run, "builtin")
    if not s.held_out and not s.testsets:
        raise BadInput("builtin: nothing to score with; give held_out, testsets or both")
    inputs = Inputs()
    sets = find_sets(s, [] if command.overwrite else kept, inputs.faults)
    asked, files = ask(s, sets), describe_inputs(s, sets)
    chosen = find_models(command, where)
    models = share(chosen, s.part or array_part(), where)
    replaced = [model.place for model in chosen] if command.overwrite else []  # by other shares, too
    refuse_mixtures([each for each in kept if each.place not in replaced], asked, files)
    for model in models:  # a model that has changed since is refused before the first one is loaded
        for name in asked:
            look = replace(command, settings=asked[name], check=True)
            begin(look, model.place / name, {"model": model.checkpoint.source, **files[name]}, quiet=True)
    if command.overwrite or command.check:  # nothing is thrown away for a set that cannot be read
        read_inputs(s, sets, list(asked), inputs)
    if command.overwrite and not command.check:
        for model in (model for model in models if "fault" not in model.checkpoint.row):
            with only_one(model.place):
                for name in asked.keys() - inputs.faults.keys():
                    remove_folder(model.place / name)
    todo = [model for model in models if any(model.lacks(name) for name in asked)]
    for model in models:
        if command.check or model not in todo:
            done = model not in todo and not command.overwrite
            state = "done" if done else model.checkpoint.row.get("fault", "ready")
            print(f"builtin {model.label}: {state} ({model.place})", flush=True)
    failures = sum("fault" in model.checkpoint.row for model in todo)
    if todo and not command.check:
        read_inputs(s, sets, [name for name in asked if any(model.lacks(name) for model in todo)], inputs)
        failures = sum(score_or_tell(command, model, asked, files, inputs) for model in todo)
    for name, reason in inputs.faults.items():
        failures += tell_failure(name, reason)
    if failures:
        print("error: not all could be scored; the same command tries again what is missing", file=sys.stderr)
        sys.exit(1)


def find_models(command: Command[Settings], where: str) -> list[Model]:
    """The chosen steps of each series, then the baselines."""
    s, run = command.settings, command.run
    folder, models = run.folder("builtin"), []
    for series in s.series:
        for each in choose(read_series(run.series(series)), s.steps, f"{where}.steps of {series}"):
            name = step_name(each.step)
            facts = {"series": series, "step": each.step, "tokens": each.row.get("tokens"), "name": None}
            models.append(Model(f"{series} {name}", facts, each, folder / series / name))
    for name, each in find_baselines(s.baselines, run, f"{where}.baselines", command.overwrite).items():
        facts = {"series": BASELINES, "step": None, "tokens": None, "name": name}
        models.append(Model(f"{BASELINES} {name}", facts, each, folder / BASELINES / name))
    return models


def read_inputs(s: Settings, sets: dict[str, TestSet], wanted: list[str], inputs: Inputs) -> None:
    """Reads the data sets of these folders, and tries the models that judge summaries; what cannot be had is noted."""
    from scorer.judges import Judges, find_judges  # imports torch
    from scorer.score import load_set

    for language, path in s.held_out.items():
        if f"held-out-{language}" in wanted:
            inputs.texts[f"held-out-{language}"] = sample_texts(Path(path), s.held_out_documents)
    judged, inputs.judges = None, inputs.judges or Judges()
    for folder in (folder for folder in sets if folder in wanted and folder not in {**inputs.sets, **inputs.faults}):
        try:
            if sets[folder].task == "summary" and judged is None:
                inputs.judges = judged = find_judges(s.bertscore, s.bertscore_layers, s.entailment, s.entailment_label)
            inputs.sets[folder] = load_set(Path(folder).name, sets[folder], s.seed)
        except BadInput as fault:
            inputs.faults[folder] = str(fault)


def tell_failure(what: str, fault: Exception | str) -> int:
    """Tells a failure; one, to be counted."""
    reason = str(fault) if isinstance(fault, (BadInput, str)) else f"{type(fault).__name__}: {fault}".splitlines()[0]
    print(f"failed: {what}: {reason}", file=sys.stderr, flush=True)
    return 1


def score_or_tell(command: Command[Any], model: Model, asked: Asked, files: Files, inputs: Inputs) -> int:
    """Scores what a model lacks; how many failures it told."""
    try:
        return score_model(command, model, asked, files, inputs)
    except FAULTS as fault:  # it cannot be loaded, or another process is at work on it
        return tell_failure(model.label, fault)


def score_model(command: Command[Any], model: Model, asked: Asked, files: Files, inputs: Inputs) -> int:
    """Scores what a model lacks, each record written as soon as it is there; how many could not be made."""
    from scorer.record import score_held_out, score_set  # imports torch
    from scorer.score import VERSION

    from snakmodel.models import load_scorer

    s, told, failures = command.settings, [], 0
    with only_one(model.place):
        wanted = [name for name in asked if model.lacks(name) and name not in inputs.faults]  # by now
        if not wanted:
            return 0
        location = model.checkpoint.pinned
        scored, tokenizer = load_scorer(location)
        precision = str(scored.dtype).removeprefix("torch.")
        facts = model.facts | {"model": location, "scorer_version": f"{VERSION} {precision}"}
        facts |= {"num_model_parameters": scored.num_parameters(), "vocabulary_size": scored.config.vocab_size}
        facts |= {"max_sequence_length": scored.config.max_position_embeddings}
        facts |= {"prompts": "chat template" if tokenizer.chat_template else "raw text", "split": s.split}
        facts |= {"validation_split": s.split == "val"}
        for name in wanted:
            about = {"model": model.checkpoint.source, **files[name]}
            work = begin(replace(command, settings=asked[name], overwrite=False), model.place / name, about, quiet=True)
            assert work is not None, "it is ours alone, and not finished"
            try:
                if name in inputs.texts:
                    record, revision = score_held_out(scored, tokenizer, s, name, inputs.texts[name]), None
                else:
                    record, items = score_set(scored, tokenizer, s, inputs.sets[name], inputs.judges)
                    write_items(work.folder / "items.parquet", items)
                    revision = inputs.sets[name].testset.revision
            except FAULTS as fault:
                failures += tell_failure(f"{model.label} {name}", fault)
                continue
            write_jsonl(work.folder / "records.jsonl", [record | facts])
            made = {"items": record["items"], "revision": revision, "scorer_version": facts["scorer_version"]}
            work.finish(device=str(scored.device), **made)
            told.append(f"{name} {record['results']['total']['test_' + record['metric']]:.2f}")
    if told:
        print(f"{model.label}: {', '.join(told)}", flush=True)
    return failures


if __name__ == "__main__":
    run_script(main)
