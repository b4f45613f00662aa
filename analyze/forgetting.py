"""Measure what each step of a series has gained and lost: bits per byte of held-out text, by language and by source.

python analyze/forgetting.py --config configs/tiny.yaml

Every step reads the same documents; a step's folder keeps the bits of each. analysis/forgetting.json has all steps that
are measured, with 95 % intervals; forgetting.md and .txt beside the steps are the table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.documents import evenly, read_documents
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.printed_tables import to_markdown, to_text
from snakmodel.records import begin, is_current, write_beside, write_json, write_text
from snakmodel.series import Checkpoint, choose, read_series
from snakmodel.tables import column, read_rows

FIRST = "first"
Row = dict[str, Any]


@dataclass
class Settings:
    texts: dict[str, str] = knob(help="language -> file of held-out text: Parquet or JSON lines, with text and source")
    # which folders are made, and how they are compared; not what is in one
    series: list[str] = knob(
        [PRETRAINED], "series to measure: pretrained, tuned variants, hub:ORG/NAME", execution=True
    )
    steps: str = knob("all", "steps to measure: all, first, last, numbers or START:STOP:STRIDE", execution=True)
    against: str = knob(
        FIRST,
        "what a change is counted from: first, a series' own first step; or a series: its same step",
        execution=True,
    )
    resamples: int = knob(2_000, "bootstrap resamples of the documents", low=100, execution=True)
    seed: int = knob(8446, "of the resamples", low=0, execution=True)
    documents: int = knob(300, "most documents of a source, evenly spaced over its own", low=2)
    window: int = knob(512, "tokens that a model reads at once of a long document; at most its training's", low=2)
    batch_tokens: int = knob(4_096, "most tokens in a batch, padding included", low=1, execution=True)


def main() -> None:
    command = read_command(Settings, "forgetting", __doc__)
    s, run, section = command.settings, command.run, command.run.folder("forgetting")
    if not s.texts:
        raise BadInput(f"{command.config}: forgetting.texts names no text; give da: FILE.parquet, say")
    series = {name: read_series(run.series(name)) for name in s.series}
    if s.against != FIRST:
        read_series(run.series(s.against))
    # what is to be replaced is not thrown away for text that cannot be read
    texts = read_all(s) if command.overwrite or command.check else []
    for name, checkpoints in series.items():
        chosen = choose(checkpoints, s.steps, f"{command.config}: forgetting.steps")
        if s.against == FIRST and checkpoints[0] not in chosen:
            chosen.insert(0, checkpoints[0])
        for checkpoint in chosen:
            folder = section / name / step_name(checkpoint.step)
            work = begin(command, folder, inputs_of(checkpoint, s))
            if work is None:
                continue
            texts = texts or read_all(s)
            rows = measure(checkpoint, texts, s)
            with write_beside(folder / "documents.parquet") as temporary:
                pq.write_table(pa.Table.from_pylist(rows), temporary)
            work.finish(counts={"documents": len(rows)})
            print(f"{name} {folder.name}: {brief(rows)}", flush=True)
    if not command.check:
        names = dict.fromkeys([*s.series, *(path.parent.name for path in sorted(section.glob("*/step-*")))])
        there = [name for name in names if name in series or (run.series(name) / "series.json").is_file()]
        write_ledger(command, {name: series.get(name) or read_series(run.series(name)) for name in there})


def inputs_of(checkpoint: Checkpoint, s: Settings) -> dict[str, str | Path]:
    """What a step's folder is made from."""
    return {"model": checkpoint.source, **{f"texts.{language}": Path(path) for language, path in s.texts.items()}}


def read_all(s: Settings) -> list[Row]:
    """The documents that every step reads."""
    return [row for pair in s.texts.items() for row in read_texts(*pair, s.documents)]


