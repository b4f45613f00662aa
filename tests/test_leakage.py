"""Items of evaluation sets in what was trained on, all planted: pytest tests/test_leakage.py"""

import random
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import run_main, write_recipe

from analyze import leakage
from analyze.findings import is_answered
from analyze.leakage import answers_of
from analyze.overlaps import pair_up
from analyze.sampled_ngrams import sample_ngrams
from snakmodel.config import BadInput
from snakmodel.documents import DocumentWriter
from snakmodel.ngrams import WORD, build_index, find, words_of
from snakmodel.phrase_loops import CODE_POINTS, LETTER, letters
from snakmodel.phrases import find_phrases, prepare
from snakmodel.records import read_json, read_jsonl, write_json, write_jsonl

MARKS = 'Hun spurgte (igen!): "Hvor  bliver\nden røde færge fra Ærø dog af?" og gik hjem'
QUESTION = "Hvilken by ved fjorden fik sin første sporvogn længe før alle de andre byer i hele landet"
COMMON = "Svar kun med et enkelt bogstav og skriv ikke andet end det"
NOWHERE = "Ingen har nogensinde skrevet netop denne sætning om elleve blå gæs i regnvejr"
SHORT = "Hun gik hjem"
ITEMS = [
    {"id": "marks", "text": MARKS, "answer": "ved broen"},
    {"id": "question", "text": QUESTION, "answer": "Odense"},
    {"id": "common", "text": COMMON, "answer": "a"},
    {"id": "nowhere", "text": NOWHERE, "answer": "blå gæs"},
    {"id": "short", "text": SHORT, "answer": ""},
]
DOCUMENTS = {
    "avis": [
        f"Sådan lød det. {MARKS}, sagde de.",
        f"{MARKS.upper().replace('(', '').replace('!', ' –')}. Den lå ved broen.",
    ],
    "wiki": [QUESTION.replace("længe", "meget længe"), f"Nå! {COMMON}.", f"{COMMON}, tak.", COMMON, SHORT, "", "Æ"],
}
TOLD = f"{unicodedata.normalize('NFD', QUESTION)}?\nDet var Odense."


@pytest.fixture
def home(tmp_path):
    """The folder of recipe.yaml: a corpus of two sources, instructions, and a test set."""
    for source, texts in DOCUMENTS.items():
        with DocumentWriter(tmp_path / f"run/corpus/unique/{source}-00000.parquet") as writer:
            for number, text in enumerate(texts):
                writer.write({"text": text, "source": source, "id": f"{source}:{number}"})
    for name, text in {"train": TOLD, "validation": NOWHERE}.items():
        with DocumentWriter(tmp_path / f"run/instruct/data/{name}.parquet") as writer:
            writer.write({"text": text, "source": "told", "id": "told:0"})
    for folder in ("corpus/unique", "instruct/data"):
        write_json(tmp_path / "run" / folder / "run.json", {})
    write_jsonl(tmp_path / "set.jsonl", ITEMS)
    made = {"path": str(tmp_path / "set.jsonl"), "text": ["text"], "answer": "answer", "id": "id"}
    section = {"testsets": ["made"], "own": {"made": made}, "boilerplate": 2, "answer_within": 4}
    write_recipe(tmp_path / "recipe.yaml", leakage=section)
    return tmp_path


def flags(home, *words):
    """What items.parquet says of each stage's items."""
    run_main(leakage, home / "recipe.yaml", *words)
    rows = pq.read_table(home / "run/analysis/leakage/items.parquet").to_pylist()
    return {(row["corpus"], row["item"]): row for row in rows}


def test_items_with_brackets_quotes_newlines_and_doubled_spaces_are_found_as_written_and_otherwise(home):
    rows = flags(home)
    marks = rows["deduplicate", "marks"]
    count = len(words_of(MARKS))
    assert (marks["overlap"], marks["overlap_as_written"]) == (1, 1)
    assert marks["longest"] == marks["longest_as_written"] == count
    assert marks["ngrams"] == marks["ngrams_found"] == marks["ngrams_found_as_written"] == count - 7
    assert (
        marks["documents"] == 2 and marks["held"] and marks["answered"]
    )  # capitals count, and the answer stands by them
    question = rows["deduplicate", "question"]  # a word has come in before its last nine
    assert question["longest"] == 9 and question["overlap"] == 1 and not question["answered"]
    told = rows["instructions", "question"]  # letters in two parts are the same letters
    assert told["overlap_as_written"] == 1 and told["answered"]
    assert rows["instructions", "marks"]["ngrams_found"] == 0


def test_nothing_is_found_that_is_not_there_and_short_items_and_held_out_texts_are_not_searched(home):
    rows = flags(home)
    for corpus in ("deduplicate", "instructions"):
        assert rows[corpus, "nowhere"]["overlap"] == rows[corpus, "nowhere"]["longest"] == 0
        assert not rows[corpus, "short"]["searched"] and rows[corpus, "short"]["ngrams"] == 0


