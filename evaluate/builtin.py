"""Score each checkpoint of a series without ScandEval: bits per byte of held-out text, and multiple-choice tasks.

python evaluate/builtin.py --config configs/tiny.yaml

A task's prediction is the option with the largest sum of log p(option tokens | prompt). Each step gets a folder with
`records.jsonl` (ScandEval's shape, one data set a line) and `items.jsonl` (every document and question).
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scorer.metrics import bits_per_byte_scores, chance_level, classification_scores, resample, summarise
from scorer.tasks import TASKS, Item, option_labels, predictions, read_items

from snakmodel.config import BadInput, knob, nearest, read_command, run_script
from snakmodel.documents import read_documents
from snakmodel.paths import step_name
from snakmodel.records import begin, missing, write_jsonl
from snakmodel.series import Checkpoint, check_weights, choose, read_series

Scored = tuple[list[dict[str, Any]], list[dict[str, Any]]]  # records, items


@dataclass
class Settings:
    # which folders are made, not what is in one: more of them never invalidate those that are there
    series: list[str] = knob(
        ["pretrained"],
        "series to score; tuned ones get the same raw prompts, without their chat template, so that all compare",
        execution=True,
    )
    steps: str = knob("all", "steps to score: all, first, last, numbers or START:STOP:STRIDE", execution=True)
    held_out: dict[str, str] = knob({}, "language -> Parquet file of documents that no training saw")
    held_out_documents: int = knob(300, "most documents of a language, evenly spaced over its file", low=1)
    window: int = knob(512, "tokens that a model reads at once of a long document; at most its training's", low=2)
    tasks: dict[str, str] = knob({}, f"task ({', '.join(TASKS)}) -> its .jsonl file")
    prefix: str = knob("tiny-", "opens the names of the tasks' data sets")
    language: str = knob("da", "language of the tasks")
    resamples: int = knob(10, "bootstrap resamples of a data set's items (ScandEval: 10)", low=2)
    seed: int = knob(4242, "of the resamples (ScandEval's)", low=0)
    batch_tokens: int = knob(4_096, "most tokens in a batch, padding included", low=1, execution=True)
    device: Literal["auto", "cpu", "cuda"] = knob("auto", "auto: cuda where there is one", execution=True)


def main() -> None:
    command = read_command(Settings, "builtin", __doc__)
    settings, run = command.settings, command.run
    files = input_files(settings)
    tasks = {name: read_items(Path(path)) for name, path in settings.tasks.items()}
    documents = {
        language: pick_documents(Path(path), settings.held_out_documents)
        for language, path in settings.held_out.items()
    }
    chosen = [
        (series, checkpoint)
        for series in settings.series
        for checkpoint in choose(read_series(run.series(series)), settings.steps, f"builtin.steps of {series}")
    ]
    for series, checkpoint in chosen:
        folder = run.folder("builtin") / series / step_name(checkpoint.step)
        work = begin(command, folder, {"model": checkpoint.source, **files})
        if work is None:
            continue
        model, tokenizer = load(checkpoint, settings.device)
        records, items = score(model, tokenizer, settings, documents, tasks)
        facts = describe(model, checkpoint, series)
        write_jsonl(folder / "items.jsonl", items)
        write_jsonl(folder / "records.jsonl", [{**record, **facts} for record in records])
        work.finish(device=str(model.device), counts=Counter(item["dataset"] for item in items))
        print(f"{series} {folder.name}: {', '.join(map(headline, records))}", flush=True)


def input_files(settings: Settings) -> dict[str, Path]:
    """The files that a step is scored on, by name; raises BadInput for unknown tasks, missing files or none at all."""
    if not settings.held_out and not settings.tasks:
        raise BadInput("builtin: nothing to score with; give held_out, tasks or both")
    for name in settings.tasks:
        if name not in TASKS:
            raise BadInput(f"builtin.tasks.{name} is not a task; {nearest(name, tuple(TASKS))}")
    files = {f"held_out.{language}": Path(path) for language, path in settings.held_out.items()}
    files |= {f"tasks.{name}": Path(path) for name, path in settings.tasks.items()}
    for path in files.values():
        if not path.is_file():
            raise BadInput(missing(path))
    return files


def pick_documents(path: Path, limit: int) -> list[dict[str, Any]]:
    """At most `limit` documents, evenly spaced over the file, so that each of its sources keeps its share."""
    documents = list(read_documents(path, ["id", "text"]))
    if not any(document["text"] for document in documents):
        raise BadInput(f"{path}: no text in it; held-out text cannot be empty")
    picked = min(limit, len(documents))
    return [documents[index * len(documents) // picked] for index in range(picked)]


def load(checkpoint: Checkpoint, device: str) -> tuple[Any, Any]:
    """Model and tokenizer of a checkpoint: float32 on the CPU, bfloat16 on a GPU."""
    import torch  # takes seconds, and a finished stage says so at once
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if checkpoint.is_local:
        check_weights(Path(checkpoint.location))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint.location, dtype=torch.bfloat16 if device == "cuda" else torch.float32, use_safetensors=True
    )
    return model.eval().to(device), AutoTokenizer.from_pretrained(checkpoint.location)


def score(
    model: Any,
    tokenizer: Any,
    settings: Settings,
    documents: dict[str, list[dict[str, Any]]],
    tasks: dict[str, list[Item]],
) -> Scored:
    """One record a data set, held-out text first, and one row for each document and question."""
    parts = [score_held_out(model, tokenizer, settings, *pair) for pair in documents.items()]
    parts += [score_task(model, tokenizer, settings, *pair) for pair in tasks.items()]
    return [record for records, _ in parts for record in records], [item for _, items in parts for item in items]


def score_held_out(
    model: Any, tokenizer: Any, settings: Settings, language: str, documents: list[dict[str, Any]]
) -> Scored:
    """Bits per byte of one language's held-out documents."""
    from snakmodel.likelihood import document_bits  # imports torch

    texts = [document["text"] for document in documents]
    measured = document_bits(model, tokenizer, texts, settings.window, settings.batch_tokens)
    bits, sizes = (np.array(column) for column in zip(*measured, strict=True))
    raw = bits_per_byte_scores(bits, sizes, resample(len(texts), settings.resamples, settings.seed))
    name = f"held-out-{language}"
    items = [
        {"dataset": name, "id": document["id"], "bits": bits, "bytes": size}
        for document, (bits, size) in zip(documents, measured, strict=True)
    ]
    return [make_record(name, "language-modelling", language, raw, 1.0, "bits_per_byte", None)], items


