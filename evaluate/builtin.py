"""Score each checkpoint of a series without ScandEval: bits per byte of held-out text, and sets of ScandEval's kinds.

python evaluate/builtin.py --config configs/tiny.yaml

A set is asked with examples before each question, as ScandEval does; a tokenizer that carries a chat template is asked
in it. The answer is the option with the largest sum of log p(option's tokens | prompt), or what the model writes,
token by token the likeliest one. Each step gets a folder with `records.jsonl`, one data set a line in ScandEval's
shape, and `items.parquet`, one item a row. evaluate/README.md tells tasks, metrics, and what ScandEval does otherwise.
"""

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.documents import sample_texts
from snakmodel.paths import BASELINES, PRETRAINED, step_name
from snakmodel.records import begin, missing, write_beside, write_jsonl
from snakmodel.series import Checkpoint, choose, read_series, resolve_model
from snakmodel.tables import as_input
from snakmodel.testsets import TestSet, find_testset

if TYPE_CHECKING:
    from scorer.score import Loaded, Measured


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
    testsets: list[str] = knob([], "names of the sets to score with")
    own: dict[str, TestSet] = knob({}, "test sets described in the recipe itself; they win over the catalogue's")
    # the sets that are used count as inputs, so the catalogue may change elsewhere
    catalogue: str = knob("configs/testsets.yaml", "YAML file: name -> test set", execution=True)
    split: Literal["test", "val"] = knob("test", "test: that of each set; val: the validation split, as the paper")
    bertscore: str | None = knob(
        None, "model of summaries' BERTScore: a folder, or ORG/NAME@COMMIT; null: not measured, ROUGE-L stands for them"
    )
    bertscore_layers: int | None = knob(None, "layers of it; null: bert-score's choice for ORG/NAME", low=1)
    resamples: int = knob(10, "bootstrap resamples of a data set's items (ScandEval: 10)", low=2)
    seed: int = knob(4242, "of the resamples and of the examples in prompts (ScandEval's)", low=0)
    batch_tokens: int = knob(
        4_096, "most tokens in a batch, shared ones, padding and answers included", low=1, execution=True
    )


class Inputs:
    """What all models are scored with; read when the first of them is."""

    def __init__(self, s: Settings, sets: dict[str, TestSet]) -> None:
        from scorer.score import bert_model, load_set  # imports torch

        texts = {language: sample_texts(Path(path), s.held_out_documents) for language, path in s.held_out.items()}
        self.texts: dict[str, list[str]] = texts
        self.sets: list[Loaded] = [
            load_set(name, testset, "val" if s.split == "val" else testset.split, s.seed)
            for name, testset in sets.items()
        ]
        self.bert = bert_model(s.bertscore, s.bertscore_layers) if s.bertscore else None


def main() -> None:
    command = read_command(Settings, "builtin", __doc__)
    s, run = command.settings, command.run
    if not s.held_out and not s.testsets:
        raise BadInput("builtin: nothing to score with; give held_out, testsets or both")
    sets = {name: find_testset(name, s.own, s.catalogue, "builtin.testsets") for name in s.testsets}
    chosen = {name: choose(read_series(run.series(name)), s.steps, f"builtin.steps of {name}") for name in s.series}
    places = [(series, step_name(each.step), each) for series, steps in chosen.items() for each in steps]
    places += [(BASELINES, name, Checkpoint(0, baseline(name, at), {})) for name, at in s.baselines.items()]
    files = describe_inputs(s, sets)
    # what is to be replaced is not thrown away for sets that cannot be read
    inputs = Inputs(s, sets) if command.overwrite or command.check else None
    for series, name, checkpoint in places:
        work = begin(command, run.folder("builtin") / series / name, {"model": checkpoint.source, **files})
        if work is None:
            continue
        inputs = inputs or Inputs(s, sets)
        facts = {"series": series, "step": checkpoint.step, "tokens": checkpoint.row.get("tokens"), "name": None}
        if series == BASELINES:
            facts |= {"step": None, "name": name}
        found = score_model(command, work.folder, checkpoint.location, facts, inputs)
        work.finish(**found)


