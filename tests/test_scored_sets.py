"""Sets in ScandEval's format: prompts, examples and answers: pytest tests/test_scored_sets.py"""

import json
import random
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import small_model, write_set
from scorer import entities, generate, prompts, score
from scorer.examples import Wording, find_wording, read_examples

from snakmodel import testsets
from snakmodel.config import BadInput
from snakmodel.likelihood import encode, option_log_likelihoods, split_options, sum_log_probabilities
from snakmodel.prompts import conversation_ids, set_format

MODEL = small_model(8446, initializer_range=0.3)  # its predictions depend on all that came before
RNG = random.Random(8446)
SHOTS = " ".join(f"w{RNG.randrange(3, 60)}" for _ in range(24))  # what all prompts begin with
NAMES = {"per": "person", "loc": "sted", "org": "organisation", "misc": "diverse"}


def prompt(words):
    return f"{SHOTS} " + " ".join(f"w{RNG.randrange(3, 60)}" for _ in range(words))


@pytest.mark.parametrize("format", [None, "chat"])
def test_sharing_a_prefix_and_batching_change_no_sum_and_no_choice(plain, format):
    tokenizer = plain
    if format:
        set_format(tokenizer, format)
    options = [" w3", " w4 w5", " w6 w7 w8", " w4 w9"]
    questions = [(prompt(RNG.randrange(1, 9)), options[: RNG.randrange(2, 5)]) for _ in range(30)]
    alone = []
    for question in questions:
        context, rests = split_options(tokenizer, *question)
        alone.append([sum_log_probabilities(MODEL, [(context + ids, len(context))], 1)[0] for ids in rests])
    for batch_tokens in (1, 200, 10_000):
        together = option_log_likelihoods(MODEL, tokenizer, questions, batch_tokens)
        assert [score.choose(sums, 0)[0] for sums in together] == [score.choose(sums, 0)[0] for sums in alone]
        for one, other in zip(together, alone, strict=True):
            assert one == pytest.approx(other, abs=1e-4)


@torch.no_grad()
def naive_answer(ids, most):
    """Token by token, everything read again each time."""
    written = []
    while len(written) < most:
        token = int(MODEL(torch.tensor([ids + written])).logits[0, -1].argmax())
        if token == 2:
            break
        written.append(token)
    return written


def test_answers_written_together_are_those_written_one_by_one(plain):
    ids = encode(plain, [prompt(RNG.randrange(1, 9)) for _ in range(12)])
    alone = [plain.decode(naive_answer(each, 10)).strip() for each in ids]
    assert len(set(alone)) > 1
    for batch_tokens in (1, 150, 10_000):
        assert generate.write_answers(MODEL, plain, ids, 10, ["\n\n"], batch_tokens) == alone
    word = alone[0].split()[3]
    stopped = generate.write_answers(MODEL, plain, ids, 10, [word], 10_000)
    assert stopped == [answer[: answer.find(word) + len(word)] if word in answer else answer for answer in alone]
    with pytest.raises(BadInput, match="more than the model's 64 positions"):
        generate.write_answers(MODEL, plain, ids, 60, [], 1)


def test_entities_are_written_into_lists_whose_names_are_given(plain, monkeypatch):
    written = iter([['"w3", "w4 w5"], "w6"', "w9"], ["]", '"w7", "w8']])
    seen = []
    monkeypatch.setattr(generate, "write_answers", lambda *given: seen.append(given[2]) or next(written))
    first, second = generate.write_lists(MODEL, plain, ["w3", "w4"], ["person", "sted"], 8, 64, 64)
    assert json.loads(first) == {"person": ["w3", "w4 w5"], "sted": []}
    assert json.loads(second) == {"person": [], "sted": ["w7"]}, "what has no end is no name"
    assert (
        generate.begin_list(json.loads(first) | {"sted": []}, "x") == '{"person": ["w3", "w4 w5"], "sted": [], "x": ['
    )
    assert seen[0] == encode(plain, ['w3 {"person": [', 'w4 {"person": ['])
    assert seen[1] == encode(plain, ['w3 {"person": ["w3", "w4 w5"], "sted": [', 'w4 {"person": [], "sted": ['])


