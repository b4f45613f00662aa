"""Kinds of tokens, vocabularies that differ, frequencies and neighbours: pytest tests/test_embeddings.py"""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import run_main, save_step, small_model, write_recipe
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from analyze import embeddings, token_classes
from analyze.tensors import open_model
from snakmodel.documents import DocumentWriter
from snakmodel.records import read_json, write_json
from snakmodel.series import Checkpoint, write_series
from snakmodel.shards import ShardWriter

OLD = ["<unk>", "<s>", "</s>", "<0xC3>", "7", "▁og", "▁the", "▁at", "▁gåben", "lig", "!", "▁кот", "▁old"]
NEW = [*OLD[:3], "▁hus", *OLD[:2:-1][1:]]  # the others in another order, without "▁old"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
CLASSES = {
    "special": ["<unk>", "<s>", "</s>"], "byte": ["<0xC3>"], "digit": ["7"], "own letters": ["▁gåben"],
    "word da": ["▁hus", "▁og"], "word en": ["▁the"], "word of several": ["▁at"], "piece": ["lig"],
    "punctuation": ["!"], "other script": ["▁кот"],
}  # fmt: skip


def make_tokenizer(tokens):
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def write_documents(path, text):
    with DocumentWriter(path) as file:
        file.write({"text": text, "source": "made", "id": "1"})


@pytest.fixture
def recipe(tmp_path):
    """A step whose tokens stand in other rows than the base's: "▁og" turned, "▁the" doubled, "!" moved to "lig"."""
    base, run = small_model(0, vocab_size=len(OLD) + 3), tmp_path / "run"  # three rows without a token
    step = small_model(1, vocab_size=len(NEW), tie_word_embeddings=False)
    places = torch.tensor([OLD.index(token) if token in OLD else 0 for token in NEW])
    with torch.no_grad():
        for name in (EMBEDDING, HEAD):
            step.get_parameter(name).copy_(base.get_parameter(name)[places])
        vectors = step.get_parameter(EMBEDDING)
        vectors[NEW.index("▁the")] *= 2
        vectors[NEW.index("▁og")] = -vectors[NEW.index("▁og")]
        vectors[NEW.index("!")] = vectors[NEW.index("lig")] * 1.01  # from now on nearest to it
    rows = [save_step(run / "models/0", 0, base, make_tokenizer(OLD))]
    rows.append(save_step(run / "models/9", 9, step, make_tokenizer(NEW)))
    write_series(run / "models", "made", rows)
    write_documents(tmp_path / "da.parquet", "og hus at " * 5 + "gåben lig old")
    write_documents(tmp_path / "en.parquet", "the at " * 5 + "old")
    with ShardWriter(run / "shards/made/train", len(NEW)) as shard:
        shard.write([NEW.index("▁og")] * 12 + [NEW.index("▁the")])
        shard.finish()
    write_json(run / "shards/run.json", {"section": "make_shards"})
    words = {language: str(tmp_path / f"{language}.parquet") for language in ("da", "en")}
    settings = {"words_of": words, "words": ["lig", "og", "absent"], "neighbours": 1, "top_k": 2}
    return write_recipe(tmp_path / "made.yaml", embeddings=settings)


def results(recipe):
    """The row of each matrix, all groups, and all tokens of the last step."""
    run_main(embeddings, recipe)
    analysis = recipe.parent / "run/analysis"
    rows = {row["matrix"]: row for row in read_json(analysis / "embeddings.json")["rows"]}
    tokens = pq.read_table(analysis / "embeddings/pretrained/step-00009/tokens.parquet").to_pylist()
    return rows, pq.read_table(analysis / "embeddings.parquet").to_pylist(), tokens


def test_tokens_of_differing_vocabularies_are_compared_by_their_text(recipe):
    rows, groups, tokens = results(recipe)
    row = rows["embed_tokens"]
    assert (row["tokens"], row["only_before"], row["only_after"]) == (12, 4, 1)
    assert {change["token"] for change in row["most"]} <= {"▁og", "▁the", "!"} and row["minimum"] == 0
    found = {token["token"]: token for token in tokens if token["matrix"] == "embed_tokens"}
    assert "▁hus" not in found and found["▁the"]["row"] == NEW.index("▁the")
    assert found["▁the"]["relative"] == pytest.approx(1) and found["▁the"]["cosine"] == pytest.approx(1)
    assert found["▁og"]["relative"] == pytest.approx(2) and found["▁og"]["cosine"] == pytest.approx(-1)
    assert rows["lm_head"]["maximum"] == 0 and rows["lm_head"]["frequency_correlation"] is None
    assert found["7"]["l1"] == 0