def baseline(name: str, location: str) -> str:
    """Where a baseline lies; its name is a folder's."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise BadInput(f"builtin.baselines: {name!r} should be a name of letters, digits, dots and dashes")
    return resolve_model(location)


def describe_inputs(s: Settings, sets: dict[str, TestSet]) -> dict[str, str | Path]:
    """Files, and what is asked of each set, as inputs of records.begin."""
    from scorer.examples import find_wording

    files: dict[str, str | Path] = {f"held_out.{language}": Path(path) for language, path in s.held_out.items()}
    for path in s.held_out.values():
        if not Path(path).is_file():
            raise BadInput(missing(Path(path)))
    for name, testset in sets.items():
        if testset.task is None:
            raise BadInput(f"builtin.testsets: {name!r} says no task; add task: to its description")
        label = f"test set {name}"
        files[f"testsets.{name}"] = as_input(
            testset.path, testset.configuration, testset.split, testset.revision, label
        )
        wording = find_wording(name, testset)
        asked = [testset.task, testset.language, testset.shots, testset.answer_tokens, wording and asdict(wording)]
        files[f"wording.{name}"] = hashlib.sha256(repr(asked).encode()).hexdigest()
    return files


def score_model(
    command: Command[Settings], folder: Path, location: str, facts: dict[str, Any], inputs: Inputs
) -> dict[str, Any]:
    """Writes the records and items of one model; what its run.json says besides."""
    from scorer.metrics import resample  # imports scikit-learn
    from scorer.score import answer, measure  # and torch

    from snakmodel.models import load_scorer

    s = command.settings
    model, tokenizer = load_scorer(location)
    facts = facts | {"model": location, "num_model_parameters": model.num_parameters()}
    facts |= {"max_sequence_length": model.config.max_position_embeddings, "vocabulary_size": model.config.vocab_size}
    facts |= {"prompts": "chat template" if tokenizer.chat_template else "raw text", "split": s.split}
    facts |= {"validation_split": s.split == "val"}
    records = [score_held_out(model, tokenizer, s, *pair) for pair in inputs.texts.items()]
    items: list[dict[str, Any]] = []
    window = min(s.prompt_window or model.config.max_position_embeddings, model.config.max_position_embeddings)
    for loaded in inputs.sets:
        answered = answer(model, tokenizer, loaded, window, s.batch_tokens)
        measured = measure(loaded, answered, resample(len(loaded.examples), s.resamples, s.seed), inputs.bert)
        records.append(task_record(loaded, measured, s))
        items += measured.items
    write_items(folder / "items.parquet", items)
    write_jsonl(folder / "records.jsonl", [record | facts for record in records])
    brief = [f"{r['dataset']} {r['results']['total']['test_' + r['metric']]:.2f}" for r in records]
    print(f"{facts['series']} {folder.name}: {', '.join(brief)}", flush=True)
    counts = {language: len(texts) for language, texts in inputs.texts.items()}
    counts |= {loaded.name: len(loaded.examples) for loaded in inputs.sets}
    revisions = {loaded.name: loaded.testset.revision for loaded in inputs.sets}
    return {"device": str(model.device), "counts": counts, "revisions": revisions}


def score_held_out(model: Any, tokenizer: Any, s: Settings, language: str, texts: list[str]) -> dict[str, Any]:
    """The record of one language's held-out documents: bits per byte."""
    from scorer.metrics import resample

    from snakmodel.likelihood import document_bits

    measured = document_bits(model, tokenizer, texts, s.window, s.batch_tokens)
    bits, sizes = np.array(measured)[resample(len(texts), s.resamples, s.seed)].sum(1).T
    raw = [{"bits_per_byte": value} for value in (bits / sizes).tolist()]
    record = make_record(f"held-out-{language}", "language-modelling", language, raw, "bits_per_byte", None)
    return record | {"few_shot": False, "items": len(texts), "failed": None}


def task_record(loaded: "Loaded", measured: "Measured", s: Settings) -> dict[str, Any]:
    """The record of one set: its measures, and how many examples its prompts had room for."""
    from scorer.score import TASKS

    name, testset = loaded.name, loaded.testset
    task = TASKS[str(testset.task)][0]
    record = make_record(name, task, testset.language, measured.raw, measured.metric, measured.chance)
    asked, used = len(loaded.shots), sum(measured.shots) / len(measured.shots)
    how = {"few_shot": asked > 0, "shots": {"drawn": asked, "mean": used}, "items_cut": measured.cut}
    bert = {"bertscore_model": s.bertscore} if measured.metric == "bertscore" else {}
    human = {"human": dict(zip(("rated", "accepted"), loaded.human, strict=True))} if loaded.human else {}
    return record | how | bert | human | {"items": len(loaded.examples), "failed": measured.failed}


def make_record(
    dataset: str, task: str, language: str, raw: list[dict[str, float]], metric: str, chance: float | None
) -> dict[str, Any]:
    """A record in the shape of ScandEval up to 13, with our `metric` (primary), `chance` and `interval`."""
    from scorer.metrics import summarise
    from scorer.score import VERSION

    total, interval = summarise(raw, scale=1 if metric == "bits_per_byte" else 100)
    results = {"results": {"raw": {"test": raw}, "total": total}, "interval": interval, "chance": chance}
    how = {"generative": True, "scorer": "builtin", "scorer_version": VERSION}
    return {"dataset": dataset, "task": task, "dataset_languages": [language], "metric": metric, **results, **how}


def write_items(path: Path, items: list[dict[str, Any]]) -> None:
    """One item a row: what was answered, what is right, its score from 0 to 1, and a choice's margin in nats."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [(name, pa.string()) for name in ("dataset", "item", "prediction", "answer")]
    schema = pa.schema([*texts, ("score", pa.float64()), ("margin", pa.float64())])
    with write_beside(path) as temporary:
        pq.write_table(pa.Table.from_pylist(items, schema=schema), temporary)


if __name__ == "__main__":
    run_script(main)
