"""The corpus, from raw files to shards, sound and damaged: python -m pytest tests/test_corpus.py"""

import random
import signal
import struct
from collections import Counter
from functools import partial

import numpy as np
import pytest
from conftest import ROOT, run_main, write_recipe
from sentencepiece import SentencePieceProcessor
from transformers import AutoTokenizer

from pretrain.corpus import (
    decontaminate,
    deduplicate,
    filter_language,
    filter_quality,
    make_shards,
    read_sources,
    train_tokenizer,
)
from pretrain.corpus.recall import jaccard
from runs.tiny_data import write
from snakmodel import minhash
from snakmodel.config import run_script
from snakmodel.documents import DocumentWriter, document_files, read_documents
from snakmodel.hashes import file_hash
from snakmodel.records import read_json
from snakmodel.settings import BadInput
from snakmodel.shards import ShardReader

ODD = "<s>日本語</s> <unk> <0x41> 😀 ﷽ e\u0301  to  mellemrum,\ttabulator\nny linje\r\n\n1234567890"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The folder of recipe.yaml and its run: raw data with planted faults, corpus, a small tokenizer, shards."""
    home = tmp_path_factory.mktemp("corpus")
    sections = {"tiny_data": {"documents": 600}, "train_tokenizer": {"vocabulary": 500}, "base_run": str(home / "run")}
    recipe = write_recipe(home / "recipe.yaml", extends=str(ROOT / "configs/tiny.yaml"), **sections)
    corpus = (read_sources, filter_language, filter_quality, decontaminate, deduplicate)
    for script in (write, *corpus, train_tokenizer, make_shards):
        run_main(script, recipe)
    return home


def rows(folder):
    return {row["id"]: row for path in document_files(folder) for row in read_documents(path)}


def test_planted_foreign_documents_go_with_their_language_as_the_reason_and_danish_ones_stay(home):
    truth = read_json(home / "run/raw_data/truth.json")["danish"].values()
    foreign = {id for source in truth for ids in source["foreign"].values() for id in ids}
    clean = {id for source in truth for id in source["clean"]}
    kept, gone = rows(home / "run/corpus/in_language"), rows(home / "run/corpus/in_language/rejects")
    reasons = Counter((row["source"], row["reason"]) for row in gone.values())
    counts = read_json(home / "run/corpus/in_language/run.json")["counts"]
    assert len(foreign & {id for id in gone if "language " in gone[id]["reason"]}) >= 0.95 * len(foreign) > 0
    assert len(clean & kept.keys()) >= 0.98 * len(clean)
    assert reasons == {(source, why): n for source in counts for why, n in counts[source]["dropped"].items()}


def test_of_planted_duplicates_the_first_is_kept(home):
    truth, read = read_json(home / "run/raw_data/truth.json"), rows(home / "run/corpus/in_language").keys()
    gone = {id: (row["reason"], row["duplicate_of"]) for id, row in rows(home / "run/corpus/unique/rejects").items()}
    for first, *later in (sorted(read & set(group)) for group in truth["exact_duplicates"]):
        assert first not in gone and all(gone[id] == ("exact duplicate", first) for id in later)
    near = [sorted(read & set(group)) for group in truth["near_duplicates"]]
    assert sum(gone.get(copy) == ("near duplicate", first) for first, copy in near) >= 0.85 * len(near) > 0


def test_an_interrupted_step_continues_with_the_next_source_and_ends_the_same(home, tmp_path, monkeypatch, capsys):
    recipe = write_recipe(tmp_path / "recipe.yaml", extends=str(home / "recipe.yaml"))
    write_document = DocumentWriter.write

    def write_or_stop(self, document):
        if document["id"] == stop_at:
            signal.raise_signal(signal.SIGINT)
        write_document(self, document)

    monkeypatch.setattr(DocumentWriter, "write", write_or_stop)
    *_, last_held_out = rows(home / "run/shards")
    for script, folder, stop_at, left_behind in (
        (read_sources, "corpus/raw", "reddit:00000050", ".reddit-00000.parquet.tmp"),
        (filter_language, "corpus/in_language", "reddit:00000050", ".reddit-00000.parquet.tmp"),
        (filter_quality, "corpus/good", "reddit:00000050", ".reddit-00000.parquet.tmp"),
        (decontaminate, "corpus/decontaminated", "reddit:00000050", ".reddit-00000.parquet.tmp"),
        (deduplicate, "corpus/unique", "reddit:00000050", ".reddit-00000.parquet.tmp"),
        (make_shards, "shards", last_held_out, "parts/reddit-00000/train.bin.tmp"),
    ):
        with pytest.raises(SystemExit, match="130"):
            run_script(partial(run_main, script, recipe))
        assert capsys.readouterr().err == "interrupted; the same command continues\n"
        made, stop_at = tmp_path / "run" / folder, None
        finished = {path: path.stat().st_mtime_ns for path in made.glob("dawiki-*.parquet")}
        assert bool(finished) == (script is not make_shards)
        (made / left_behind).write_bytes(b"what kill -9 leaves")
        run_main(script, recipe)
        assert all(path.stat().st_mtime_ns == clock for path, clock in finished.items())
        for path in (home / "run" / folder).rglob("*.[bip][ida]*"):  # .bin, .idx, .parquet
            assert path.read_bytes() == (tmp_path / path.relative_to(home)).read_bytes()


def test_estimated_jaccard_is_unbiased_and_spreads_as_theory_says():
    rng = random.Random(3)
    for differing in (5, 20, 60):
        errors = []
        for _ in range(100):
            words = ["".join(rng.choices("abdefgiklmnoprstuvæøå", k=6)) for _ in range(150 + differing)]
            texts = [" ".join(words[:150]), " ".join(words[differing:])]
            true = jaccard(*texts, 5)
            first, second = minhash.sign(texts, 5, 64)[0]
            errors.append((first == second).mean() - true)
        spread = (true * (1 - true) / 64) ** 0.5
        assert abs(np.mean(errors)) < 4 * spread / 10 and np.std(errors) == pytest.approx(spread, rel=0.35)


def read_by_the_format(prefix):
    """Documents of a Megatron shard, read from the format's description and nothing else."""
    index, tokens = prefix.with_suffix(".idx").read_bytes(), prefix.with_suffix(".bin").read_bytes()
    magic, version, code, count, bounds = struct.unpack("<9sQBQQ", index[:34])
    assert (magic, version, code, bounds) == (b"MMIDIDX\x00\x00", 1, 8, count + 1)
    numbers = struct.unpack(f"<{count}i{count}q{bounds}q", index[34:])
    assert numbers[2 * count :] == tuple(range(bounds))
    places = zip(numbers[:count], numbers[count : 2 * count], strict=True)
    return [list(struct.unpack_from(f"<{length}H", tokens, at)) for length, at in places]


