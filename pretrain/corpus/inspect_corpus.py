"""Show random documents that a step of the corpus kept, and that it dropped, by reason.

python pretrain/corpus/inspect_corpus.py --config configs/tiny.yaml [step=deduplicate] [reason="near duplicate"]

count=3 shows three of each reason, source=reddit those of one source, seed=2 others. Only what is shown is read, so it
is as quick on a corpus of any size.
"""

import random
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pretrain.corpus.sieve import counts_path, is_finished, part_pattern, source_of
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import COLUMNS, document_files
from snakmodel.paths import STAGES
from snakmodel.records import read_json
from snakmodel.settings import nearest

KEPT = "kept"  # beside the reasons to drop a document
WIDTH = 100  # columns of the terminal
NO_MEASURES = {"reason", *(name for name, _ in COLUMNS)}


@dataclass
class Settings:
    step: str = knob("filter_language", "step whose documents are shown, by its section of the recipe")
    reason: str | None = knob(None, "show the documents dropped for this reason, or 'kept'; null: some of each")
    source: str | None = knob(None, "show documents of this source; null: of all")
    count: int = knob(5, "documents of each reason", low=1)
    seed: int = knob(1, "of the random choice")
    characters: int = knob(600, "of a text that are shown", low=1)


def main() -> None:
    command = read_command(Settings, "inspect", __doc__)
    settings, run = command.settings, command.run
    folders = {stage.section: run.folder(stage.section) for stage in STAGES if stage.folder}
    folders = {step: folder for step, folder in folders.items() if any(folder.glob("counts/*.json"))}
    if settings.step not in folders:
        there = nearest(settings.step, tuple(folders)) if folders else f"{run.root} holds no documents yet"
        raise BadInput(f"inspect.step: no documents of {settings.step!r}; {there}")
    parts = [path for path in document_files(folders[settings.step]) if is_finished(path)]
    sources = tuple(dict.fromkeys(map(source_of, parts)))
    if settings.source not in (None, *sources):
        raise BadInput(f"inspect.source: no source {settings.source!r}; {nearest(str(settings.source), sources)}")
    reasons = count_reasons([path for path in parts if settings.source in (None, source_of(path))])
    if settings.reason not in (None, *reasons):
        there = ", ".join(f"{reason} ({sum(files.values()):,})" for reason, files in reasons.items())
        raise BadInput(f"inspect.reason: {settings.step} dropped nothing as {settings.reason!r}; there are {there}")
    if command.check:
        return
    for reason in [settings.reason] if settings.reason else reasons:
        total = sum(reasons[reason].values())
        print(f"== {settings.step}, {reason}: {min(settings.count, total):,} of {total:,} documents ==\n")
        for document in sample(reasons[reason], reason, settings.count, settings.seed):
            show(document, folders[settings.step], settings.characters)


def count_reasons(parts: list[Path]) -> dict[str, dict[Path, int]]:
    """For "kept" and every reason, most frequent first, the files that hold such documents and how many each holds."""
    kept, dropped = {}, dict[str, dict[Path, int]]()
    for path in parts:
        counts = read_json(counts_path(path))
        kept[path] = counts["kept"]
        for reason, number in counts["dropped"].items():
            dropped.setdefault(reason, {})[path.parent / "rejects" / path.name] = number
    return {KEPT: kept} | dict(sorted(dropped.items(), key=lambda item: -sum(item[1].values())))


def sample(files: dict[Path, int], reason: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Random documents of a reason, in the order of the corpus; of the texts, only their row groups are read.

    files: those that hold such documents, with how many each holds.
    """
    total = sum(files.values())
    chosen = np.array(sorted(random.Random(f"{seed} {reason}").sample(range(total), min(count, total))), dtype=int)
    start = 0
    for path, number in files.items():
        mine = chosen[(chosen >= start) & (chosen < start + number)] - start
        start += number
        if len(mine):
            yield from read_chosen(path, reason, mine)


def read_chosen(path: Path, reason: str, chosen: np.ndarray) -> Iterator[dict[str, Any]]:
    """The documents of a file that are number so and so (from 0, rising) among those of their reason."""
    start = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            if reason == KEPT:
                rows = np.arange(file.metadata.row_group(group).num_rows)
            else:
                column = file.read_row_group(group, ["reason"])["reason"]
                rows = np.flatnonzero(pc.equal(column, reason))
            mine = chosen[(chosen >= start) & (chosen < start + len(rows))] - start
            start += len(rows)
            if len(mine):
                yield from file.read_row_group(group).take(rows[mine]).to_pylist()


def show(document: dict[str, Any], folder: Path, characters: int) -> None:
    """Prints a document with what was measured of it, and the text that stays in its stead."""
    known = {name: value for name, value in document.items() if name not in NO_MEASURES and value is not None}
    line = "  ".join([document["id"], *(f"{name} {in_words(value)}" for name, value in known.items())])
    print(textwrap.fill(line, WIDTH, subsequent_indent="  "))
    print(f"{shorten(document['text'], characters)}\n")
    if (stays := document.get("duplicate_of")) is not None:
        print(f"  {stays}, which stays:\n{shorten(find_text(folder, stays), characters)}\n")


def in_words(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shorten(text: str, characters: int) -> str:
    """The beginning of a text, indented and wrapped, and how much is cut; what steers a terminal is made visible."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text[:characters].expandtabs(4))
    lines = [part for line in shown.split("\n") for part in textwrap.wrap(line, WIDTH - 4) or [""]]
    if len(text) > characters:
        lines.append(f"[... {len(text) - characters:,} more characters]")
    return textwrap.indent("\n".join(lines), "    ")


def find_text(folder: Path, document_id: str) -> str:
    """The text of the document of this id, among those that a step kept."""
    files = sorted(folder.glob(part_pattern(document_id.rpartition(":")[0])))
    found = pq.read_table(files, columns=["text"], filters=[("id", "==", document_id)])["text"]
    return found[0].as_py() if len(found) else "(not among the documents that this step kept)"


if __name__ == "__main__":
    run_script(main)
