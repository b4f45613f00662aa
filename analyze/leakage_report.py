"""What was found of evaluation sets, as tables for programs and one for people."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analyze.findings import Found
from analyze.sampled_ngrams import Sampled
from snakmodel.intervals import wilson
from snakmodel.ngrams import WORD
from snakmodel.phrases import Phrases
from snakmodel.printed_tables import escape_markdown, to_markdown
from snakmodel.records import write_beside, write_json, write_jsonl, write_text

if TYPE_CHECKING:
    from analyze.leakage import Settings

Row = dict[str, Any]
# measure -> what is counted; of items that were searched for, or of sampled n-grams
MEASURES = {
    "found": "share at least one run of words with a document",
    "found as written": "share at least one run that is spelt alike",
    "held": "a document holds min_share of their words in shared runs",
    "held as written": "the same of runs that are spelt alike",
    "whole": "a document holds all of their words",
    "answered": "are held, and the answer stands close by",
    "boilerplate only": "share only runs that more than `boilerplate` documents hold",
}
AROUND = 8  # words before and after, in an example
MOST_LISTED = 20  # runs of boilerplate in leakage.md


def write_report(
    folder: Path, items: list[Row], sampled: list[Sampled], phrases: Phrases, found: dict[str, Found], s: "Settings"
) -> Row:
    """Writes all tables; the counts for the record."""
    flags = [row for corpus, each in found.items() for row in item_rows(corpus, items, phrases, each, s)]
    ngrams = [row for corpus, each in found.items() for row in sampled_rows(corpus, sampled, phrases, each, len(items))]
    boilerplate = [row for corpus, each in found.items() for row in boilerplate_rows(corpus, items, phrases, each, s)]
    rates = [*item_rates(flags), *sampled_rates(ngrams)]
    write_table(folder / "items.parquet", flags)
    write_table(folder / "sampled.parquet", ngrams)
    write_jsonl(folder / "boilerplate.jsonl", boilerplate)
    totals = {
        corpus: {"documents": each.documents, "bytes": each.bytes, "documents that hold items": each.sources}
        for corpus, each in found.items()
    }
    write_json(folder / "leakage.json", {"corpora": totals, "rows": rates})
    text = [f"# Leakage\n\nWhat each column means: analyze/README.md. Intervals: 95 % (Wilson).\n\n{rate_table(rates)}"]
    text += [f"\n## SnakModel's sampled n-grams\n\n{sampled_table(rates)}" if ngrams else ""]
    text += [f"\n## Examples\n\n{''.join(examples(items, phrases, found, s.examples))}"]
    text += [f"\n## Boilerplate: runs of words in more than {s.boilerplate:,} documents\n\n{listed(boilerplate)}"]
    write_text(folder / "leakage.md", "".join(text))
    for row in rates:
        if row["measure"] == "held":
            print(f"{row['corpus']}, {row['testset']}: {row['count']:,} of {row['of']:,} items held", flush=True)
    return {corpus: int((each.documents_N > 0).sum()) for corpus, each in found.items()}


def item_rows(corpus: str, items: list[Row], phrases: Phrases, found: Found, s: "Settings") -> Iterator[Row]:
    """One row an item: what one stage's documents hold of it. analyze/README.md has the columns."""
    count = len(items)
    runs_E = np.repeat(np.arange(len(phrases.lengths_R)), np.diff(phrases.first_R))
    common_E = found.documents_R[runs_E] > s.boilerplate
    own = phrases.items_E < count
    kinds = (
        own,
        own & (found.documents_R[runs_E] > 0) & ~common_E,
        own & (found.exact_E > 0) & ~common_E,
        own & common_E,
    )
    tallies = [np.bincount(phrases.items_E[kind], minlength=count).tolist() for kind in kinds]
    for number, (item, runs, shared, written, common) in enumerate(zip(items, *tallies, strict=True)):
        yield {
            "corpus": corpus,
            "testset": item["source"],
            "item": item["id"],
            "words": item["words"],
            "searched": item["words"] >= s.min_words,
            "ngrams": runs,
            "ngrams_found": shared,
            "ngrams_found_as_written": written,
            "ngrams_boilerplate": common,
            "overlap": float(found.share_N[number]),
            "overlap_as_written": float(found.exact_share_N[number]),
            "longest": int(found.longest_N[number]),
            "longest_as_written": int(found.exact_longest_N[number]),
            "documents": int(found.documents_N[number]),
            "held": bool(found.share_N[number] >= s.min_share),
            "held_as_written": bool(found.exact_share_N[number] >= s.min_share),
            "answered": bool(found.answered_N[number]),
        }