def test_tokens_are_grouped_by_kind_and_by_frequency(recipe):
    rows, groups, tokens = results(recipe)
    kinds = token_classes.classify(
        make_tokenizer(NEW),
        "æøå",
        {name: token_classes.read_words(recipe.parent / f"{name}.parquet") for name in ("da", "en")},
    )
    assert {NEW[number]: kind for number, kind in kinds.items()} == {t: kind for kind in CLASSES for t in CLASSES[kind]}
    means = {(g["matrix"], g["group"], g["measure"]): (g["tokens"], g["mean"]) for g in groups}
    assert means["embed_tokens", "word en", "relative"] == (1, pytest.approx(1))
    assert means["embed_tokens", "special", "l1"] == (3, 0)
    assert means["embed_tokens", "10 to 99", "relative"] == (1, pytest.approx(2))
    assert means["embed_tokens", "1 to 9", "relative"] == (1, pytest.approx(1))
    assert means["embed_tokens", "0", "l1"][0] == 10 and means["embed_tokens", "all", "l1"][0] == 12
    assert rows["embed_tokens"]["most_by_class"]["word en"][0]["token"] == "▁the"
    counts = {token["token"]: token["count"] for token in tokens}
    assert counts["▁og"] == 12 and counts["7"] == 0


def test_with_one_language_a_word_is_only_said_to_stand_in_its_text(recipe):
    english = token_classes.read_words(recipe.parent / "en.parquet")
    kinds = token_classes.classify(make_tokenizer(NEW), "æøå", {"en": english})
    told = {NEW[number]: kind for number, kind in kinds.items()}
    assert told["▁the"] == told["▁at"] == "word seen in en" and told["▁og"] == "piece"


def test_the_nearest_tokens_of_a_word_are_told_before_and_after(recipe):
    near = {found["word"]: found for found in results(recipe)[0]["embed_tokens"]["neighbours"]}
    assert near["lig"]["after"][0] == {"token": "!", "cosine": pytest.approx(1)} and near["lig"]["kept"] == 0
    assert near["lig"]["before"][0]["token"] != "!" and near["og"]["token"] == "▁og"
    assert near["absent"] == {"word": "absent", "token": None}


def test_tokens_are_counted_once_for_the_same_shards(recipe, monkeypatch):
    results(recipe)
    monkeypatch.setattr(token_classes, "open_shards", None)  # would fail
    run_main(embeddings, recipe, "top_k=3", "--overwrite")
    assert np.sum(read_json(recipe.parent / "run/analysis/embeddings/token-counts.json")["counts"]) == 13


def test_a_tied_head_is_the_embedding(tmp_path):
    tied, own = small_model(0, tie_word_embeddings=True), small_model(0)
    for name, model in (("tied", tied), ("own", own)):
        model.save_pretrained(tmp_path / name)
    models = (open_model(Checkpoint(0, str(tmp_path / name), {})) for name in ("tied", "own"))
    before, after = map(embeddings.read_vectors, models)
    found = {kind: pair for kind, *pair in embeddings.matrices(before, after)}
    assert torch.equal(found["lm_head"][0], tied.get_parameter(EMBEDDING))
    assert torch.equal(found["lm_head"][1], own.get_parameter(HEAD))
    assert [kind for kind, *_ in embeddings.matrices(before, before)] == ["embed_tokens"]


def test_zero_vectors_have_no_direction():
    before, after = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[3.0, 4.5], [1.0, 0.0]])
    values = embeddings.changes(before, after, np.array([[0, 0], [1, 1]]))
    assert values["l1"].tolist() == [0.5, 1.0] and values["relative"][0] == pytest.approx(0.1)
    assert np.isnan(values["relative"][1]) and np.isnan(values["cosine"][1])
    kinds = [g for g in embeddings.summarise(values, np.array(["a", "a"])) if g["measure"] == "cosine"]
    assert kinds[0]["tokens"] == 1