def read_texts(language: str, path: str, most: int) -> list[Row]:
    """At most so many documents of each source of a file, evenly spaced over the source's own."""
    label = f"forgetting.texts.{language}"
    rows = read_documents(Path(path)) if path.endswith(".parquet") else read_rows(path, None, "train", None, label)
    sources: dict[str, list[Row]] = {}
    for number, row in enumerate(rows):
        text, source = column(row, "text", label), str(row.get("source") or Path(path).stem)
        if not isinstance(text, str | None):
            raise BadInput(f"{label}: {path}, row {number + 1}: text should be text, got {text!r}")
        if text and text.strip():
            row = {"language": language, "source": source, "id": str(row.get("id", number)), "text": text}
            sources.setdefault(source, []).append(row)
    if not sources:
        raise BadInput(f"{label}: {path} holds no text")
    return [document for documents in sources.values() for document in evenly(documents, most)]


def measure(checkpoint: Checkpoint, texts: list[Row], s: Settings) -> list[Row]:
    """Bits and bytes of each document under one step."""
    from snakmodel.likelihood import document_bits  # late: torch takes seconds, and finished steps say so at once
    from snakmodel.models import load_scorer

    model, tokenizer = load_scorer(checkpoint.location)
    measured = document_bits(model, tokenizer, [row["text"] for row in texts], s.window, s.batch_tokens)
    names = ("language", "source", "id")
    return [
        {name: row[name] for name in names} | {"bytes": size, "bits": bits}
        for row, (bits, size) in zip(texts, measured, strict=True)
    ]


def brief(rows: list[Row]) -> str:
    """ "da 1.234, en 2.345 bits per byte"."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        pair = sums.setdefault(row["language"], [0.0, 0.0])
        pair[0] += row["bits"]
        pair[1] += row["bytes"]
    return ", ".join(f"{language} {bits / size:.3f}" for language, (bits, size) in sums.items()) + " bits per byte"


def write_ledger(command: Command[Settings], series: dict[str, list[Checkpoint]]) -> None:
    """All steps that are measured, each with its change, as JSON, Markdown and text."""
    from analyze.gains import ledger_rows, sources_table, steps_table

    s, section = command.settings, command.run.folder("forgetting")
    rows = []
    for what, folders in measured_pairs(command, series):
        now, before = (pq.read_table(folder / "documents.parquet").to_pylist() for folder in folders)
        rows += [what | row for row in ledger_rows(now, before, s.resamples, s.seed)]
    write_json(section.with_suffix(".json"), {"rows": rows})
    for suffix, to_table in ((".md", to_markdown), (".txt", to_text)):
        tables = [to_table(*table(rows), names=4) for table in (steps_table, sources_table)]
        write_text(section / f"forgetting{suffix}", "\n".join(tables))


def measured_pairs(command: Command[Settings], series: dict[str, list[Checkpoint]]) -> Iterator[tuple[Row, list[Path]]]:
    """Every measured step of each series, and the folders of it and of the step that it is compared with."""
    s, section = command.settings, command.run.folder("forgetting")
    for name, checkpoints in series.items():
        reference = name if s.against == FIRST else s.against
        there = {checkpoint.step: checkpoint for checkpoint in read_series(command.run.series(reference))}
        for checkpoint in checkpoints:
            step = min(there) if s.against == FIRST else checkpoint.step
            if not is_measured(section, name, checkpoint, s):
                continue
            if step not in there or not is_measured(section, reference, there[step], s):
                print(
                    f"{name} step {checkpoint.step}: left out, step {step} of {reference} is not measured", flush=True
                )
                continue
            what = {"series": name, "step": checkpoint.step, "tokens": checkpoint.row.get("tokens")}
            folders = [section / name / step_name(checkpoint.step), section / reference / step_name(step)]
            yield what | {"against": f"{reference} {step}"}, folders


def is_measured(section: Path, name: str, checkpoint: Checkpoint, s: Settings) -> bool:
    """Whether a step's folder is finished, and made with these settings of the model that the series has now."""
    return is_current(section / name / step_name(checkpoint.step), inputs_of(checkpoint, s), s)


if __name__ == "__main__":
    run_script(main)