def sampled_rows(corpus: str, sampled: list[Sampled], phrases: Phrases, found: Found, items: int) -> Iterator[Row]:
    """One row a sampled n-gram: how many documents hold it."""
    runs_E = np.repeat(np.arange(len(phrases.lengths_R)), np.diff(phrases.first_R))
    entry_of = {item: entry for entry, item in enumerate(phrases.items_E.tolist()) if item >= items}
    for number, ngram in enumerate(sampled):
        entry = entry_of[items + number]
        held, written = int(found.documents_R[runs_E[entry]]), int(found.exact_E[entry])
        yield {"corpus": corpus, **ngram._asdict(), "documents": held, "documents_as_written": written}


def boilerplate_rows(corpus: str, items: list[Row], phrases: Phrases, found: Found, s: "Settings") -> list[Row]:
    """One row a run of words that too many documents hold, the most frequent first."""
    rows = []
    for run in np.flatnonzero(found.documents_R > s.boilerplate).tolist():
        first, end = phrases.first_R[run], phrases.first_R[run + 1]
        owners = [item for item in phrases.items_E[first:end].tolist() if item < len(items)]
        if not owners:
            continue  # only samples have it, and these tell themselves in how many documents they stand
        item, place = int(phrases.items_E[first]), int(phrases.places_E[first])
        words = WORD.findall(phrases.items[item])[place : place + int(phrases.lengths_R[run])]
        sets = sorted({items[owner]["source"] for owner in owners})
        rows.append({"corpus": corpus, "ngram": " ".join(words), "documents": int(found.documents_R[run]),
                     "items": len(set(owners)), "testsets": sets})  # fmt: skip
    return sorted(rows, key=lambda row: (-row["documents"], row["ngram"]))


def rate(count: int, of: int) -> Row:
    """A share with its 95 % interval (Wilson 1927)."""
    low, high = wilson(count, of)
    return {"count": count, "of": of, "value": count / of if of else None, "low": low, "high": high}


def item_rates(flags: list[Row]) -> Iterator[Row]:
    """For each stage, set and measure the share of the items that were searched for."""
    for corpus, testset in dict.fromkeys((row["corpus"], row["testset"]) for row in flags):
        mine = [row for row in flags if (row["corpus"], row["testset"]) == (corpus, testset) and row["searched"]]
        counts = (
            sum(row["ngrams_found"] > 0 for row in mine),
            sum(row["ngrams_found_as_written"] > 0 for row in mine),
            sum(row["held"] for row in mine),
            sum(row["held_as_written"] for row in mine),
            sum(row["overlap"] == 1 for row in mine),
            sum(row["answered"] for row in mine),
            sum(row["ngrams_boilerplate"] > 0 and not row["ngrams_found"] for row in mine),
        )
        for measure, count in zip(MEASURES, counts, strict=True):
            yield {"corpus": corpus, "testset": testset, "measure": measure, "unit": "items"} | rate(count, len(mine))


def sampled_rates(ngrams: list[Row]) -> Iterator[Row]:
    """For each stage, set and seed the share of sampled n-grams that some document holds."""
    for corpus, testset, seed in dict.fromkeys((row["corpus"], row["testset"], row["seed"]) for row in ngrams):
        mine = [row for row in ngrams if (row["corpus"], row["testset"], row["seed"]) == (corpus, testset, seed)]
        what = {"corpus": corpus, "testset": testset, "seed": seed, "unit": "n-grams"}
        for measure, column in (("sampled", "documents"), ("sampled as written", "documents_as_written")):
            yield what | {"measure": measure} | rate(sum(row[column] > 0 for row in mine), len(mine))


