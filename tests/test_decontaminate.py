"""Items of evaluation sets in corpora and instructions: pytest tests/test_decontaminate.py"""

import random
import sys
from dataclasses import replace
from itertools import product

import pytest
import yaml
from conftest import ROOT, write_recipe

from finetune import instructions
from pretrain.corpus import decontaminate, deduplicate
from snakmodel import testsets
from snakmodel.config import BadInput, to_dataclass
from snakmodel.documents import DocumentWriter, read_documents
from snakmodel.ngrams import build_index, find
from snakmodel.records import read_json, write_json, write_jsonl

QUESTION = "Hvilken by ved fjorden fik sin første sporvogn, længe før hovedstaden overhovedet havde tænkt på en?"
ITEMS = [
    ("a-1", "Hvor længe sejlede den gamle færge", [" til øen uden motor?", " mod syd?"], 0, "test"),
    ("a-2", QUESTION, [" Aarhus", " Odense"], 1, "test"),
    ("short", "Hun gik hjem", [" igen", " nu"], 0, "test"),
    ("trained on", "Alle kunne se det røde hus fra", [" den anden bred"], 0, "train"),
]
COLUMNS = ("id", "prompt", "options", "answer", "split")
HOLDS = {  # a text, and the most complete item that it holds
    f"Hvor længe sejlede den gamle færge til øen? {QUESTION} Odense, sagde hun.": "a-2",  # and most of a-1
    f"NÅ! {QUESTION.upper().replace(',', ' –')} ODENSE": "a-2",
    QUESTION.replace(" ", "\n") + "\n- Odense": "a-2",
    QUESTION.replace("fjorden", "havet"): "a-2",
    QUESTION.replace("å", "a\u030a") + " Odense": "a-2",  # the other spelling of å
    "Ingen ved, hvor længe sejlede den gamle færge til øen uden motor, siger de.": "a-1",
    "Ingen ved, hvor længe den gamle færge sejlede til øen uden en motor, siger de.": None,  # another order of words
    "Hvilken by ved fjorden fik sin første sporvogn? Det fik vi aldrig at vide af nogen.": None,  # 8 of 18 words
    "Hun gik hjem igen, og alle kunne se det røde hus fra den anden bred.": None,  # too short, and of another split
    "": None,
}
TEXTS = list(HOLDS)
WRONG = {  # a setting, and what is said of it
    "testsets=angry-tweet": "decontaminate.testsets: no test set 'angry-tweet'; did you mean angry-tweets.*",
    "own.færger.path=gone.jsonl": "test set færger: gone.jsonl: no such file or folder; give one, or .*",
    "own.færger.text=[svar]": "test set færger has no column 'svar'; choose from id, prompt, options, answer, split",
    "own.færger.answer=prompt": "test set færger, row 0: answer should be a place among .*, got 'Hvor længe .*'",
    "own.færger.split=dev": "test set færger .* has no rows in its split 'dev'",
    "own.færger.path=DDSC/angry-tweets": "test set færger .*: its revision cannot be resolved .*; pin it, .*",
    "reads=deduplicate": "decontaminate.reads: 'deduplicate' is no step of the corpus before it; .*",
}


@pytest.fixture
def home(tmp_path):
    """The folder of recipe.yaml: a corpus of two sources, a test set, instructions."""
    write_jsonl(tmp_path / "set.jsonl", [dict(zip(COLUMNS, item, strict=True)) for item in ITEMS])
    corpus = tmp_path / "run/corpus/in_language"
    with DocumentWriter(corpus / "avis-00000.parquet") as avis, DocumentWriter(corpus / "wiki-00000.parquet") as wiki:
        for number, text in enumerate(TEXTS):
            (avis if number < 4 else wiki).write({"text": text, "source": "any", "id": f"any:{number}"})
    write_json(corpus / "run.json", {})
    told = {QUESTION: "Odense", "Hvad er en fjord?": "Vand.", "Hvad er en by?": ""}
    write_jsonl(tmp_path / "told.jsonl", [{"spørgsmål": question, "svar": answer} for question, answer in told.items()])
    columns = {"text": ["prompt"], "options": "options", "answer": "answer", "id": "id"}
    search = {"testsets": ["færger"], "own": {"færger": columns | {"path": str(tmp_path / "set.jsonl")}}}
    sets = {"told": {"path": str(tmp_path / "told.jsonl"), "prompt": ["spørgsmål"], "answer": "svar"}}
    sections = {"instructions": {"sets": sets, "decontaminate": search}, "deduplicate": {}}
    sections["decontaminate"] = search | {"reads": "filter_language"}
    write_recipe(tmp_path / "recipe.yaml", **sections)
    return tmp_path


