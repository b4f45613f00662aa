"""The miniature's raw data and its bars: pytest tests/test_tiny_data.py"""

import bz2
import gzip
import json
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml
from conftest import script, write_recipe

from runs.tiny_data.texts import FACTS, paragraph
from runs.tiny_data.write import PLANTED
from snakmodel.documents import DocumentWriter
from snakmodel.paths import Run
from snakmodel.records import read_json, read_jsonl, write_json

DOCUMENTS = 600
EXPECTED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def write_raw_data(folder, seed):
    recipe = write_recipe(folder / f"{seed}.yaml", tiny_data={"documents": DOCUMENTS, "seed": seed})
    done = script("runs/tiny_data/write.py", "--config", recipe)
    assert done.returncode == 0, done.stderr
    return folder / "run/raw_data"


@pytest.fixture(scope="module")
def raw_data(tmp_path_factory):
    return write_raw_data(tmp_path_factory.mktemp("tiny"), seed=1)


@pytest.fixture(scope="module")
def raw_texts(raw_data):
    """id -> raw text of the Danish sources, by nothing but the standard library."""
    folder = raw_data / "danish"
    wiki = bz2.decompress((folder / "dawiki.xml.bz2").read_bytes()).decode()
    posts = zipfile.ZipFile(folder / "reddit.corpus.zip").read("reddit-da/utterances.jsonl").decode()
    sources = {
        "eubookshop": gzip.decompress((folder / "eubookshop.txt.gz").read_bytes()).decode().strip().split("\n\n"),
        "dawiki": re.findall(r"<page>.*?</page>", wiki, re.DOTALL),
        "danewsroom": [json.loads(line)["text"] for line in (folder / "danewsroom.jsonl").read_text().splitlines()],
        "reddit": [json.loads(line)["text"] for line in posts.splitlines()],
    }
    return {f"{name}:{index:08d}": text for name, units in sources.items() for index, text in enumerate(units)}


@pytest.mark.parametrize(("seed", "same"), [(1, True), (2, False)])
def test_only_the_same_seed_writes_the_same_bytes(raw_data, tmp_path, seed, same):
    again = write_raw_data(tmp_path, seed)
    files = [path for path in raw_data.rglob("*.*") if path.name not in ("run.json", "started.json")]
    assert len(files) == 29
    for path in files:
        assert (path.read_bytes() == (again / path.relative_to(raw_data)).read_bytes()) == same, path


def test_the_truth_is_what_lies_in_the_files(raw_data, raw_texts):
    truth = read_json(raw_data / "truth.json")
    told = truth["danish"]
    assert Counter(id.partition(":")[0] for id in raw_texts) == {name: source["units"] for name, source in told.items()}
    for name, signs in EXPECTED["dropped_signs"].items():
        texts = [text for id, text in raw_texts.items() if id.startswith(name)]
        found = {reason: sum(bool(re.search(sign, text)) for text in texts) for reason, sign in signs.items()}
        assert told[name]["dropped_by_reader"] == found
    for language, sign in EXPECTED["signs"].items():
        ids = [id for source in told.values() for id in source["foreign"][language]]
        assert len(ids) == round(PLANTED["shares"][language] * DOCUMENTS)
        assert all(re.search(sign, raw_texts[id]) for id in ids)
    assert sum(len(source["clean"]) for source in told.values()) == DOCUMENTS
    lists = [ids for source in told.values() for ids in (source["clean"], source["junk"], *source["foreign"].values())]
    lists += [group[1:] for group in truth["exact_duplicates"] + truth["near_duplicates"]]
    ids = sum(lists, [])
    dropped = sum(sum(source["dropped_by_reader"].values()) for source in told.values())
    assert len(ids) == len(set(ids)) == len(raw_texts) - dropped


def test_planted_copies_are_copies(raw_data, raw_texts):
    truth = read_json(raw_data / "truth.json")
    groups = truth["exact_duplicates"]
    assert all(len({raw_texts[id] for id in group}) == 1 for group in groups)
    assert {len(group) for group in groups} == {2, 3}
    assert any(len({id.partition(":")[0] for id in group}) > 1 for group in groups)
    for pair in truth["near_duplicates"]:
        words = [re.findall(r"\w+", raw_texts[id].lower()) for id in pair]
        left, right = (set(zip(w, w[1:], w[2:], w[3:], w[4:], strict=False)) for w in words)
        assert 0.85 <= len(left & right) / len(left | right) < 1


