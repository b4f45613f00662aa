"""Corpus steps on planted documents: languages told apart, duplicates found, the first of a group kept.

python -m pytest tests/test_corpus.py
"""

import itertools
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from pretrain.corpus import deduplicate, filter_language, minhash, read_sources
from snakmodel.documents import read_documents
from snakmodel.records import read_json
from snakmodel.settings import BadInput

DANISH = [
    "Hun cyklede hjem fra arbejde, selv om det regnede hele vejen langs havnen.",
    "Kommunen vil bygge en ny skole, men beboerne synes ikke, at pladsen er stor nok.",
    "Vi købte rugbrød, leverpostej og noget ost, inden butikken lukkede klokken seks.",
    "Bogen handler om en ung fisker, der drømmer om at rejse til den anden side af jorden.",
    "Jeg ved ikke, hvorfor toget er forsinket igen, men der kommer sikkert snart et andet.",
    "Det gamle hus blev malet gult sidste sommer, og nu trænger taget til nye tagsten.",
    "Lægen sagde, at hun burde sove mere og drikke mindre kaffe om aftenen.",
    "De fleste af børnene ville hellere lege udenfor end høre på flere historier.",
]
FOREIGN = {
    "no": "Jeg vet ikke hvorfor bussen aldri kommer når vi står og fryser utenfor skolen, men nå går jeg hjem.",
    "sv": "Jag vet inte varför bussen aldrig kommer när vi står och fryser utanför skolan, men nu går jag hem.",
    "en": "I do not know why the bus never comes when we are waiting outside the school, so I am walking home.",
}