def run(script, home, *words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", "--config", str(home / "recipe.yaml"), *words])
        script.main()


def rows(folder):
    return [row for path in sorted(folder.glob("*.parquet")) for row in read_documents(path)]


def test_a_document_that_holds_an_item_is_dropped_with_the_item_and_what_they_share(home):
    run(decontaminate, home, "workers=1")
    folder = home / "run/corpus/decontaminated"
    assert {row["text"] for row in rows(folder)} == {text for text, item in HOLDS.items() if item is None}
    gone = {row["text"]: row for row in rows(folder / "rejects")}
    expected = {text: ("contaminated by færger", item) for text, item in HOLDS.items() if item}
    assert {text: (row["reason"], row["item"]) for text, row in gone.items()} == expected
    assert gone[TEXTS[0]]["shared"] == "hvilken by ved fjorden fik sin første sporvogn"
    overlaps = [gone[text]["overlap"] for text in TEXTS[:6]]
    assert overlaps == [1, 1, 1, 0.7059, 1, 1]  # of the fourth, the 12 of 17 words between the changed one and the last
    report, found = read_json(folder / "contaminated.json")["færger"], {"a-1": 2, "a-2": 5}
    counted = {"items": 3, "searched": 2, "too short to search": 1, "found": 2}
    assert report == {**counted, "texts_by_item": found, "documents": {"avis": 4, "wiki": 2}}


def test_marked_documents_stay_and_carry_their_mark_on(home):
    run(decontaminate, home, "mode=mark", "workers=1")
    run(deduplicate, home, "workers=1")
    marks = {row["text"]: row["contaminated_by"] for row in rows(home / "run/corpus/decontaminated")}
    assert marks == {text: item and "færger" for text, item in HOLDS.items()}
    assert all(row["contaminated_by"] == marks[row["text"]] for row in rows(home / "run/corpus/unique"))


def test_an_interrupted_search_ends_with_the_same_bytes_however_many_workers(home):
    run(decontaminate, home, "workers=1")
    folder = home / "run/corpus/decontaminated"
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.parent != folder or "00" in path.name}
    for name in ("run.json", "counts/wiki-00000.json", "counts/avis-00000.json"):
        (folder / name).unlink()
    run(decontaminate, home, "workers=2")
    assert {path: path.read_bytes() for path in before} == before and len(before) == 11


def test_an_instruction_that_holds_an_item_is_left_out_and_kept_with_the_reason(home):
    run(instructions, home)
    folder = home / "run/instruct/data"
    assert [row["text"] for row in read_documents(folder / "train.parquet")] == ["Hvad er en fjord?\nVand."]
    gone = {row["reason"]: row["item"] for row in read_documents(folder / "rejects/train.parquet")}
    assert gone == {"contaminated by færger": "a-2", "empty question or answer": None}
    counts = read_json(folder / "run.json")["counts"]["told"]
    assert counts == {"seen": 3, "kept": 1, "dropped": dict.fromkeys(gone, 1)}
    assert read_json(folder / "contaminated.json")["færger"]["texts_by_item"] == {"a-2": 1}


@pytest.mark.parametrize(("ngram", "min_words"), [(8, 4), (3, 3), (5, 9), (2, 1)])
def test_the_index_finds_what_a_search_word_by_word_finds(ngram, min_words):
    rng, expected = random.Random(ngram), {}
    items, texts = ([" ".join(rng.choices("abc", k=rng.randrange(most))) for _ in range(40)] for most in (12, 30))
    for (t, text), (i, item) in product(enumerate(texts), enumerate(items)):
        length = min(len(item.split()), ngram)
        runs = [item.split()[p : p + length] for p in range(len(item.split()) - length + 1)]
        places = [p for p, words in enumerate(runs) if f" {' '.join(words)} " in f" {text} "]
        if places and len(item.split()) >= min_words:
            covered = {p + offset for p in places for offset in range(length)}
            expected[t, i] = (len(covered) / len(item.split()), places[0])
    found = zip(*(array.tolist() for array in find(build_index(items, ngram, min_words), texts)), strict=True)
    assert {(t, i): (share, place) for t, i, share, place in found} == expected != {}


@pytest.mark.parametrize(("change", "message"), WRONG.items())
def test_a_wrong_set_is_refused_in_one_line(home, change, message):
    with pytest.raises(BadInput, match=f"^{message}$"):
        run(decontaminate, home, change, "workers=1")


def test_the_recipe_names_sets_that_are_described_and_marks_and_listed_options_are_no_text(tmp_path):
    read = yaml.safe_load((ROOT / "configs/testsets.yaml").read_text()).items()
    sets = {name: to_dataclass(entry, testsets.TestSet, ["testsets.yaml", name], {}) for name, entry in read}
    recipes = [yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text()) for name in ("snakmodel-7b", "norwegian")]
    assert {name for recipe in recipes for name in recipe["decontaminate"]["testsets"]} <= set(sets)
    text = "[header] Vask en bil [step] Tag en spand\nSvarmuligheder:\na. Nej\nb. Ja"
    write_jsonl(tmp_path / "rows.jsonl", [{"text": text, "label": "b"}])
    local = replace(sets["hellaswag-da"], path=str(tmp_path / "rows.jsonl"))
    (item,) = testsets.read_testset("hellaswag-da", local)
    assert item.text.split() == "Vask en bil Tag en spand".split() and item.answer == "b"