def score_task(model: Any, tokenizer: Any, settings: Settings, name: str, items: list[Item]) -> Scored:
    """Accuracy, macro-F1 and MCC of one multiple-choice task."""
    from snakmodel.likelihood import option_log_likelihoods  # imports torch

    pairs = [(item.prompt, item.options) for item in items]
    log_likelihoods = option_log_likelihoods(model, tokenizer, pairs, settings.batch_tokens)
    chosen = predictions(log_likelihoods)
    labels = option_labels(items)
    answers = np.array([classes[item.answer] for classes, item in zip(labels, items, strict=True)])
    predicted = np.array([classes[index] for classes, index in zip(labels, chosen, strict=True)])
    raw = classification_scores(answers, predicted, resample(len(items), settings.resamples, settings.seed))
    task, metric = TASKS[name]
    chance = 100 * chance_level(metric, answers, labels)
    dataset = f"{settings.prefix}{name}"
    rows = [
        {"dataset": dataset, "id": item.id, "prediction": index, "answer": item.answer, "log_likelihoods": sums}
        for item, index, sums in zip(items, chosen, log_likelihoods, strict=True)
    ]
    return [make_record(dataset, task, settings.language, raw, 100.0, metric, chance)], rows


def make_record(
    dataset: str, task: str, language: str, raw: list[dict[str, float]], scale: float, metric: str, chance: float | None
) -> dict[str, Any]:
    """A record in the shape of ScandEval up to 13, with our `metric` (primary), `chance` and `interval`."""
    total, interval = summarise(raw, scale)
    return {
        "dataset": dataset,
        "task": task,
        "dataset_languages": [language],
        "results": {"raw": {"test": raw}, "total": total},
        "few_shot": False,
        "validation_split": False,
        "generative": True,
        "scorer": "builtin",
        "metric": metric,
        "chance": chance,
        "interval": interval,
    }


def describe(model: Any, checkpoint: Checkpoint, series: str) -> dict[str, Any]:
    """What a record says about its model."""
    return {
        "model": checkpoint.location,
        "num_model_parameters": model.num_parameters(),
        "max_sequence_length": model.config.max_position_embeddings,
        "vocabulary_size": model.config.vocab_size,
        "series": series,
        "step": checkpoint.step,
        "tokens": checkpoint.row.get("tokens"),
    }


def headline(record: dict[str, Any]) -> str:
    """ "held-out-da 2.41 bits/byte", "tiny-sentiment 40.2": a record in brief."""
    value = record["results"]["total"][f"test_{record['metric']}"]
    if record["metric"] == "bits_per_byte":
        return f"{record['dataset']} {value:.2f} bits/byte"
    return f"{record['dataset']} {value:.1f}"


if __name__ == "__main__":
    run_script(main)
