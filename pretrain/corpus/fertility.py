"""Compare how tokenizers cut the run's sources and other languages into tokens.

python pretrain/corpus/fertility.py --config configs/tiny.yaml

Writes fertility.json, fertility.md and fertility.tex: a row a source and a row a language, for every tokenizer.
Fertility, and the share of words that stay whole: Rust et al. 2021, How Good is Your Tokenizer?, ACL.
"""

import re
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from pretrain.corpus.make_shards import find_tokenizer
from pretrain.corpus.sieve import source_of
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import document_files
from snakmodel.printed_tables import thousands, to_latex, to_markdown
from snakmodel.records import begin, missing, read_json, write_json, write_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_GROUPS = 50  # row groups of a source that are read, of 10,000 documents or fewer
DOCUMENTS_AT_A_TIME = 500
HEAD = ["Tokenizer", "Language", "Source", "Documents", "Words", "Tokens / word", "Bytes / token"]
HEAD += ["Whole words (%)", "Byte tokens (%)"]


@dataclass
class Settings:
    tokenizers: dict[str, str] = knob(help="name in the table -> tokenizer folder, or a Hub id")
    files: dict[str, str] = knob(
        {}, "other languages: name -> Parquet file with a column text, or text with a document a line"
    )
    documents: int = knob(2_000, "sample of each source and file, spread evenly over it", low=1)


@dataclass
class Count:
    """What a tokenizer did to some texts."""

    documents: int = 0
    words: int = 0  # divided by white space, as in the ledger
    bytes: int = 0
    tokens: int = 0  # without those that open and end a document
    runs: int = 0  # of letters and digits: words without the punctuation that touches them
    whole: int = 0  # runs that are one token, or lie within one
    byte_tokens: int = 0  # that stand for one byte of a character that the vocabulary lacks

    def __add__(self, other: "Count") -> "Count":
        return Count(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))


def main() -> None:
    command = read_command(Settings, "fertility", __doc__)
    settings, run = command.settings, command.run
    folder, corpus = run.folder("fertility"), run.folder("deduplicate")
    tokenizers = {name: find_tokenizer(location) for name, location in settings.tokenizers.items()}
    files = {language: Path(path) for language, path in settings.files.items()}
    for path in files.values():
        if not path.is_file():
            raise BadInput(missing(path))
    inputs: dict[str, str | Path] = {"corpus": corpus, "language": run.folder("filter_language")}
    inputs |= {f"tokenizer {name}": location for name, location in tokenizers.items()}
    inputs |= {f"text {language}": path for language, path in files.items()}
    work = begin(command, folder, inputs, derived=True)
    if work is None:
        return
    language = read_json(run.folder("filter_language") / "run.json")["settings"]["language"]
    parts: dict[str, list[Path]] = {}
    for path in document_files(corpus):
        parts.setdefault(source_of(path), []).append(path)
    samples = {source: sample_texts(paths, settings.documents) for source, paths in parts.items()}
    others = {language: sample_file(path, settings.documents) for language, path in files.items()}
    rows = []
    for name, location in tokenizers.items():
        tokenizer = load(location)
        counts = {source: count_tokens(tokenizer, texts) for source, texts in samples.items()}
        counts["all samples"] = sum(counts.values(), Count())
        rows += [{"tokenizer": name, "language": language, "source": s, **ratios(c)} for s, c in counts.items()]
        for other, texts in others.items():
            row = {"tokenizer": name, "language": other, "source": files[other].stem}
            rows.append({**row, **ratios(count_tokens(tokenizer, texts))})
    write_json(folder / "fertility.json", {"rows": rows})
    cells = [in_cells(row) for row in rows]
    write_text(folder / "fertility.md", to_markdown(HEAD, cells, names=3))
    write_text(folder / "fertility.tex", to_latex(HEAD, cells, names=3))
    for row in rows:
        print(f"{row['tokenizer']}, {row['language']}, {row['source']}: {row['tokens_per_word']:.2f} tokens a word")
    work.finish()


