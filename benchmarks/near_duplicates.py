"""Our near-duplicate removal beside datatrove's and text-dedup's: recall, precision, documents per CPU second, one run.

python benchmarks/near_duplicates.py TEXTS.jsonl.gz [PYTHON_THAT_HAS_TEXT_DEDUP]

120,000 windows of 60 words of the texts and 30,000 planted copies of eleven kinds: 2 exact, 7 with 2, 4, ..., 16 final
words cut, 2 with one or two words replaced. Truth: Jaccard similarity of lower-cased runs of five words. Each tool is a
process of its own, from a Parquet file to what stays, one core; its start-up counts.
"""

import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from pretrain.corpus.recall import jaccard
from snakmodel.documents import DocumentWriter

ROOT = Path(__file__).resolve().parent.parent
WINDOWS, COPIES, WORDS, SIMILAR = 120_000, 30_000, 60, 0.85
KINDS = ("exact", "exact", 2, 4, 6, 8, 10, 12, 16, "one", "two")
TEXT_DEDUP = (
    "-m text_dedup.minhash --path parquet --split train --column text --num_proc 1 --threshold 0.85 --num_perm 64"
)
# datatrove's four stages in one process: 5 bands of 12, as near to 0.85 as 64 permutations come; words cut at spaces,
# since its Danish tokenizer (spaCy) takes five sixths of its time
DATATROVE = """
import sys
import pyarrow.parquet as pq
import xxhash
from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.word_tokenizers import WordTokenizer
from loguru import logger

class Spaces(WordTokenizer):
    def word_tokenize(self, text): return text.split()
    def sent_tokenize(self, text): return [text]
    def span_tokenize(self, text): return []

def documents():
    for batch in pq.ParquetFile(corpus).iter_batches(columns=["id", "text"]):
        for row in batch.to_pylist():
            yield Document(**row)

logger.disable("datatrove")
corpus, folder = sys.argv[1:]
config = MinhashConfig(n_grams=5, num_buckets=5, hashes_per_bucket=12)
sign = MinhashDedupSignature(f"{folder}/1", config, Spaces())
sign._hash_func = lambda text: xxhash.xxh64_intdigest(text.encode())  # xxhash 4 wants bytes, its own call gives text
for _ in sign.run(documents(), 0, 1) or []: pass
for bucket in range(5):
    for _ in MinhashDedupBuckets(f"{folder}/1", f"{folder}/2", config=config).run(None, bucket, 5) or []: pass
for _ in MinhashDedupCluster(f"{folder}/2", f"{folder}/3", config).run(None, 0, 1) or []: pass
with open(f"{folder}/kept", "w") as out:
    for document in MinhashDedupFilter(f"{folder}/3").run(documents(), 0, 1):
        print(document.id, file=out)
"""


def main() -> None:
    texts, copies, originals = make_corpus(Path(sys.argv[1]))
    similar = [jaccard(copy, texts[original], 5) for copy, original in zip(copies, originals, strict=True)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "run/corpus/decontaminated/corpus-00000.parquet"
        with DocumentWriter(corpus) as writer:
            for number, text in enumerate(texts + copies):
                writer.write({"text": text, "source": "corpus", "id": str(number)})
        tools = {"ours": ours(folder), "datatrove": [sys.executable, "-c", DATATROVE, str(corpus), name]}
        if len(sys.argv) > 2:
            words = [
                *TEXT_DEDUP.split(),
                "--data_files",
                str(corpus),
                "--output",
                f"{name}/kept.arrow",
                "--cache_dir",
                name,
            ]
            tools["text-dedup"] = [sys.argv[2], *words]
        rates = {}
        for tool, command in tools.items():
            before = cpu_seconds()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            rates[tool] = (WINDOWS + COPIES) / (cpu_seconds() - before)
            removed = set(range(WINDOWS + COPIES)) - read_kept(folder, tool)
            # a pair is found when one of the two has gone: text-dedup keeps the last of a cluster, the others the first
            pairs = zip(range(WINDOWS, WINDOWS + COPIES), originals, similar, strict=True)
            found = sum(j >= SIMILAR and not removed.isdisjoint(pair) for *pair, j in pairs)
            recall, precision = found / sum(j >= SIMILAR for j in similar), found / len(removed)
            speed = f"{rates[tool]:,.0f} documents per CPU second"
            print(f"{tool:<10} recall {recall:.3f}  precision {precision:.3f}  {speed}", flush=True)
        for tool, rate in list(rates.items())[1:]:
            print(f"ours / {tool}: {rates['ours'] / rate:.1f} times its documents per CPU second")


def ours(folder: Path) -> list[str]:
    """The command of our stage, with its default settings, in one process."""
    (folder / "run/corpus/decontaminated/run.json").write_text("{}")
    recipe = {"run_dir": str(folder / "run"), "deduplicate": {"workers": 1, "reads": "decontaminate"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return [sys.executable, "pretrain/corpus/deduplicate.py", "--config", str(folder / "recipe.yaml")]


def read_kept(folder: Path, tool: str) -> set[int]:
    """Numbers of the documents that a tool keeps."""
    if tool == "ours":
        table = pq.read_table(folder / "run/corpus/unique/corpus-00000.parquet", columns=["id"])
        return set(map(int, table["id"].to_pylist()))
    if tool == "datatrove":
        return set(map(int, (folder / "kept").read_text().split()))
    from datasets import load_from_disk

    return set(map(int, load_from_disk(str(folder / "kept.arrow"))["id"]))


def make_corpus(path: Path) -> tuple[list[str], list[str], list[int]]:
    """The windows, the planted copies, and the number of the window that each is a copy of."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        words = [word for line in file for word in json.loads(line)["text"].split()]
    rng = random.Random(0)
    texts = [" ".join(words[start : start + WORDS]) for start in range(0, WINDOWS * WORDS, WORDS)]
    originals = rng.sample(range(WINDOWS), COPIES)
    return texts, [change(rng, texts[n], KINDS[i % len(KINDS)]) for i, n in enumerate(originals)], originals


def change(rng: random.Random, text: str, kind: str | int) -> str:
    """A copy of a kind."""
    words = text.split()
    if isinstance(kind, int):
        words = words[:-kind]
    elif kind != "exact":
        for place in rng.sample(range(len(words)), 1 if kind == "one" else 2):
            words[place] = "ombyttet"
    return " ".join(words)


def cpu_seconds() -> float:
    """CPU time of the processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
