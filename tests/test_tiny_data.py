"""The miniature's raw data and its bars: pytest tests/test_tiny_data.py"""

import bz2
import gzip
import json
import random
import re
import zipfile
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from conftest import script, write_recipe

from runs.tiny_data import check, danish, english, noise, write
from runs.tiny_data.grammar import sentence
from snakmodel.documents import DocumentWriter

DOCUMENTS = 600


@pytest.fixture(scope="module")
def raw_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw_data(tmp_path_factory.mktemp("tiny"), seed=1)


def write_raw_data(folder: Path, seed: int) -> Path:
    recipe = write_recipe(folder / "base.yaml", tiny_data={"documents": DOCUMENTS, "seed": seed})
    done = script("runs/tiny_data/write.py", "--config", recipe)
    assert done.returncode == 0, done.stderr
    return folder / "run" / "raw_data"


def read_raw(folder: Path) -> dict[str, list[str]]:
    """The units of the Danish sources, by nothing but the standard library."""
    books = gzip.decompress((folder / "eubookshop.txt.gz").read_bytes()).decode()
    wiki = bz2.decompress((folder / "dawiki.xml.bz2").read_bytes()).decode()
    with zipfile.ZipFile(folder / "reddit.corpus.zip") as archive:
        posts = archive.read("reddit-da/utterances.jsonl").decode()
    return {
        "eubookshop": books.strip().split("\n\n"),
        "dawiki": re.findall(r"<page>.*?</page>", wiki, re.DOTALL),
        "danewsroom": [json.loads(line)["text"] for line in (folder / "danewsroom.jsonl").read_text().splitlines()],
        "reddit": [json.loads(line)["text"] for line in posts.splitlines()],
    }


def texts_of(raw_data: Path) -> dict[str, str]:
    """id -> raw text."""
    sources = read_raw(raw_data / "danish")
    return {f"{name}:{index:08d}": text for name, texts in sources.items() for index, text in enumerate(texts)}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(raw_data: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "other").mkdir()
    again, other = write_raw_data(tmp_path / "again", seed=1), write_raw_data(tmp_path / "other", seed=2)
    files = [path.relative_to(raw_data) for path in raw_data.rglob("*") if path.is_file()]
    files = [path for path in files if path.name not in ("run.json", "started.json")]
    assert len(files) == 11
    for path in files:
        assert (raw_data / path).read_bytes() == (again / path).read_bytes(), path
        assert (raw_data / path).read_bytes() != (other / path).read_bytes(), path


def test_the_truth_is_what_lies_in_the_files(raw_data: Path) -> None:
    truth = json.loads((raw_data / "truth.json").read_text())
    texts = texts_of(raw_data)
    assert Counter(id.partition(":")[0] for id in texts) == {n: told["units"] for n, told in truth["danish"].items()}
    assert sum(len(told["clean"]) for told in truth["danish"].values()) == DOCUMENTS
    for language, word in (
        ("no", r"\b(ikke|etterpå|hva|hytta|været|noe|ungene|å)\b"),
        ("sv", r"\b(och|inte|vad|efteråt|medan)\b|[äö]"),
        ("en", r"\bthe\b"),
    ):
        ids = [id for told in truth["danish"].values() for id in told["foreign"][language]]
        assert len(ids) == round(write.FOREIGN[language] * DOCUMENTS)
        assert all(re.search(word, texts[id], re.IGNORECASE) for id in ids)
    posts = [text for id, text in texts.items() if id.startswith("reddit")]
    deleted = sum(text in ("[deleted]", "[removed]", "removed") for text in posts)
    tiny = sum(len(text) < 3 for text in posts)
    assert truth["danish"]["reddit"]["dropped_by_reader"] == {"deleted": deleted, "too short": tiny}
    pages = [text for id, text in texts.items() if id.startswith("dawiki")]
    redirects, talk = (sum(mark in page for page in pages) for mark in ("<redirect", "<ns>1</ns>"))
    assert truth["danish"]["dawiki"]["dropped_by_reader"] == {"redirect": redirects, "not an article": talk}


