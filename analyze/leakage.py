"""Look for the items of evaluation sets in everything that the models were trained on: documents and instructions.

python analyze/leakage.py --config configs/tiny.yaml

Every run of `ngram` words of every item is looked for in one pass, as it is written and whatever its case and
punctuation; and so are SnakModel's sampled 8-grams. leakage.md tells what was found, with examples; items.parquet says
it item by item. What the columns mean stands in analyze/README.md.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.documents import DocumentWriter, document_files, read_documents
from snakmodel.paths import stage_of
from snakmodel.records import begin, read_json, write_beside, write_json
from snakmodel.settings import how_many_workers
from snakmodel.testsets import Search, find_testsets, read_testsets, testset_inputs

if TYPE_CHECKING:
    from snakmodel.phrases import Phrases


@dataclass(kw_only=True)
class Settings(Search):
    reads: list[str] = knob(["deduplicate", "instructions"], "stages whose documents were trained on")
    boilerplate: int = knob(100, "documents of a stage: runs of words that more of them hold count apart", low=1)
    answer_within: int = knob(50, "words between what an item and a document share and the item's answer", low=0)
    seeds: list[int] = knob([513, 8446], "of SnakModel's samples; [] takes none")
    sample_rows: int = knob(200, "items of a set in a sample", low=1)
    examples: int = knob(5, "items of a set that are shown in context, the most complete ones", low=0)
    workers: int = knob(0, "threads; 0: one a core", low=0, execution=True)


def main() -> None:
    command = read_command(Settings, "leakage", __doc__)
    if not command.settings.testsets:
        raise BadInput(f"{command.config}: leakage.testsets names no set; take some of configs/testsets.yaml")
    sets = find_testsets(command.settings, "leakage")
    command = replace(command, settings=replace(command.settings, own=sets))
    s, folder = command.settings, command.run.folder("leakage")
    corpora = {name: find_corpus(command, name) for name in s.reads}
    if command.overwrite or command.check:  # what is to be replaced is not thrown away for sets that cannot be read
        read_testsets(sets)
    work = begin(command, folder, {**corpora, **testset_inputs(sets)})
    if work is None:
        return
    from analyze.findings import gather  # late: they compile their loops, and a finished stage says so at once
    from analyze.leakage_report import write_report
    from analyze.sampled_ngrams import LONGEST, sample_ngrams
    from snakmodel.phrases import prepare

    items = read_items(folder, s)
    sampled = sample_ngrams(items, s.seeds, s.sample_rows)
    searched = [item["text"] if item["words"] >= s.min_words else "" for item in items]
    lengths = [s.ngram] * len(items) + [LONGEST] * len(sampled)
    phrases = prepare([*searched, *(ngram.text for ngram in sampled)], lengths)
    print(
        f"{len(items):,} items, {len(sampled):,} samples: {len(phrases.lengths_R):,} different runs of words",
        flush=True,
    )
    answers = answers_of(items)
    found = {}
    for name, corpus in corpora.items():
        files = searched_files(corpus)
        parts = [folder / "parts" / name / f"{path.stem}.npz" for path in files]
        for path, part in zip(files, parts, strict=True):
            if not part.is_file():
                search_part(path, part, phrases, answers, s)
        found[name] = gather(phrases, files, parts, len(items), s.min_share, s.boilerplate)
    counts = write_report(folder, items, sampled, phrases, found, s)
    work.finish(counts=counts, revisions=read_json(folder / "sets.json"))


def answers_of(items: list[dict[str, Any]]) -> list[str]:
    """The items' answers; "" for a label, which a tenth of its set or more has: it stands in many texts by chance."""
    each = Counter((item["source"], item["answer"]) for item in items)
    of = Counter(item["source"] for item in items)
    return [i["answer"] if 10 * each[i["source"], i["answer"]] <= max(10, of[i["source"]]) else "" for i in items]


def find_corpus(command: Command[Settings], name: str) -> Path:
    """The folder of documents that a stage has written."""
    folder = command.run.folder(name)
    if not stage_of(name).folder.startswith("corpus/") and name != "instructions":
        raise BadInput(
            f"{command.config}: leakage.reads: {name!r} writes no documents; take deduplicate or instructions"
        )
    return folder


def searched_files(corpus: Path) -> list[Path]:
    """The documents that were trained on; what instructions held out was not."""
    return [path for path in document_files(corpus) if path.name != "validation.parquet"]


def read_items(folder: Path, s: Settings) -> list[dict[str, Any]]:
    """Every item of the sets, read once: testsets.parquet, and the sets' revisions, sets.json."""
    path = folder / "testsets.parquet"
    if not (folder / "sets.json").is_file():
        from snakmodel.ngrams import words_of

        rows, revisions = read_testsets(s.own)
        with DocumentWriter(path, {"answer": pa.string(), "words": pa.int64()}) as writer:
            for row in rows:
                writer.write({**row, "words": len(words_of(row["text"]))})
        write_json(folder / "sets.json", revisions)
    return list(read_documents(path))


def search_part(path: Path, out: Path, phrases: "Phrases", answers: list[str], s: Settings) -> None:
    """Searches one file of documents, a row group at a time in each thread; what it finds goes to `out`."""
    import pyarrow.parquet as pq

    from analyze.findings import join, save, search_group

    groups = range(pq.read_metadata(path).num_row_groups)
    task = partial(search_group, path, phrases, answers, s)
    pool = ThreadPoolExecutor(how_many_workers(s.workers))
    try:
        part = join(pool.map(task, groups), phrases, s.boilerplate)
    finally:
        pool.shutdown(cancel_futures=True)
    with write_beside(out) as temporary, temporary.open("wb") as file:
        save(part, file)
    print(f"{path}: {part.documents:,} documents, {len(part.runs):,} different runs of items found", flush=True)


if __name__ == "__main__":
    run_script(main)