def test_an_independent_reader_finds_the_tokens_of_every_document_between_one_bos_and_one_eos(home):
    tokenizer = AutoTokenizer.from_pretrained(home / "run/tokenizer")
    processor = SentencePieceProcessor(model_file=str(home / "run/tokenizer/tokenizer.model"))
    tokens, lengths = make_shards.encode(tokenizer, [ODD, ODD])
    assert tokens.tolist() == 2 * [1, *processor.encode(ODD), 2] and lengths == 2 * [len(tokens) // 2]
    assert tokenizer.decode(tokenizer(ODD, split_special_tokens=True)["input_ids"], skip_special_tokens=True) == ODD
    held_out = {row["id"] for row in read_documents(home / "run/shards/validation.parquet")}
    unique = rows(home / "run/corpus/unique").items()
    for source in ("danewsroom", "dawiki", "eubookshop", "reddit"):
        for name, is_validation in (("train", False), ("validation", True)):
            documents = [d for id, d in unique if (id in held_out) is is_validation and d["source"] == source]
            reader = ShardReader(home / "run/shards" / source / name, verify=True)
            expected = [[1, *processor.encode(row["text"]), 2] for row in documents]
            assert read_by_the_format(reader.prefix) == [tokens.tolist() for tokens in reader] == expected
            assert reader.facts["tokenizer_sha256"] == file_hash(home / "run/tokenizer/tokenizer.json")
        assert documents  # to validate on


def test_a_damaged_shard_is_refused(home, tmp_path):
    for name, verify, damage, message in (
        ("train.bin", False, lambda data: data[:-2], "corrupt shard: .* bytes, its index says"),
        ("train.bin", True, lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:], "checksum differs"),
        ("train.idx", False, lambda data: b"MMIDIDXX" + data[8:], "not a Megatron index"),
        ("train.idx", False, lambda data: data[:-8], "corrupt shard: .* bytes for"),
    ):
        for path in (home / "run/shards/reddit").glob("train.*"):
            (tmp_path / path.name).write_bytes(damage(path.read_bytes()) if path.name == name else path.read_bytes())
        with pytest.raises(BadInput, match=message):
            ShardReader(tmp_path / "train", verify)