def test_what_many_documents_hold_is_boilerplate_and_counts_apart(home):
    row = flags(home)["deduplicate", "common"]
    assert (row["ngrams"], row["ngrams_boilerplate"], row["ngrams_found"], row["overlap"]) == (5, 5, 0, 0)
    listed = read_jsonl(home / "run/analysis/leakage/boilerplate.jsonl")
    assert listed[0] == {"corpus": "deduplicate", "ngram": "Svar kun med et enkelt bogstav og skriv", "documents": 3,
                         "items": 1, "testsets": ["made"]} and len(listed) == 5  # fmt: skip
    assert flags(home, "boilerplate=3", "--overwrite")["deduplicate", "common"]["overlap"] == 1


def test_rates_have_wilson_intervals_and_samples_count_the_documents_that_hold_them(home):
    flags(home)
    report = read_json(home / "run/analysis/leakage/leakage.json")
    held = next(r for r in report["rows"] if (r["corpus"], r["measure"]) == ("deduplicate", "held"))
    assert (held["count"], held["of"], held["value"]) == (2, 4, 0.5)
    assert (held["low"], held["high"]) == pytest.approx((0.1500, 0.8500), abs=1e-4)  # by hand
    assert report["corpora"]["deduplicate"]["documents that hold items"] == {"avis": 2, "wiki": 1}
    size = sum(len(text.encode()) for texts in DOCUMENTS.values() for text in texts)
    assert (report["corpora"]["deduplicate"]["documents"], report["corpora"]["deduplicate"]["bytes"]) == (9, size)
    sampled = pq.read_table(home / "run/analysis/leakage/sampled.parquet").to_pylist()
    common = {row["seed"]: row for row in sampled if (row["corpus"], row["item"]) == ("deduplicate", "common")}
    assert set(common) == {513, 8446} and {row["documents_as_written"] for row in common.values()} == {3}
    told = (home / "run/analysis/leakage/leakage.md").read_text()
    assert "made marks, 100% in `avis:0` (avis): …Sådan lød det. Hun spurgte" in told


def test_an_interrupted_search_ends_with_the_same_bytes_and_a_finished_one_says_done(home):
    flags(home)
    folder = home / "run/analysis/leakage"
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.name != "run.json"}
    for name in ("run.json", "items.parquet", "parts/deduplicate/wiki-00000.npz"):
        (folder / name).unlink()
    flags(home, "workers=1")
    assert {path: path.read_bytes() for path in before} == before and len(before) == 11
    assert "leakage: done (" in run_main(leakage, home / "recipe.yaml")
    with pytest.raises(BadInput, match="column 'nope'"):
        flags(home, "own.made.text=[nope]", "--overwrite")
    assert {path: path.read_bytes() for path in before} == before  # what was refused has lost nothing


@pytest.mark.parametrize(
    ("change", "message"),
    {
        "reads=[weights]": ".*leakage.reads: 'weights' writes no documents; take deduplicate or instructions",
        "reads=[filter_quality]": ".*corpus/good/run.json not found: run pretrain/corpus/filter_quality.py first",
        "testsets=[]": ".*leakage.testsets names no set; take some of configs/testsets.yaml",
        "testsets=[maid]": "leakage.testsets: no test set 'maid'; did you mean made.*",
    }.items(),
)
def test_a_wrong_setting_is_refused_in_one_line(home, change, message):
    with pytest.raises(BadInput, match=f"^{message}$"):
        flags(home, change)


@pytest.mark.parametrize("ngram", [1, 3, 8])
def test_the_search_finds_what_a_search_word_by_word_finds_and_how_it_is_spelt(ngram):
    rng = random.Random(ngram)
    words = ["en", "EN", "ærø", "ÆRØ", "A\u030a", "å", "ß", "x_1", "日本", "𐐀", "Café"]
    gaps = [" ", "  ", "\n", "\u00a0", ", ", " – ", ". (", "\u2029"]

    def text(most):
        return "".join(rng.choice(words) + rng.choice(gaps) for _ in range(rng.randrange(most)))

    items, texts = ([text(most) for _ in range(60)] for most in (12, 40))
    expected = set()
    for number, item in enumerate(items):
        spans = [match.span() for match in WORD.finditer(unicodedata.normalize("NFC", item))]
        length = min(ngram, len(spans))
        for t, place in ((t, place) for t in range(len(texts)) for place in range(len(spans) - length + 1) if length):
            mine = [match.span() for match in WORD.finditer(unicodedata.normalize("NFC", texts[t]))]
            for word in range(len(mine) - length + 1):
                if words_of(texts[t])[word : word + length] == words_of(item)[place : place + length]:
                    one, other = written(texts[t], mine, word, length), written(item, spans, place, length)
                    expected.add((t, word, number, place, one == other))
    phrases, found = prepare(items, [ngram] * len(items)), set()
    hits = find_phrases(phrases, pa.array(["left out", *texts])[1:])  # a part of an Arrow array
    for t, run, word, spelling in zip(*(array.tolist() for array in hits), strict=True):
        for entry in range(phrases.first_R[run], phrases.first_R[run + 1]):
            alike = spelling == phrases.spellings_E[entry]
            found.add((t, word, int(phrases.items_E[entry]), int(phrases.places_E[entry]), bool(alike)))
    assert found == expected and {alike for *_, alike in expected} == {True, False}