@pytest.mark.parametrize("format", [None, "chat", "alpaca"])
def test_a_list_is_asked_for_as_a_reader_meets_it_and_within_the_window(plain, format):
    written = {"per": ["w3 w4", "w5", "w6"], "loc": ["w7"]}
    prompt, begun = "w8 w9", '{"per": ["w3 w4", "w5", "w6"], "loc": ["w7"], "org": ['
    if format:
        set_format(plain, format)
        prompt = [{"role": "user", "content": "w8 w9"}]
        whole = conversation_ids(plain, [*prompt, {"role": "assistant", "content": begun}])
        ids = generate.begun_ids(plain, prompt, written, "org", 64)
        assert ids == whole[: len(ids)] and set(whole[len(ids) :]) <= {0, 2}, "but for how an answer ends"
    else:
        ids = generate.begun_ids(plain, prompt, written, "org", 64)
        assert ids == encode(plain, [f"w8 w9 {begun}"])[0]
    shorter = generate.begun_ids(plain, prompt, written, "org", len(ids) - 1)
    assert shorter == generate.begun_ids(plain, prompt, written | {"per": ["w3 w4", "w5"]}, "org", 64)
    assert len(shorter) < len(ids) and written["per"] == ["w3 w4", "w5", "w6"], "they still count"


def test_equal_options_are_a_tie_that_the_first_wins():
    assert score.choose([-2.00003, -2.0, -9.0], 1) == (0, pytest.approx(0.00003))
    assert score.choose([-2.1, -2.0, -9.0], 0) == (1, pytest.approx(-0.1))


def test_entities_are_the_same_as_tags_and_as_an_answer():
    tokens = ["Mette", "Lund", "og", "Ida", "er", "i", "Ribe"]
    tags = entities.read_tags(["b-per", "I-PER", "O", "I-PER", "O", "O", "B-LOC"], "row")
    assert tags == ["B-PER", "I-PER", "O", "B-PER", "O", "O", "B-LOC"]
    answer = entities.to_answer(tokens, tags, NAMES)
    assert json.loads(answer) == {"person": ["Mette Lund", "Ida"], "sted": ["Ribe"], "organisation": [], "diverse": []}
    assert entities.to_tags(tokens, json.loads(answer), NAMES) == tags
    assert entities.to_tags(tokens, {"ukendt": ["Ida"], "sted": ["3"]}, NAMES) == ["O"] * 7
    with pytest.raises(BadInput, match="row 3: tag 'B-DATO' is none of O, B- or I- with LOC, ORG, PER, MISC"):
        entities.read_tags(["O", "B-dato"], "row 3")


SENTIMENT = [{"text": f"w{n} \n\n w9", "label": ["negative", "neutral", "positive"][n % 3]} for n in range(3, 33)]


def test_a_prompt_is_scandevals(tmp_path):
    path = write_set(tmp_path, [{"text": "God \n\n mad ", "label": "Positive"}, {"text": "Øv", "label": "negative"}])
    testset = testsets.TestSet(path, ["text"], task="sentiment")
    wording = find_wording("s", testset)
    good, bad = read_examples("s", testset, wording, "test")
    assert (good.options[good.gold], bad.options[bad.gold]) == ("positiv", "negativ")
    assert prompts.in_words(wording, [good], bad) == (
        "Følgende er tweets og deres sentiment, som kan være 'positiv', 'neutral' eller 'negativ'.\n\n"
        "Tweet: God \n mad\nSentiment: positiv\n\nTweet: Øv\nSentiment:"
    )
    turns = prompts.in_turns(wording, [good], bad)
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"] and turns[1]["content"] == "positiv"


def test_examples_are_balanced_differ_and_are_the_same_each_time(tmp_path):
    testset = testsets.TestSet(write_set(tmp_path, SENTIMENT * 2), ["text"], task="sentiment")
    pool = read_examples("s", testset, find_wording("s", testset), "test")
    drawn = prompts.draw_shots(pool, "sentiment", 12, 4242)
    assert Counter(shot.answer for shot in drawn) == {"positiv": 4, "neutral": 4, "negativ": 4}
    assert len({shot.slots["text"] for shot in drawn}) == 12
    assert drawn == prompts.draw_shots(pool, "sentiment", 12, 4242) != prompts.draw_shots(pool, "sentiment", 12, 1)
    assert len(prompts.draw_shots(pool, "sentiment", 99, 4242)) == 30, "no more than there are texts"


def test_no_more_examples_are_left_out_than_the_window_asks_for(plain):
    wording = Wording("w3 w3", "w4 {text} w5 {label}", "{text}")
    shots = [prompts.Example(str(n), {"text": f"w{n} w6"}, "w7", ["w7", "w8"], 0) for n in range(10, 15)]
    long = prompts.Example("long", {"text": " ".join(["w9"] * 30)}, "w7", ["w7", "w8"], 0)
    for window in range(12, 70):
        for example in (shots[0], long):
            (made,) = prompts.make_prompts(plain, wording, shots, [example], window, 4)
            assert len(made.ids) + 4 <= window
            if made.shots < len(shots):
                one_more = encode(plain, [prompts.in_words(wording, shots[: made.shots + 1], example)])[0]
                assert len(one_more) + 4 > window
            assert made.cut == (len(encode(plain, [prompts.in_words(wording, [], example)])[0]) + 4 > window)
    with pytest.raises(BadInput, match="^6 tokens have no room for item long"):
        prompts.make_prompts(plain, wording, shots, [long], 6, 4)


