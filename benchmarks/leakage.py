"""The search for runs of words beside grep, in speed and in what is found, and its memory.

python benchmarks/leakage.py TEXTS.jsonl.gz [GIGABYTES [REPEATS]]

Paragraphs of every second text, in random order, are the documents: a line each in one file for grep, and the same as
Parquet. The n-grams are 8 words of sentences of the other texts, of which 1,000 are planted in one document each. grep
has one process and reads plain text; ours has two threads and unpacks Parquet. Of what grep finds, only -w can be
compared: it too knows no half words.
"""

import gzip
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from analyze.findings import Part, load
from analyze.leakage import Settings, search_part
from snakmodel.documents import DocumentWriter
from snakmodel.ngrams import WORD
from snakmodel.phrases import Phrases, prepare
from snakmodel.records import read_json, write_json, write_jsonl

FEW, MANY, WORDS, PARTS = 1_000, 1_000_000, 8, 8
DOCUMENT_BYTES = 2_700  # on average, as it comes out when paragraphs are added up to 2,000 characters


def main() -> None:
    size = int(float(sys.argv[2] if len(sys.argv) > 2 else 1.1) * 1e9)
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    paragraphs, ngrams = read_texts(Path(sys.argv[1]))
    rng = random.Random(0)
    rng.shuffle(ngrams)
    planted, many = ngrams[:FEW], ngrams[:MANY]
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        lines = write_corpus(home, paragraphs, planted, size, rng)
        write_patterns(home / "fixed", planted)
        write_patterns(home / "regular", [re.sub(r"([.?*+\[\](){}|^$\\])", r"\\\1", ngram) for ngram in planted])
        print(f"{(home / 'corpus.txt').stat().st_size / 1e9:.2f} GB in {lines:,} documents, {len(many):,} n-grams")
        few, most = (prepare(ngrams, [WORDS] * len(ngrams)) for ngrams in (planted, many))
        check(home, few, planted)
        sides: dict[str, Callable[[], object]] = {
            f"ours, {FEW:,}": lambda: search(home, few, 2),
            f"ours, {FEW:,}, one thread": lambda: search(home, few, 1),
            f"ours, {MANY:,}": lambda: search(home, most, 2),
            "grep -F, C": lambda: grep(home, "C", "-c", "-F", "-f", home / "fixed"),
            "grep -F, UTF-8": lambda: grep(home, "C.UTF-8", "-c", "-F", "-f", home / "fixed"),
            "grep -E, C": lambda: grep(home, "C", "-c", "-E", "-f", home / "regular"),
            "grep -E, UTF-8": lambda: grep(home, "C.UTF-8", "-c", "-E", "-f", home / "regular"),
        }
        walls: dict[str, list[float]] = {side: [] for side in sides}
        used: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(repeats):
            for side, run in sides.items():
                wall, cpu = time.monotonic(), cpu_seconds()
                run()
                walls[side].append(time.monotonic() - wall)
                used[side].append(cpu_seconds() - cpu)
                print(f"{side}: {walls[side][-1]:.2f} s, {used[side][-1]:.2f} s of CPU", flush=True)
        print(f"load {os.getloadavg()[0]:.1f}; medians of {repeats} alternating runs")
        for side in sides:
            print(
                f"  {side:<24} {statistics.median(walls[side]):7.2f} s, {statistics.median(used[side]):7.2f} s of CPU"
            )
        ours, more = (statistics.median(walls[f"ours, {count:,}"]) for count in (FEW, MANY))
        for side in list(sides)[3:]:
            print(f"  {side} / ours: {statistics.median(walls[side]) / ours:.2f}")
        print(f"  {MANY:,} n-grams / {FEW:,}: {more / ours:.2f}")
        half, whole = (stage_memory(home, planted, parts) for parts in (PARTS // 2, PARTS))
        print(f"  memory of the stage: half of the corpus {half:,} MiB, all {whole:,} MiB, ratio {whole / half:.2f}")


def read_texts(path: Path) -> tuple[list[str], list[str]]:
    """Paragraphs of every second text on one line each, and the different runs of 8 words of the others' sentences."""
    paragraphs: list[str] = []
    ngrams: dict[str, None] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            text = " ".join(json.loads(line)["text"].split())
            if number % 2:
                paragraphs.append(text)
                continue
            words = list(WORD.finditer(text))
            for first in range(0, len(words) - WORDS + 1, 2):
                ngrams[text[words[first].start() : words[first + WORDS - 1].end()]] = None
    return paragraphs, list(ngrams)


def write_corpus(home: Path, paragraphs: list[str], planted: list[str], size: int, rng: random.Random) -> int:
    """corpus.txt and corpus/*.parquet, the same documents; every n-gram is planted in one of them."""
    count, wanted = 0, size // DOCUMENT_BYTES
    places = dict(zip(rng.sample(range(wanted), len(planted)), planted, strict=True))
    with (home / "corpus.txt").open("w", encoding="utf-8") as plain:
        for part in range(PARTS):
            with DocumentWriter(home / f"corpus/texts-{part:05d}.parquet") as writer:
                for _ in range(wanted // PARTS + (part < wanted % PARTS)):
                    pieces = [rng.choice(paragraphs)]
                    while sum(map(len, pieces)) < 2_000:
                        pieces.append(rng.choice(paragraphs))
                    if count in places:
                        pieces.insert(rng.randrange(len(pieces) + 1), f'"{places[count]}"')
                    text = " ".join(pieces)
                    plain.write(text + "\n")
                    writer.write({"text": text, "source": "texts", "id": str(count)})
                    count += 1
    return count


def write_patterns(path: Path, patterns: list[str]) -> None:
    path.write_text("".join(pattern + "\n" for pattern in patterns), encoding="utf-8")


def grep(home: Path, locale: str, *words: str | Path) -> str:
    """What grep prints."""
    command = ["grep", *map(str, words), str(home / "corpus.txt")]
    return subprocess.run(command, env={**os.environ, "LC_ALL": locale}, capture_output=True, text=True).stdout


def search(home: Path, phrases: Phrases, threads: int) -> list[Part]:
    """Ours, as the stage does it."""
    settings = Settings(testsets=[], workers=threads, boilerplate=10**9)
    parts = []
    for path in sorted((home / "corpus").glob("*.parquet")):
        out = home / "parts" / f"{path.stem}.npz"
        search_part(path, out, phrases, [], settings)
        parts.append(load(out))
    return parts


def stage_memory(home: Path, planted: list[str], parts: int) -> int:
    """MiB that analyze/leakage.py takes for so many files of the corpus."""
    run_dir = home / f"run-{parts}"
    corpus = run_dir / "corpus/unique"
    corpus.mkdir(parents=True)
    for path in sorted((home / "corpus").glob("*.parquet"))[:parts]:
        (corpus / path.name).symlink_to(path)
    write_json(corpus / "run.json", {})
    write_jsonl(home / "set.jsonl", [{"text": ngram} for ngram in planted])
    search = {"testsets": ["planted"], "own": {"planted": {"path": str(home / "set.jsonl"), "text": ["text"]}}}
    recipe = {"run_dir": str(run_dir), "leakage": {**search, "reads": ["deduplicate"]}}
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "analyze/leakage.py", "--config", str(home / "recipe.yaml")]
    command = ["sh", "-c", '"$@"; exit $?', "sh", *command]  # a program's peak begins at that of what starts it
    subprocess.run(command, cwd=Path(__file__).parent.parent, stdout=subprocess.DEVNULL, check=True)
    return read_json(run_dir / "analysis/leakage/run.json")["peak_memory_bytes"] >> 20


def check(home: Path, phrases: Phrases, planted: list[str]) -> None:
    """Documents and n-grams that grep -w and ours find."""
    theirs = set()
    for line in grep(home, "C.UTF-8", "-n", "-o", "-w", "-F", "-f", home / "fixed").splitlines():
        number, _, ngram = line.partition(":")
        theirs.add((int(number) - 1, ngram))
    ours, first = set(), 0
    text_of = dict(zip(phrases.spellings_E.tolist(), (planted[i] for i in phrases.items_E), strict=True))
    for part, path in zip(search(home, phrases, 2), sorted((home / "corpus").glob("*.parquet")), strict=True):
        pairs = zip(part.hits.texts.tolist(), part.hits.spellings.tolist(), strict=True)
        ours |= {(first + text, text_of[spelling]) for text, spelling in pairs if spelling in text_of}
        first += pq.read_metadata(path).num_rows
    found = len({ngram for _, ngram in ours} & set(planted))
    print(f"planted {len(planted):,}, found {found:,}; only grep {len(theirs - ours)}, only ours {len(ours - theirs)}")


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
