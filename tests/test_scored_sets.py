"""Sets in ScandEval's format: prompts, answers, measures, records and items: pytest tests/test_scored_sets.py"""

import copy
import json
import random
from collections import Counter

import builtin
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import run_main, save_step, small_model, write_recipe
from scorer import entities, generate, prompts, score
from scorer.examples import Wording, find_wording, read_examples

from snakmodel import testsets
from snakmodel.config import BadInput
from snakmodel.likelihood import encode, option_log_likelihoods, split_options, sum_log_probabilities
from snakmodel.prompts import set_format
from snakmodel.records import read_jsonl, write_jsonl
from snakmodel.series import write_series

MODEL = small_model(8446, initializer_range=0.3)  # its predictions depend on all that came before
RNG = random.Random(8446)
SHOTS = " ".join(f"w{RNG.randrange(3, 60)}" for _ in range(24))  # what all prompts begin with
NAMES = {"per": "person", "loc": "sted", "org": "organisation", "misc": "diverse"}


@pytest.fixture
def plain(tokenizer):
    """The tests' tokenizer without its chat template, of a model that was not tuned."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = None
    return tokenizer


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
    asked = encode(plain, ["w3", "w4"])
    first, second = generate.write_lists(MODEL, plain, asked, ["person", "sted"], 8, 64)
    assert json.loads(first) == {"person": ["w3", "w4 w5"], "sted": []}
    assert json.loads(second) == {"person": [], "sted": ["w7"]}, "what has no end is no name"
    assert (
        generate.begin_list(json.loads(first) | {"sted": []}, "x") == '{"person": ["w3", "w4 w5"], "sted": [], "x": ['
    )
    assert all(ids[:2] == prompt for row in seen for ids, prompt in zip(row, asked, strict=True))
    assert all(ids.count(1) == 1 for row in seen for ids in row), "one BOS"


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


def write_set(folder, rows, split="test"):
    write_jsonl(folder / f"{split}.jsonl", rows)
    return str(folder)


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
    rows = [{"query": f"w{n}", "input": "", "said": "w7", "good": n % 3 == 0} for n in range(9)]
    write_set(tmp_path, rows)
    asked = {"text": ["query", "input"], "answer": "said", "accepted": "good", "task": "instruction", "shots": 0}
    loaded = score.load_set("k", testsets.TestSet(str(tmp_path), **asked), "test", 0)
    assert [example.id for example in loaded.examples] == ["0", "3", "6"] and loaded.human == (9, 3)
    write_set(tmp_path, [rows[0] | {"good": "ja"}])
    with pytest.raises(BadInput, match="good should be true or false, got 'ja'"):
        score.load_set("k", testsets.TestSet(str(tmp_path), **asked), "test", 0)


@pytest.fixture
def recipe(tmp_path, plain):
    """Sets of all tasks of a word's length, a series of two steps, and a baseline that prefers w7 after anything."""
    letters = {"text": "w3\na. w4\nb. w5", "label": "a"}
    tagged = {"tokens": ["w7", "w8"], "labels": ["B-PER", "O"]}
    asked = {"context": "w3 w4", "question": "w5", "answers": {"text": ["w7", "w4"]}}
    changed = {"text": "w3 w4", "target_text": "w7 w7"}
    sets = {
        "sentiment": [{"text": "w3", "label": label} for label in ("negative", "neutral", "positive")],
        "acceptability": [{"text": "w3", "label": label} for label in ("correct", "incorrect")],
        "knowledge": [letters, letters | {"label": "b"}],
        **{"common-sense": [letters] * 2, "entities": [tagged] * 2, "reading": [asked] * 2},
        **{"summary": [changed] * 2, "translation": [changed] * 2, "instruction": [changed] * 2},
    }
    own = {}
    for task, rows in sets.items():
        for split in ("train", "val", "test"):
            write_set(tmp_path / "run/sets" / task, rows[: 1 if split == "val" else None], split)
        own[f"small-{task}"] = {"path": f"{tmp_path}/run/sets/{task}", "text": [], "task": task, "shots": 1}
        own[f"small-{task}"] |= {"answer_tokens": 2, "language": "nb" if task == "summary" else "da"}
    rows, models = [], tmp_path / "run/models"
    for step in (0, 50):
        rows.append(save_step(models / f"step-{step:05d}", step, small_model(step), plain))
    write_series(models, "planted", rows)
    fond = small_model(0)
    with torch.no_grad():
        for name, weight in fond.named_parameters():  # nothing is added to the embedding, which is all ones
            weight.fill_(1 if "norm" in name or "embed" in name else 0)
        fond.lm_head.weight[7] = 1
    save_step(tmp_path / "fond", 0, fond, plain)
    (tmp_path / "fond/run.json").unlink()
    section = {"testsets": list(own), "own": own, "baselines": {"fond": str(tmp_path / "fond")}}
    return write_recipe(tmp_path / "recipe.yaml", builtin=section)