def test_planted_copies_are_copies_and_every_unit_is_told_of_once(raw_data: Path) -> None:
    truth = json.loads((raw_data / "truth.json").read_text())
    texts = texts_of(raw_data)
    exact, near = truth["exact_duplicates"], truth["near_duplicates"]
    assert all(len({texts[id] for id in group}) == 1 for group in exact)
    assert {len(group) for group in exact} == {2, 3}
    assert any(len({id.partition(":")[0] for id in group}) > 1 for group in exact)
    for original, copy in near:
        words = [texts[id].lower().split() for id in (original, copy)]
        left, right = ({tuple(line[i : i + 5]) for i in range(len(line) - 4)} for line in words)
        assert texts[original] != texts[copy]
        assert noise.jaccard(texts[original], texts[copy]) >= 0.85
        assert len(left & right) / len(left | right) >= 0.8  # punctuation counted too
    told = [id for source in truth["danish"].values() for id in source["clean"] + source["junk"]]
    told += [id for source in truth["danish"].values() for ids in source["foreign"].values() for id in ids]
    told += [id for group in exact + near for id in group[1:]]
    dropped = sum(sum(source["dropped_by_reader"].values()) for source in truth["danish"].values())
    assert len(told) == len(set(told)) == len(texts) - dropped


def test_danish_agrees_and_knows_where_the_verb_goes() -> None:
    nouns = {noun.bare: noun for table in danish.NOUN.values() for noun in table}
    big, small = danish.Adjective("stor", "stort", "store", "store"), danish.Adjective("lille", "lille", "små", "lille")
    assert danish.noun_phrase(nouns["bord"], "en", big) == "et stort bord"
    assert danish.noun_phrase(nouns["bord"], "den", small) == "det lille bord"
    assert danish.noun_phrase(nouns["kop"], "de", small) == "de små kopper"
    plurals = {"glas": "glassene", "lærer": "lærerne", "barn": "børnene", "stol": "stolene", "teater": "teatrene"}
    assert {bare: nouns[bare].definite_plural for bare in plurals} == plurals
    assert danish.main_clause("hun", "så", "hunden", front="i går", adverb="ikke") == "i går så hun ikke hunden"
    assert danish.subordinate_clause("hun", "så", "hunden", "ikke") == "hun ikke så hunden"


def test_clean_documents_are_not_near_duplicates_of_each_other() -> None:
    rng = random.Random(5)
    for genres in (danish.GENRES, english.GENRES):
        texts = [text for _, text in write.draw(rng, genres, 600)]
        by_shingle: dict[tuple[str, ...], list[int]] = {}
        for number, text in enumerate(texts):
            for shingle in noise.shingles(text):
                by_shingle.setdefault(shingle, []).append(number)
        pairs = {pair for numbers in by_shingle.values() for pair in combinations(numbers, 2)}
        assert max(noise.jaccard(texts[one], texts[other]) for one, other in pairs) < 0.8


def test_tasks_are_balanced_true_and_not_in_the_corpus(raw_data: Path) -> None:
    def rows_of(name: str) -> list[dict]:
        return [json.loads(line) for line in (raw_data / name).read_text().splitlines()]

    tasks = {name: rows_of(f"tasks/{name}.jsonl") for name in ("acceptability", "sentiment", "knowledge")}
    corpus = "\n".join(texts_of(raw_data).values())
    for rows in tasks.values():
        answers = Counter(row["answer"] for row in rows)
        assert len({row["id"] for row in rows}) == 300 and max(answers.values()) - min(answers.values()) < 60
    assert all(row["prompt"] not in corpus for row in tasks["sentiment"])
    assert Counter(row["answer"] for row in tasks["sentiment"]) == {0: 100, 1: 100, 2: 100}
    longer = Counter[int]()
    for row in tasks["acceptability"]:
        right, wrong = row["options"][row["answer"]], row["options"][1 - row["answer"]]
        assert right != wrong and right not in corpus and wrong not in corpus
        longer[(len(right) > len(wrong)) - (len(right) < len(wrong))] += 1
    assert abs(longer[1] - longer[-1]) < 15  # a model that likes short sentences gains nothing
    stated = {sentence(statement.format(answer=fact.answer)) for fact in danish.FACTS for statement in fact.statements}
    for row in tasks["knowledge"]:
        true = [index for index, option in enumerate(row["options"]) if f"{row['prompt']}{option}." in stated]
        assert true == [row["answer"]] and len(set(row["options"])) == 4
    assert len(rows_of("instructions.jsonl")) == 800


TRUTH = {
    "danish": {
        "a": {
            "units": 7, "dropped_by_reader": {"deleted": 1},
            "clean": ["a:1", "a:2"], "foreign": {"no": ["a:4"]}, "junk": ["a:6"],
        },
        "b": {"units": 3, "dropped_by_reader": {}, "clean": ["b:0"], "foreign": {"no": ["b:2"]}, "junk": []},
    },
    "exact_duplicates": [["a:1", "a:3", "b:1"]],
    "near_duplicates": [["a:2", "a:5"]],
}  # fmt: skip


def values(checks: list[check.Check]) -> dict[str, float]:
    return {made.name: made.value for made in checks}