def written(text, spans, first, length):
    """From the first letter of a run to its last, white space collapsed."""
    return " ".join(unicodedata.normalize("NFC", text)[spans[first][0] : spans[first + length - 1][1]].split())


def test_every_letter_has_a_number_of_its_own_and_equal_ones_only_with_its_other_case():
    table, numbers = letters(), {}
    for point in range(CODE_POINTS):
        letter = chr(point)
        if table[point] >= LETTER:
            numbers.setdefault(int(table[point]), set()).add(letter.lower()[0])
        elif letter.isalnum():  # in NFC only parts of old Korean syllables are left out
            assert not unicodedata.is_normalized("NFC", letter) or table[point] == 2, letter
    assert all(len(same) == 1 for same in numbers.values()) and len(numbers) > 100_000
    assert not any(chr(point).isalnum() for point in range(CODE_POINTS, 0x110000))


def test_runs_of_other_words_with_one_hash_are_told_apart():
    """The hash of a word turns by five bits a letter: letters 64 apart meet, and two of them are gone."""
    items = ["en to tre " + "a" * 129, "en to tre a", "x" * 128 + "ja", "ja", "en to tre a", ""]
    phrases = prepare(items, [4] * len(items))
    assert len(phrases.lengths_R) == 4 and len(set(phrases.hashes_R[:4].tolist())) == 2
    hits = find_phrases(phrases, pa.array([f"så: {item}." for item in items]))
    found = {t: {int(phrases.items_E[phrases.first_R[run]]) for run in hits.runs[hits.texts == t]} for t in range(6)}
    assert found == {0: {0}, 1: {1}, 2: {2}, 3: {3}, 4: {1}, 5: set()}
    assert len(find_phrases(prepare([], []), pa.array(["en"])).texts) == 0


def test_an_answer_stands_beside_the_question_or_ends_the_item_and_is_no_label():
    question = "hvad hedder den største by i Danmark og hvor ligger den"
    for text, item, answer, answered in (
        (f"{question} Aarhus", question, "Aarhus", True),
        (f"Aarhus? {question}", question, "Aarhus", True),
        (question, question, "Danmark", False),  # one of its own words
        (f"{question} København", f"{question} København", "København", True),  # the right option
        (f"{question} nej nej nej Aarhus", question, "Aarhus", False),
    ):
        words = text.lower().replace("?", "").split()
        start = words.index("hvad")
        assert is_answered(text, start, len(item.split()), item, answer, 3) == answered, text
    rows = [{"source": "labels", "answer": ("god", "dårlig")[n % 2]} for n in range(30)]
    rows += [{"source": "facts", "answer": f"by {n}"} for n in range(30)]
    assert answers_of(rows) == [""] * 30 + [f"by {n}" for n in range(30)]


def test_a_stretch_goes_on_only_where_both_go_on_and_shares_count_words_once():
    words = "a b c d e f g h i j".split()
    phrases = prepare([" ".join(words)], [4])
    texts = [" ".join(words[:6] + ["x"] + words[4:]), " ".join(words[5:] + words[:5]), "a b c d " * 3]
    pairs = pair_up(phrases, find_phrases(phrases, pa.array(texts)), exact=False)
    assert pairs.documents.tolist() == [0, 1, 2] and pairs.longest.tolist() == [6, 5, 4]
    assert pairs.words.tolist() == [0, 0, 0] and pairs.shares.tolist() == [1, 1, 0.4]


def test_pairs_and_shares_are_those_of_the_index_that_cleans_the_corpus():
    rng = random.Random(3)
    items, texts = ([" ".join(rng.choices("abc", k=rng.randrange(1, most))) for _ in range(60)] for most in (12, 40))
    pairs = pair_up(phrases := prepare(items, [3] * 60), find_phrases(phrases, pa.array(texts)), exact=False)
    expected = find(build_index(items, 3, 1), texts)
    for ours, theirs in zip((pairs.documents, pairs.items, pairs.shares), expected[:3], strict=True):
        assert ours.tolist() == theirs.tolist() and len(ours) > 100


def test_a_sample_is_the_same_again_and_does_not_hang_on_other_sets():
    items = [
        {"source": name, "id": str(n), "text": f"Kort. {name} {n} er en sætning, der har mange (mange) ord! Slut."}
        for name in ("one", "two")
        for n in range(50)
    ]
    both, alone = sample_ngrams(items, [513, 8446], 20), sample_ngrams(items[50:], [513, 8446], 20)
    assert [ngram for ngram in both if ngram.testset == "two"] == alone and {n.seed for n in both} == {513, 8446}
    assert {len(words_of(ngram.text)) for ngram in both} == {8}
    assert all(ngram.text == f"{ngram.testset} {ngram.item} er en sætning, der har mange" for ngram in both)
