"""Tokenizer and shards: what is written is what the documents say, and damage is refused.

python -m pytest tests/test_shards.py
"""

import itertools
import json
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from pretrain.corpus import deduplicate, filter_language, make_shards, read_sources, train_tokenizer
from snakmodel.documents import read_documents
from snakmodel.records import read_json
from snakmodel.settings import BadInput
from snakmodel.shards import ShardReader, ShardWriter

WHO = ["Hun", "Min søster", "Den gamle fisker", "Læreren", "Ingen af dem", "Årets vinder"]
DOES = ["købte", "ønskede sig", "glemte", "fandt", "byggede", "solgte", "drømte om"]
WHAT = ["en rød cykel", "æbler og pærer", "et hus på Ærø", "12 nye bøger", "en båd", "øl til festen", "sin ældste hat"]
ODD = ["Prisen er <s>100</s> nu kun 50 kr. på <unk> 日本語 😀", "første linje\n\n\tanden  linje: naïve façade €"]


def run(main: Callable[[], None], config: Path, *words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", "--config", str(config), *words])
        main()


@pytest.fixture(scope="session")
def shards_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose corpus, tokenizer (vocabulary 400) and shards are made, from about 300 sentences."""
    folder = tmp_path_factory.mktemp("shards")
    texts = [f"{a} {b} {c}." for a, b, c in itertools.product(WHO, DOES, WHAT)] + ODD
    (folder / "da.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    recipe = {
        "run_dir": str(folder / "out"),
        "read_sources": {"use": ["da"], "own": {"da": {"path": str(folder / "da.jsonl"), "reader": "jsonl"}}},
        "filter_language": {"language": "da", "languages": ["da"], "min_characters": 1, "min_probability": 0},
        "deduplicate": {},
        "train_tokenizer": {"vocabulary": 400},
        "make_shards": {"tokenizer": "{run_dir}/tokenizer", "validation_share": 0.1},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for step in (read_sources, filter_language, deduplicate, train_tokenizer, make_shards):
        run(step.main, folder / "recipe.yaml")
    return folder / "recipe.yaml"


def read_by_the_format(prefix: Path) -> list[list[int]]:
    """Documents of a Megatron shard, read from the format's description and nothing else."""
    index = prefix.with_suffix(".idx").read_bytes()
    tokens = prefix.with_suffix(".bin").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, bounds = struct.unpack("<QBQQ", index[9:34])
    assert (version, code, bounds) == (1, 8, sequences + 1) and len(index) == 34 + 12 * sequences + 8 * bounds
    lengths = struct.unpack(f"<{sequences}i", index[34 : 34 + 4 * sequences])
    pointers = struct.unpack(f"<{sequences}q", index[34 + 4 * sequences : 34 + 12 * sequences])
    assert struct.unpack(f"<{bounds}q", index[34 + 12 * sequences :]) == tuple(range(bounds))
    return [list(struct.unpack_from(f"<{n}H", tokens, at)) for n, at in zip(lengths, pointers, strict=True)]


def test_an_independent_reader_finds_every_document_between_one_bos_and_one_eos(shards_recipe: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    out = shards_recipe.parent / "out"
    processor = SentencePieceProcessor(model_file=str(out / "tokenizer/tokenizer.model"))
    held_out = [row["id"] for row in read_documents(out / "shards/validation.parquet")]
    for name in ("train", "validation"):
        documents = read_by_the_format(out / "shards" / name)
        texts = [
            row["text"]
            for row in read_documents(out / "corpus/unique/da.parquet")
            if (row["id"] in held_out) == (name == "validation")
        ]
        assert documents == [[1, *processor.encode(text), 2] for text in texts]
        reader = ShardReader(out / "shards" / name, verify=True)
        assert [reader[i].tolist() for i in range(len(reader))] == documents
        assert reader.facts["tokens"] == sum(map(len, documents)) == reader.facts["tokens_of"]["da"]
    assert 10 < len(held_out) < 60
    counts = read_json(out / "shards/run.json")["counts"]["da"]
    assert counts["validation_documents"] == len(held_out) and counts["kept"] == len(WHO) * len(DOES) * len(WHAT) + 2


def test_transformers_and_sentencepiece_agree_and_texts_come_back_whole(shards_recipe: Path) -> None:
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoTokenizer, LlamaTokenizer

    folder = shards_recipe.parent / "out/tokenizer"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    assert isinstance(tokenizer, LlamaTokenizer) and len(tokenizer) == 400
    assert (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    for text in (*ODD, "Rødgrød med fløde på Ærøs østside", "2024", "ÆØÅ"):
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        assert ids == [1, *processor.encode(text)] and tokenizer.decode(ids, skip_special_tokens=True) == text
    assert all(len(processor.encode(f"x{letter}")) == len(processor.encode("x")) + 1 for letter in "æøåÆØÅ")
    assert len(processor.encode("2024")) - len(processor.encode("2")) == 3


def test_who_is_held_out_depends_on_the_text_alone() -> None:
    fractions = [make_shards.text_fraction(f"dokument {i}") for i in range(4_000)]
    assert sum(fraction < 0.02 for fraction in fractions) == pytest.approx(80, abs=30)
    assert fractions[0] == make_shards.text_fraction("dokument 0")


@pytest.mark.parametrize(
    ("name", "damage", "verify", "message"),
    [
        ("train.bin", lambda data: data[:-2], False, "corrupt shard: .* bytes, its index says"),
        ("train.bin", lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:], True, "checksum differs"),
        ("train.idx", lambda data: b"MMIDIDXX" + data[8:], False, "not a Megatron index"),
        ("train.idx", lambda data: data[:-8], False, "corrupt shard"),
        ("train.idx", lambda data: b"", False, "not a Megatron index"),
        ("train.json", lambda data: data[:-9], False, "not JSON"),
    ],
)
def test_a_damaged_shard_is_refused(
    shards_recipe: Path, tmp_path: Path, name: str, damage: Callable[[bytes], bytes], verify: bool, message: str
) -> None:
    folder = tmp_path / "shards"
    shutil.copytree(shards_recipe.parent / "out/shards", folder)
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(BadInput, match=message):
        ShardReader(folder / "train", verify=verify)


def test_a_large_vocabulary_takes_four_bytes_a_token(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "wide", 128_256) as shard:
        shard.write([128_000, 70_000, 2])
        shard.finish()
    assert np.fromfile(tmp_path / "wide.bin", "<i4").tolist() == [128_000, 70_000, 2]
    assert ShardReader(tmp_path / "wide", verify=True)[0].tolist() == [128_000, 70_000, 2]


def test_a_tokenizer_that_cannot_mark_documents_or_is_not_there_is_refused(shards_recipe: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"a": 0, "<s>": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>").save_pretrained(tmp_path / "no_end")
    shutil.copytree(shards_recipe.parent / "out/corpus", tmp_path / "out/corpus")
    for location, message in (
        (tmp_path / "no_end", "has no eos_token_id"),
        (tmp_path / "gone/tokenizer", "run pretrain/corpus/train_tokenizer.py first"),
    ):
        with pytest.raises(BadInput, match=message):
            run(make_shards.main, shards_recipe, f"tokenizer={location}", f"run_dir={tmp_path / 'out'}")