def run(main: Callable[[], None], config: Path, *words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", "--config", str(config), *words])
        main()


def write_corpus_recipe(folder: Path, sources: dict[str, list[str]], **sections: dict) -> Path:
    """A recipe that reads these texts, each list from a JSON-lines file of its own."""
    own = {}
    for name, texts in sources.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        own[name] = {"path": str(path), "reader": "jsonl"}
    recipe = {
        "run_dir": str(folder / "out"),
        "read_sources": {"use": list(own), "own": own},
        "filter_language": {"language": "da"},
        "deduplicate": {},
        **sections,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "recipe.yaml"


def danish_texts(count: int) -> list[str]:
    """Documents of three to five sentences, no two of them the same."""
    orders = [order for size in (3, 4, 5) for order in itertools.permutations(DANISH, size)]
    return [" ".join(order) for order in random.Random(1).sample(orders, count)]


def random_words(rng: random.Random, count: int) -> list[str]:
    return ["".join(rng.choices("abdefgiklmnoprstuvæøå", k=6)) for _ in range(count)]


def rejects(folder: Path) -> dict[str, dict]:
    return {row["id"]: row for path in (folder / "rejects").glob("*.parquet") for row in read_documents(path)}


def test_foreign_documents_go_with_their_language_as_the_reason_and_danish_ones_stay(tmp_path: Path) -> None:
    foreign = [f"{text} {index}." for text in FOREIGN.values() for index in range(20)]
    config = write_corpus_recipe(tmp_path, {"news": [*danish_texts(300), *foreign, "Kort."]})
    run(read_sources.main, config)
    run(filter_language.main, config)
    folder = tmp_path / "out/corpus/in_language"
    gone = rejects(folder)
    reasons = [gone.get(f"news:{index:08d}", {}).get("reason") for index in range(361)]
    assert reasons[:300].count(None) >= 294 and reasons[360] == "too short"
    for start, language in zip((300, 320, 340), FOREIGN, strict=True):
        assert reasons[start : start + 20].count(f"language {language}") >= 19
    kept = list(read_documents(folder / "news.parquet"))
    assert all(row["language"] == "da" and row["language_probability"] > 0.6 for row in kept)
    counts = read_json(folder / "run.json")["counts"]["news"]
    assert counts["kept"] == len(kept) == counts["seen"] - sum(counts["dropped"].values()) and counts["seen"] == 361
    assert counts["bytes"] == sum(len(row["text"].encode()) for row in kept)


def test_planted_duplicates_are_removed_and_the_first_by_source_and_index_is_kept(tmp_path: Path) -> None:
    rng = random.Random(2)
    words = [random_words(rng, 200) for _ in range(40)]
    originals = [" ".join(w) for w in words]
    near = " ".join([*words[3][:100], "ændret", *words[3][101:]])  # 5 of 196 shingles differ: J = .95
    far = " ".join([*words[4][:100], *random_words(rng, 100)])  # half of the shingles differ
    again = [originals[1].replace(" ", "\n"), near, far, "Godt nytår", "Godt nytår", "Godt nytår til jer alle"]
    config = write_corpus_recipe(tmp_path, {"b_first": originals, "a_second": [originals[0], *again]})
    loose = {"min_probability": 0, "languages": ["da"], "min_characters": 1}
    run(read_sources.main, config)
    run(filter_language.main, config, *(f"{key}={json.dumps(value)}" for key, value in loose.items()))
    run(deduplicate.main, config)
    folder = tmp_path / "out/corpus/unique"
    assert {name: (row["reason"], row["duplicate_of"]) for name, row in rejects(folder).items()} == {
        "a_second:00000005": ("exact duplicate", "a_second:00000004"),
        "b_first:00000000": ("exact duplicate", "a_second:00000000"),
        "b_first:00000001": ("exact duplicate", "a_second:00000001"),
        "b_first:00000003": ("near duplicate", "a_second:00000002"),
    }
    kept = [row["id"] for name in ("a_second", "b_first") for row in read_documents(folder / f"{name}.parquet")]
    assert kept == sorted(kept) and len(kept) == 47 - 4


def test_an_interrupted_step_continues_with_the_next_source_and_ends_the_same(tmp_path: Path) -> None:
    texts = danish_texts(60)
    config = write_corpus_recipe(tmp_path, {"one": texts[:30], "two": texts[20:]})
    steps = {"raw": read_sources.main, "in_language": filter_language.main, "unique": deduplicate.main}
    for main in steps.values():
        run(main, config)
    for name, main in reversed(steps.items()):  # the last first: its input's record must not change beneath it
        folder = tmp_path / "out/corpus" / name
        whole = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
        record = read_json(folder / "run.json")
        written = (folder / "one.parquet").stat().st_mtime_ns
        for path in ("run.json", "counts/two.json", "two.parquet", "rejects/two.parquet"):
            (folder / path).unlink()
        (folder / ".two.parquet.tmp").write_bytes(b"half")
        run(main, config)
        assert {path: path.read_bytes() for path in folder.rglob("*.parquet")} == whole
        assert read_json(folder / "run.json")["counts"] == record["counts"]
        assert (folder / "one.parquet").stat().st_mtime_ns == written


def test_estimated_jaccard_is_unbiased_and_spreads_as_theory_says() -> None:
    rng = random.Random(3)
    multipliers = minhash.draw_permutations(64)
    for differing in (5, 20, 60):
        errors = []
        for _ in range(100):
            words = random_words(rng, 150)
            texts = " ".join(words), " ".join(words[:-differing] + random_words(rng, differing))
            first, second = (set(minhash.hash_shingles(text, 5).tolist()) for text in texts)
            true = len(first & second) / len(first | second)
            signatures = [minhash.sign(minhash.hash_shingles(text, 5), multipliers) for text in texts]
            errors.append(float(minhash.estimate_jaccard(*signatures)) - true)
        spread = (true * (1 - true) / 64) ** 0.5
        assert abs(np.mean(errors)) < 4 * spread / 10
        assert np.std(errors) == pytest.approx(spread, rel=0.35)


def test_clusters_reach_through_others_to_their_first_document() -> None:
    pairs = np.array([[4, 5], [2, 4], [0, 1]])
    assert minhash.first_of_cluster(7, pairs).tolist() == [0, 0, 2, 3, 2, 2, 6]
    assert minhash.first_of_cluster(2, np.empty((0, 2), dtype=np.int64)).tolist() == [0, 1]


def test_the_catalogue_holds_the_ten_sources_and_each_says_how_to_get_it() -> None:
    catalogue = Path(__file__).parent.parent / "configs/sources.yaml"
    names = list(yaml.safe_load(catalogue.read_text()))
    assert len(names) == 10
    for name in names:
        with pytest.raises(BadInput, match="to be had from: https://|no reader for this format yet"):
            read_sources.choose_sources(read_sources.Settings(use=[name], catalogue=str(catalogue)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("read_sources.use=[nyhed]", "no source 'nyhed'; did you mean nyheder?"),
        ("read_sources.own.nyheder.path=gone.gz", "^gone.gz not found$"),
        ("read_sources.own.nyheder.path=out/tiny-base/raw_data/da.gz", "run runs/tiny_data/write.py first"),
        ("read_sources.own.nyheder.reader=null", "nyheder: there is no reader for this format yet"),
        ("read_sources.own.nyheder.text_column=tekst", r"kept 0 of 1 \(0.0%\); 1 no tekst"),
        ("read_sources.own.nyheder.redaer=jsonl", "redaer is not a setting; did you mean reader?"),
    ],
)
def test_a_wrong_source_is_refused_in_one_line(tmp_path: Path, change: str, message: str) -> None:
    config = write_corpus_recipe(tmp_path, {"nyheder": DANISH[:1]})
    recipe = yaml.safe_load(config.read_text())
    recipe["read_sources"]["catalogue"] = str(config)
    config.write_text(yaml.safe_dump(recipe))
    with pytest.raises(BadInput, match=message):
        run(read_sources.main, config, change)
