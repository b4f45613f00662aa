"""Drop or mark the documents that hold items of evaluation sets.

python pretrain/corpus/decontaminate.py --config configs/tiny.yaml

A document holds an item when `min_share` of the item's words lie in runs of `ngram` words that both have; case,
punctuation and line breaks do not count. An item of fewer than `ngram` words must stand in it whole.
`contaminated.json` says of each set which items were found, and from which source how many documents went.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from pretrain.corpus.sieve import Judged, folder_before, measures_of, sift, source_of, tally, unfinished
from pretrain.corpus.workers import Workers, run_tasks
from snakmodel.config import knob, read_command, run_script
from snakmodel.documents import DocumentWriter, document_files, read_documents
from snakmodel.ngrams import Index, build_index, load_index
from snakmodel.records import begin, read_json, write_json
from snakmodel.testsets import Search, find_items, find_testsets, read_testsets, summarise, testset_inputs

FOUND = {"testset": pa.string(), "item": pa.string(), "overlap": pa.float64(), "shared": pa.string()}
MARKS = {"contaminated_by": pa.string(), "overlap": pa.float64()}


@dataclass(kw_only=True)
class Settings(Search, Workers):
    reads: str = knob("filter_quality", "the step whose documents it reads")
    mode: Literal["drop", "mark"] = knob("drop", "mark: all stay, with the columns contaminated_by and overlap")


def main() -> None:
    command = read_command(Settings, "decontaminate", __doc__)
    sets = find_testsets(command.settings, "decontaminate")
    command = replace(command, settings=replace(command.settings, own=sets))
    settings, folder = command.settings, command.run.folder("decontaminate")
    corpus = folder_before(command.run, "decontaminate", settings.reads)
    work = begin(command, folder, {"corpus": corpus, **testset_inputs(sets)})
    if work is None:
        return
    if not (folder / "items/sets.json").is_file():
        write_items(settings, folder)
    files = document_files(corpus)
    parts = [folder / path.name for path in files]
    run_tasks(partial(search_part, settings, files, folder), unfinished(parts), folder, settings, "search")
    report = make_report(settings, parts, folder)
    write_json(folder / "contaminated.json", report)
    for name, counts in report.items():
        short = counts["too short to search"]
        print(f"{name}: {counts['found']:,} of {counts['searched']:,} items found; {short:,} too short to search")
    work.finish(counts=tally(parts), revisions=read_json(folder / "items/sets.json"))


def write_items(settings: Settings, folder: Path) -> None:
    """Reads the sets, once: items/items.parquet, items/index.npz, and the sets' revisions, items/sets.json."""
    items, revisions = read_testsets(settings.own)
    with DocumentWriter(folder / "items/items.parquet") as writer:
        for item in items:
            writer.write(item)
    index = build_index([item["text"] for item in items], settings.ngram, settings.min_words)
    index.save(folder / "items/index.npz")
    write_json(folder / "items/sets.json", revisions)


def read_items(folder: Path) -> tuple[list[dict[str, Any]], Index]:
    """What `write_items` wrote."""
    return list(read_documents(folder / "items/items.parquet")), load_index(folder / "items/index.npz")


def search_part(settings: Settings, files: list[Path], folder: Path, number: int) -> None:
    """Searches one part of the corpus."""
    items, index = read_items(folder)
    measures = measures_of(files[number])
    if settings.mode == "mark":
        measures |= MARKS
    judged = judge(files[number], items, index, settings, folder / "found" / f"{files[number].stem}.json")
    sift(folder / files[number].name, judged, measures, FOUND)


def judge(path: Path, items: list[dict[str, Any]], index: Index, settings: Settings, found: Path) -> Judged:
    """Each document with the most complete item in it, if any; `found` tells all items and the documents per set."""
    texts, documents = Counter[tuple[str, str]](), Counter[str]()
    for document, findings in find_items(read_documents(path), items, index, settings.min_share):
        texts.update((finding.testset, finding.item) for finding in findings)
        documents.update({finding.testset for finding in findings})
        reason, remarks = None, {}
        if findings:
            first = findings[0]
            remarks = {**first._asdict(), "contaminated_by": first.testset}
            reason = f"contaminated by {first.testset}" if settings.mode == "drop" else None
        yield {**document, **remarks}, reason
    write_json(found, {"texts": [[*key, count] for key, count in texts.items()], "documents": documents})


def make_report(settings: Settings, parts: list[Path], folder: Path) -> dict[str, Any]:
    """Per set: items, how many were found and in how many documents, and documents by source; from every part's."""
    texts, documents = Counter[tuple[str, str]](), {name: Counter[str]() for name in settings.own}
    for part in parts:
        found = read_json(folder / "found" / f"{part.stem}.json")
        for testset, item, count in found["texts"]:
            texts[testset, item] += count
        for testset, count in found["documents"].items():
            documents[testset][source_of(part)] += count
    sets = summarise(*read_items(folder), settings.min_words, texts)
    return {name: {**counts, "documents": documents[name]} for name, counts in sets.items()}


if __name__ == "__main__":
    from pretrain.corpus.decontaminate import main  # other processes import its functions by this name

    run_script(main)
