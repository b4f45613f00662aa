"""Corpus steps on planted documents: languages told apart, duplicates found, the first of a group kept.

python -m pytest tests/test_corpus.py
"""

import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from pretrain.corpus import deduplicate, filter_language, minhash, read_sources
from snakmodel.config import BadInput, load_yaml, to_dataclass
from snakmodel.documents import read_documents
from snakmodel.records import read_json

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


def run(main, config: Path, *words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", "--config", str(config), *words])
        main()


def write_recipe(folder: Path, sources: dict[str, list[str]], **sections: dict) -> Path:
    """A recipe that reads these texts, each list a JSON-lines file of its own."""
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
    config = folder / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe))
    return config


def danish_texts(count: int) -> list[str]:
    """Different documents of three to five sentences each."""
    rng = random.Random(1)
    orders = [order for size in (3, 4, 5) for order in itertools.permutations(DANISH, size)]
    return [" ".join(order) for order in rng.sample(orders, count)]


def rejects(folder: Path, source: str) -> dict[str, dict]:
    return {row["id"]: row for row in read_documents(folder / "rejects" / f"{source}.parquet")}


def test_foreign_documents_go_with_their_language_as_the_reason_and_danish_ones_stay(tmp_path):
    foreign = [f"{text} {index}." for text in FOREIGN.values() for index in range(20)]
    config = write_recipe(tmp_path, {"news": [*danish_texts(300), *foreign, "Kort."]})
    run(read_sources.main, config)
    run(filter_language.main, config)
    folder = tmp_path / "out/corpus/in_language"
    gone = rejects(folder, "news")
    planted = {f"news:{300 + i:08d}": f"language {name}" for i, name in enumerate(sorted(FOREIGN, key=list(FOREIGN).index) * 1 for _ in [0])} if False else {}  # noqa: E501
    del planted
    reasons = [gone.get(f"news:{index:08d}", {}).get("reason") for index in range(361)]
    assert sum(reason is not None for reason in reasons[:300]) <= 6
    for start, name in zip((300, 320, 340), FOREIGN, strict=True):
        assert reasons[start : start + 20].count(f"language {name}") >= 19
    assert reasons[360] == "too short"
    kept = list(read_documents(folder / "news.parquet"))
    assert all(row["language"] == "da" and row["language_probability"] > 0.6 for row in kept)
    counts = read_json(folder / "run.json")["counts"]["news"]
    assert counts["seen"] == 361 == counts["kept"] + sum(counts["dropped"].values()) and counts["kept"] == len(kept)
    assert counts["bytes"] == sum(len(row["text"].encode()) for row in kept)