def write_table(path: Path, rows: list[Row]) -> None:
    """Rows as Parquet, atomically."""
    with write_beside(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)


def told(row: Row) -> str:
    """ "12 (3.4 %, 2.0 to 5.8)"."""
    if not row["of"]:
        return "–"
    return f"{row['count']:,} ({100 * row['value']:.1f} %, {100 * row['low']:.1f} to {100 * row['high']:.1f})"


def rate_table(rates: list[Row]) -> str:
    """A line for each stage and set, a column for each measure."""
    lines: dict[tuple[str, str], list[str]] = {}
    for row in rates:
        if row["measure"] in MEASURES:
            lines.setdefault((row["corpus"], row["testset"]), [f"{row['of']:,}"]).append(told(row))
    head = ["corpus", "test set", "items searched for", *MEASURES]
    return to_markdown(head, [[*names, *cells] for names, cells in lines.items()], names=2)


def sampled_table(rates: list[Row]) -> str:
    """A line for each stage, set and seed."""
    lines: dict[tuple[str, str, int], list[str]] = {}
    for row in rates:
        if row["measure"] not in MEASURES:
            lines.setdefault((row["corpus"], row["testset"], row["seed"]), [f"{row['of']:,}"]).append(told(row))
    head = ["corpus", "test set", "seed", "n-grams", "found", "found as written"]
    return to_markdown(head, [[c, t, str(seed), *cells] for (c, t, seed), cells in lines.items()], names=2)


def examples(items: list[Row], phrases: Phrases, found: dict[str, Found], most: int) -> Iterator[str]:
    """The most complete items of each set, with the longest stretch of the document that shares most of them."""
    for corpus, each in found.items():
        for name in dict.fromkeys(item["source"] for item in items):
            shared = [n for n, item in enumerate(items) if item["source"] == name and each.share_N[n] > 0]
            for number in sorted(shared, key=lambda number: -each.share_N[number])[:most]:
                file, row, word = each.best_N[number].tolist()
                document = read_document(each.files[file], row)
                quoted = escape_markdown(quote(document["text"], word, phrases, number))
                whole = f"{escape_markdown(name)} {escape_markdown(items[number]['id'])}, {each.share_N[number]:.0%}"
                yield f"- {corpus}, {whole} in `{document['id']}` ({document['source']}): {quoted}\n"


def read_document(path: Path, number: int) -> Row:
    """One document of a file."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if number < rows:
                return file.read_row_group(group, columns=["text", "source", "id"]).slice(number, 1).to_pylist()[0]
            number -= rows
    raise AssertionError(f"{path} has no document {number}")


def quote(text: str, word: int, phrases: Phrases, item: int) -> str:
    """What stands around a stretch of words, and as much of it as the item has words at most."""
    text = unicodedata.normalize("NFC", text)
    words = [match.span() for match in WORD.finditer(text)]
    first, last = max(0, word - AROUND), min(len(words), word + int(phrases.words_I[item]) + AROUND) - 1
    return "…" + text[words[first][0] : words[last][1]] + "…"


def listed(boilerplate: list[Row]) -> str:
    """The most frequent runs of boilerplate as a table."""
    rows = [
        [row["corpus"], row["ngram"], ", ".join(row["testsets"]), f"{row['documents']:,}", f"{row['items']:,}"]
        for row in boilerplate[:MOST_LISTED]
    ]
    more = f"\n{len(boilerplate) - len(rows):,} more in boilerplate.jsonl\n" if len(boilerplate) > len(rows) else ""
    return to_markdown(["corpus", "run", "test sets", "documents", "items"], rows, names=3) + more if rows else "none\n"