def load(location: Path | str) -> "Tokenizer":
    """The tokenizer as the tokenizers library reads it, which needs no torch."""
    from huggingface_hub import hf_hub_download  # late: a finished stage says so at once
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from tokenizers import Tokenizer

    try:
        path = location if isinstance(location, Path) else Path(hf_hub_download(location, "tokenizer.json"))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"fertility.tokenizers: {location}: no tokenizer.json to be had ({reason:.200})") from None
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # those that a text spells out are plain text, as in the shards
    return tokenizer


def sample_texts(paths: list[Path], most: int) -> list[str]:
    """Texts of a source, evenly spread over some of its row groups, and these evenly over its parts."""
    groups = [(path, group) for path in paths for group in range(pq.read_metadata(path).num_row_groups)]
    groups = groups[:: -(-len(groups) // MOST_GROUPS) or 1]
    texts: list[str] = []
    for place, (path, group) in enumerate(groups):
        share = most * (place + 1) // len(groups) - len(texts)
        with pq.ParquetFile(path) as file:
            column = file.read_row_group(group, ["text"])["text"]
        texts += column.take(spread(len(column), share)).to_pylist()
    return texts


def sample_file(path: Path, most: int) -> list[str]:
    """Texts of a Parquet file, or lines of a text file that are not empty, evenly spread."""
    if path.suffix == ".parquet":
        return sample_texts([path], most)
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    return [lines[place] for place in spread(len(lines), most)]


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `count`, evenly spread."""
    chosen = min(count, most)
    return np.arange(chosen) * count // max(chosen, 1)


def count_tokens(tokenizer: "Tokenizer", texts: list[str]) -> Count:
    """What a tokenizer makes of texts."""
    names = tokenizer.get_vocab()
    byte_ids = np.array([id for name, id in names.items() if re.fullmatch("<0x[0-9A-F]{2}>", name)], dtype=int)
    count = Count(documents=len(texts))
    for first in range(0, len(texts), DOCUMENTS_AT_A_TIME):
        some = texts[first : first + DOCUMENTS_AT_A_TIME]
        for text, encoding in zip(some, tokenizer.encode_batch(some, add_special_tokens=False), strict=True):
            count.words += len(text.split())
            count.bytes += len(text.encode())
            count.tokens += len(encoding.ids)
            count.byte_tokens += int(np.isin(encoding.ids, byte_ids).sum())
            pieces = tokens_of_runs(text, encoding.offsets)
            count.runs += len(pieces)
            count.whole += int((pieces == 1).sum())
    return count


def tokens_of_runs(text: str, offsets: list[tuple[int, int]]) -> np.ndarray:
    """How many tokens overlap each run of letters and digits. offsets: where each token lies in the text."""
    starts, ends = np.array([span for span in offsets if span[0] < span[1]], dtype=int).reshape(-1, 2).T
    runs = np.array([match.span() for match in re.finditer(r"\w+", text)], dtype=int).reshape(-1, 2)
    return np.searchsorted(starts, runs[:, 1], "left") - np.searchsorted(ends, runs[:, 0], "right")


def ratios(count: Count) -> dict[str, Any]:
    """A row of fertility.json; shares from 0 to 1, null where there is nothing to divide by."""
    return {
        "documents": count.documents,
        "words": count.words,
        "bytes": count.bytes,
        "tokens": count.tokens,
        "tokens_per_word": divide(count.tokens, count.words),
        "bytes_per_token": divide(count.bytes, count.tokens),
        "whole_words": divide(count.whole, count.runs),
        "byte_tokens": divide(count.byte_tokens, count.tokens),
    }


def divide(one: int, other: int) -> float | None:
    return one / other if other else None


def in_cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    numbers = [f"{row[key]:.2f}" if row[key] is not None else "–" for key in ("tokens_per_word", "bytes_per_token")]
    shares = [f"{100 * row[key]:.1f}" if row[key] is not None else "–" for key in ("whole_words", "byte_tokens")]
    sizes = [thousands(row["documents"]), thousands(row["words"])]
    return [row["tokenizer"], row["language"], row["source"], *sizes, *numbers, *shares]


if __name__ == "__main__":
    run_script(main)