def test_all_tasks_are_scored_with_their_items_and_a_baseline_beside_the_series(recipe, tmp_path):
    said = run_main(builtin, recipe)
    assert said.count("small-") == 27 and "baselines fond: " in said
    records = tmp_path / "run/records/builtin"
    written = read_jsonl(records / "baselines/fond/records.jsonl")
    for record in written + read_jsonl(records / "pretrained/step-00050/records.jsonl"):
        assert record["results"]["total"]["test_" + record["metric"]] is not None
        assert (record["scorer"], record["scorer_version"], record["split"]) == ("builtin", score.VERSION, "test")
    facts = [(record["series"], record["step"], record["name"], record["tokens"]) for record in written]
    assert set(facts) == {("baselines", None, "fond", None)}
    found = {record["dataset"]: record for record in written}
    assert {record["metric"] for record in written} == {"macro_f1", "accuracy", "micro_f1", "f1", "rouge_l", "chrf"}
    assert found["small-reading"]["results"]["total"] == {
        **{"test_f1": pytest.approx(200 / 3), "test_f1_se": 0, "test_em": 0, "test_em_se": 0}
    }, "it writes w7 w7 where w7 is right"
    assert found["small-summary"]["results"]["total"]["test_rouge_l"] == 100
    assert found["small-summary"]["dataset_languages"] == ["nb"]
    assert (found["small-entities"]["failed"], found["small-entities"]["items"]) == (0, 2)
    assert found["small-knowledge"]["chance"] == 50 and found["small-reading"]["chance"] is None
    items = pq.read_table(records / "baselines/fond/items.parquet").to_pylist()
    assert len(items) == sum(record["items"] for record in written) == 19
    assert {**items[0], "margin": 0} == {
        **{"dataset": "small-sentiment", "item": "0", "prediction": "positiv", "answer": "negativ"},
        **{"score": 0.0, "margin": 0},
    }
    assert all((item["margin"] is None) == (item["dataset"].split("-", 1)[1] in score.WRITTEN) for item in items)
    assert run_main(builtin, recipe).count("done") == 3
    assert "fond: small-sentiment" in run_main(builtin, recipe, "split=val", f"run_dir={tmp_path}/run", "--overwrite")
    record = read_jsonl(records / "baselines/fond/records.jsonl")[0]
    assert (record["split"], record["validation_split"], record["items"]) == ("val", True, 1)


def test_what_changes_the_asking_is_another_input_and_what_does_not_is_not(recipe, tmp_path):
    run_main(builtin, recipe, "steps=0", "baselines={}")
    assert run_main(builtin, recipe, "steps=0", "baselines={}", "batch_tokens=64").count("done") == 1
    with pytest.raises(BadInput, match="was made with another wording.small-reading"):
        run_main(builtin, recipe, "steps=0", "baselines={}", "own.small-reading.shots=0")
    with pytest.raises(BadInput, match="'a/b' should be a name of letters"):
        run_main(builtin, recipe, "baselines={a/b: x}")
    with pytest.raises(BadInput, match="'small-reading' says no task; add task: to its description"):
        run_main(builtin, recipe, "own.small-reading.task=null")
    with pytest.raises(BadInput, match="builtin.bertscore: 'ORG/NAME' is no folder, and names no revision"):
        run_main(builtin, recipe, "bertscore=ORG/NAME", "bertscore_layers=2", "steps=50")