def test_tasks_are_balanced_true_and_not_in_the_corpus(raw_data, raw_texts):
    tasks = {path.stem: read_jsonl(path) for path in (raw_data / "tasks").iterdir()}
    corpus = "\n".join(raw_texts.values())
    for name, rows in tasks.items():
        answers = Counter(row["answer"] for row in rows).values()
        assert len({row["id"] for row in rows}) == (112 if name == "retold" else 300)
        assert max(answers) - min(answers) < 60
    assert Counter(row["answer"] for row in tasks["sentiment"]) == {0: 100, 1: 100, 2: 100}
    assert all(row["prompt"] not in corpus for row in tasks["sentiment"])
    longer = 0
    for row in tasks["acceptability"]:
        right, wrong = row["options"][row["answer"]], row["options"][1 - row["answer"]]
        assert right != wrong and right not in corpus and wrong not in corpus
        longer += (len(right) > len(wrong)) - (len(right) < len(wrong))
    assert abs(longer) < 15  # a model that likes short sentences gains nothing
    stated = {paragraph(statement) for fact in FACTS for statement in fact.statements}
    for row in tasks["knowledge"]:
        true = [index for index, option in enumerate(row["options"]) if f"{row['prompt']}{option}." in stated]
        assert true == [row["answer"]] and len(set(row["options"])) == 4
    for told, retold in zip(tasks["retold"][::2], tasks["retold"][1::2], strict=True):
        right, other = (f"{row['prompt']}{row['options'][row['answer']]}." for row in (told, retold))
        assert right in stated and len(right.split()) >= 7 and told["options"] == retold["options"]
        words = other.split()  # none of its runs is in the corpus, so that it is never taken for one of its items
        assert not any(" ".join(words[start : start + 8]) in corpus for start in range(max(len(words) - 7, 1)))
    assert len({json.dumps(row) for row in read_jsonl(raw_data / "instructions.jsonl")}) == 800
    pairs = read_jsonl(raw_data / "preferences.jsonl")
    assert len({json.dumps(row) for row in pairs}) == 250
    assert all(row["chosen"].split(". ", 1)[1] in stated and row["rejected"] not in stated for row in pairs)


@pytest.mark.parametrize("missed, value, part, change", [(None, None, "kept", {}), *EXPECTED["missed"]])
def test_a_run_passes_its_bars_and_fails_the_one_that_it_misses(missed, value, part, change, tmp_path):
    parts = EXPECTED["run"] | {part: EXPECTED["run"][part] | change}
    run = Run(tmp_path / "run")
    for step in ("read_sources", "filter_language", "deduplicate", "collect"):
        write_json(run.folder(step) / "run.json", {"counts": parts.get(step)})
    for step, documents in (("filter_language", parts["in_language"]), ("deduplicate", parts["kept"])):
        for source, ids in documents.items():
            with DocumentWriter(run.folder(step) / f"{source}.parquet") as writer:
                for id in ids:
                    writer.write({"text": "hej", "source": source, "id": id})
    write_json(run.folder("collect") / "scores.json", {"rows": list(parts["scores"].values())})
    write_json(run.folder("forgetting").with_suffix(".json"), {"rows": list(parts["ledger"].values())})
    write_json(tmp_path / "truth.json", EXPECTED["truth"])
    recipe = write_recipe(tmp_path / "r.yaml", check=EXPECTED["bars"] | {"truth": str(tmp_path / "truth.json")})
    done = script("runs/tiny_data/check.py", "--config", recipe)
    checks = read_json(run.folder("check") / "checks.json")["checks"]
    expected = EXPECTED["values"] if missed is None else EXPECTED["values"] | {missed: value}
    assert {check["name"]: check["value"] for check in checks} == pytest.approx(expected)
    assert [check["name"] for check in checks if not check["passed"]] == ([] if missed is None else [missed])
    assert done.returncode == (missed is not None), done.stderr
    assert (f"1 of 10 bars not passed: {missed};" in done.stderr) == (missed is not None)
    assert (run.folder("check") / "run.json").is_file() == (missed is None)