LETTER = {"text": "Hvad?\nSvarmuligheder:\na. det\nb. dette", "label": "B"}


@pytest.mark.parametrize(
    "task, row, message",
    [
        ("sentiment", {"text": "w3", "label": "glad"}, "label 'glad' is none of positive, neutral, negative"),
        ("sentiment", {"text": "", "label": "positive"}, "text should be text, got ''"),
        ("sentiment", {"label": "positive"}, "has no column 'text'"),
        ("knowledge", LETTER | {"label": "c"}, "label 'c' should be one of the letters that its text offers (a, b)"),
        ("entities", {"tokens": ["a"], "labels": []}, "1 tokens and 0 labels; give each token its tag, as text"),
        ("entities", {"tokens": "['a']", "labels": []}, "tokens is text that is not JSON"),
        ("reading", {"context": "a", "question": "b", "answers": {"text": []}}, "answers should hold a text, got"),
    ],
)
def test_a_bad_row_is_one_line(tmp_path, task, row, message):
    testset = testsets.TestSet(write_set(tmp_path, [row]), ["text"], task=task)
    with pytest.raises(BadInput) as refused:
        read_examples("s", testset, find_wording("s", testset), "test")
    assert message in str(refused.value) and "test set s (test), row 0" in str(refused.value)


def test_a_set_is_read_from_parquet_csv_and_json_lines(tmp_path):
    row = {"context": "Her er Ribe.", "question": "Hvor?", "answers": {"text": ["Ribe"], "answer_start": [7]}}
    write_set(tmp_path, [row], "train")
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "val.parquet")
    (tmp_path / "test.csv").write_text(
        'context,question,answers\nHer er Ribe.,Hvor?,"{""text"": [""Ribe""], ""answer_start"": [7]}"\n'
    )
    testset = testsets.TestSet(str(tmp_path), ["question"], task="reading")
    read = [read_examples("s", testset, find_wording("s", testset), split) for split in ("train", "val", "test")]
    assert read[0] == read[1] == read[2] and read[0][0].gold == ["Ribe"]
    with pytest.raises(BadInput, match="has no file of the split 'dev' such as dev.jsonl, only test.csv, train.jsonl"):
        read_examples("s", testset, find_wording("s", testset), "dev")
    with pytest.raises(BadInput, match="prompts.yaml has no reading in 'fi', only in da, nb"):
        find_wording("s", testsets.TestSet("x", [], task="reading", language="fi"))


def test_what_people_did_not_accept_is_no_answer_and_their_verdicts_are_told(tmp_path):
    rows = [
        {"query": f"w{n}", "more": "", "said": "w7", "good": n % 3 == 0, "other": "w8 w9", "fine": -1 if n else 1}
        for n in range(9)
    ]
    rows[8] |= {"fine": None}
    write_set(tmp_path, rows)
    judged = {"one": ["said", "good"], "two": ["other", "fine"]}
    asked = {"text": ["query", "more"], "judged": judged, "task": "instruction", "shots": 0}
    loaded = score.load_set("k", testsets.TestSet(str(tmp_path), **asked), 0)
    assert [example.id for example in loaded.examples] == ["0", "3", "6"]
    assert [example.gold for example in loaded.examples] == [["w7", "w8 w9"], ["w7"], ["w7"]]
    assert loaded.human == {"one": (9, 3), "two": (8, 1)}, "one answer was shown to nobody"
    write_set(tmp_path, [rows[0] | {"good": "ja"}])
    with pytest.raises(BadInput, match="row 0: good should be 1 or true, or -1, 0 or false, got 'ja'"):
        score.load_set("k", testsets.TestSet(str(tmp_path), **asked), 0)
    write_set(tmp_path, rows[1:2])
    with pytest.raises(BadInput, match="people accepted no answer to its 1 items; nothing can be compared"):
        score.load_set("k", testsets.TestSet(str(tmp_path), **asked), 0)
    with pytest.raises(BadInput, match=r"judged.one should be \[ANSWER, VERDICT\], two columns, got \['said'\]"):
        find_wording("k", testsets.TestSet(str(tmp_path), **asked | {"judged": {"one": ["said"]}}))
    with pytest.raises(BadInput, match="judged is for tasks summary, translation, instruction, not sentiment"):
        find_wording("k", testsets.TestSet(str(tmp_path), **asked | {"task": "sentiment"}))