def test_documents_that_live_on_in_a_copy_are_not_lost() -> None:
    found = check.check_documents(TRUTH, {"b:1", "a:5", "b:2"}, check.Settings())
    assert list(values(found).values()) == [0.5, 1.0, 1.0, 1.0, pytest.approx(1 / 3)]
    assert [made.passed for made in found] == [False, True, True, True, False]
    found = check.check_documents(TRUTH, {"a:1", "a:3", "a:2", "a:5", "a:6", "b:0"}, check.Settings())
    assert list(values(found).values()) == [1.0, 0.0, 0.5, 0.0, 0.0]
    assert [made.passed for made in found] == [True, False, False, False, True]


def count(seen: int, **dropped: int) -> dict[str, object]:
    return {"seen": seen, "kept": seen - sum(dropped.values()), "dropped": dropped}


def test_units_that_go_missing_between_steps_are_noticed() -> None:
    read = {"a": count(7, deleted=1), "b": count(3)}
    good = {"read_sources": read, "filter_language": {"a": count(6, no=2), "b": count(3)}}
    good["deduplicate"] = {"a": count(4, exact=2), "b": count(3, exact=1)}
    assert check.check_counts(TRUTH, good)[0].passed
    (found,) = check.check_counts(TRUTH, {**good, "deduplicate": {"a": count(5), "b": count(3)}})
    assert not found.passed and found.value == 1 and "deduplicate: a: 5 seen, 4 expected" in found.what
    (found,) = check.check_counts(TRUTH, {**good, "read_sources": {"a": count(7, empty=1)}})
    assert not found.passed and "a: dropped {'empty': 1}, planted {'deleted': 1}" in found.what
    assert "read_sources: b: 0 seen, 3 expected" in found.what


def score(step: int, dataset: str, language: str, value: float, half: float, chance: float | None) -> dict[str, object]:
    metric = "bits_per_byte" if chance is None else "accuracy"
    return {
        "series": "pretrained", "step": step, "dataset": dataset, "language": language, "metric": metric,
        "value": value, "low": value - half, "high": value + half, "chance": chance, "primary": True,
    }  # fmt: skip


SCORES = [
    score(0, "held-out-da", "da", 3.0, 0.1, None), score(8, "held-out-da", "da", 2.0, 0.1, None),
    score(0, "held-out-en", "en", 1.0, 0.1, None), score(8, "held-out-en", "en", 1.5, 0.1, None),
    score(0, "learnt", "da", 50.0, 5.0, 50.0), score(8, "learnt", "da", 60.0, 5.0, 50.0),
    score(0, "known before", "da", 60.0, 5.0, 50.0), score(8, "known before", "da", 70.0, 5.0, 50.0),
    score(0, "not learnt", "da", 50.0, 5.0, 50.0), score(8, "not learnt", "da", 54.0, 5.0, 50.0),
]  # fmt: skip


def test_a_task_counts_where_it_was_learnt_and_a_language_where_it_was_forgotten() -> None:
    bars = check.Settings(min_fall_bits_per_byte=0.4, min_tasks_above_chance=1, forgetting_language="en")
    found = check.check_scores(SCORES, bars)
    assert values(found) == {
        "fall in bits per byte": pytest.approx(1 / 3), "tasks above chance": 1, "forgetting": pytest.approx(0.3)
    }  # fmt: skip
    assert [made.passed for made in found] == [False, True, True]
    assert check.check_scores(SCORES, check.Settings()) == []


@pytest.mark.parametrize(("bar", "status"), [(0.3, 0), (0.4, 1)])
def test_a_bar_that_is_not_passed_ends_with_status_1_and_no_record(tmp_path: Path, bar: float, status: int) -> None:
    run = tmp_path / "run"
    for folder in ("corpus/unique", "scores"):
        (run / folder).mkdir(parents=True)
        (run / folder / "run.json").write_text("{}")
    with DocumentWriter(run / "corpus/unique/a.parquet") as writer:
        writer.write({"text": "hej", "source": "a", "id": "a:1"})
    (run / "scores/scores.json").write_text(json.dumps({"rows": SCORES}))
    done = script(
        "runs/tiny_data/check.py", "--config", write_recipe(tmp_path / "r.yaml", check={"min_fall_bits_per_byte": bar})
    )
    assert done.returncode == status, done.stderr
    assert (run / "check/run.json").is_file() == (status == 0)
    (made,) = json.loads((run / "check/checks.json").read_text())["checks"]
    assert made["passed"] == (status == 0) and made["bound"] == bar
    assert ("1 of 1 bars not passed: fall in bits per byte" in done.stderr) == (status == 1)
