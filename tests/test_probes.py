"""Probes of what models have seen, against planted answers: pytest tests/test_probes.py"""

import json
import random

import pyarrow
import pyarrow.parquet
import pytest
import torch
from conftest import SMALL, refused, run_main, save_step, small_model, write_recipe
from transformers import AutoTokenizer

from analyze import memorised, probes
from snakmodel.records import read_json, read_jsonl
from snakmodel.series import write_series


def words(rng, count):
    return " ".join(f"w{rng.randrange(3, 96)}" for _ in range(count))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tokenizer):
    """A series that has learnt the set `seen` by heart at step 50, in its order; `new` and the control it has not."""
    folder, rng = tmp_path_factory.mktemp("probes"), random.Random(0)
    sizes = {"seen": 6, "new": 100}
    sets = {name: [{"text": words(rng, 10), "other": words(rng, 10)} for _ in range(n)] for name, n in sizes.items()}
    sets["seen"].insert(3, {"text": "w5 w6", "other": ""})  # too short: those around it are no neighbours
    for name, rows in sets.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    control = pyarrow.table({"text": [words(rng, 30) for _ in range(100)]})
    pyarrow.parquet.write_table(control, folder / "control.parquet")
    plain = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    model = small_model(0, hidden_size=64, intermediate_size=128)
    models = folder / "run/models"
    rows = [save_step(models / "step-00000", 0, model, plain)]
    texts = [row["text"] for row in sets["seen"] if row["other"]]
    ids_BT = torch.tensor(plain([f"{a} {b}" for a, b in zip(texts, texts[1:] + texts[:1], strict=True)]).input_ids)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        model(ids_BT, labels=ids_BT).loss.backward()
        optimizer.step()
    rows.append(save_step(models / "step-00050", 50, model.eval(), plain))
    write_series(models, "made", rows)
    own = {name: {"path": str(folder / f"{name}.jsonl"), "text": ["text"]} for name in sets}
    settings = {"testsets": list(sets), "own": own, "control": str(folder / "control.parquet"), "control_words": 10}
    recipe = write_recipe(
        folder / "made.yaml", extends=SMALL, probes=settings | {"answer_tokens": 3, "batch_tokens": 80}
    )
    run_main(probes, recipe)
    return recipe


def value_of(recipe, *key):
    rows = read_json(recipe.parent / "run/analysis/probes.json")["rows"]
    (row,) = [row for row in rows if (row["step"], row["testset"], row["probe"], row["measure"]) == key]
    return row


def test_a_set_learnt_by_heart_is_recited_and_another_one_is_not(recipe):
    for probe, words_said in (("second_half", 5), ("next_item", 10)):
        row = value_of(recipe, 50, "seen", probe, "exact")
        assert row["value"] == 1 and 0.4 < row["low"] < row["high"] == 1 and row["items"] in (4, 6)
        assert value_of(recipe, 50, "seen", probe, "longest_run")["value"] == words_said
        assert value_of(recipe, 50, "seen", probe, "rouge_l")["value"] == 1
        assert value_of(recipe, 50, "seen", probe, "rouge_l_control")["value"] < 0.5
        for step, name in ((0, "seen"), (50, "new")):
            row = value_of(recipe, step, name, probe, "exact")
            assert row["value"] == 0 == row["low"]
            assert 0.3 < row["high"] < 0.6 if name == "seen" else row["high"] < 0.04  # none of six says little


def test_membership_tells_the_learnt_set_from_the_control_and_from_its_paraphrases(recipe):
    assert value_of(recipe, 50, "seen", "membership", "auc")["value"] == 1
    assert value_of(recipe, 50, "seen", "membership", "against_paraphrase")["low"] > 0.5
    for step, name in ((0, "seen"), (0, "new"), (50, "new")):
        row = value_of(recipe, step, name, "membership", "auc")
        # without signal its standard deviation is 0.12 for 6 items against 100, and 0.041 for 100 against 100
        assert abs(row["value"] - 0.5) < (0.3 if name == "seen" else 0.1), row
        assert name == "seen" or row["high"] - row["low"] < 0.2
        assert abs(value_of(recipe, step, name, "membership", "against_paraphrase")["value"]) < 1
    items = read_jsonl(recipe.parent / "run/analysis/probes/pretrained/step-00050/items.jsonl")
    mine = [row for row in items if row["testset"] == "seen" and row["probe"] == "membership"]
    assert [row["item"] for row in mine] == ["0", "1", "2", "4", "5", "6"]
    assert sum(row["min_k"] for row in mine) / 6 == value_of(recipe, 50, "seen", "membership", "min_k")["value"]


def test_sets_are_asked_for_by_name_and_what_is_shown_is_the_answer_not_the_question(recipe):
    rows = read_json(recipe.parent / "run/analysis/probes/pretrained/step-00050/recognition.json")["rows"]
    assert len(rows) == 2 * 2 * 3 and {row["language"] for row in rows} == {"da", "en"}
    for row in rows:
        assert row["testset"] in row["question"] and row["testset"] not in row["said"]
        assert len(row["said"].split()) <= 3


def test_items_left_out_are_counted_and_finished_steps_say_done(recipe):
    record = read_json(recipe.parent / "run/analysis/probes/pretrained/step-00050/run.json")
    assert record["counts"]["seen"] == {
        "items": 7, "too short": 1, "second_half": 6, "next_sentence": 0, "next_item": 4, "membership": 6,
    }  # fmt: skip
    items = read_jsonl(recipe.parent / "run/analysis/probes/pretrained/step-00050/items.jsonl")
    mine = [row["item"] for row in items if (row["testset"], row["probe"]) == ("seen", "next_item")]
    assert mine == ["0", "1", "4", "5"]
    assert run_main(probes, recipe).count(": done (") == 2


def test_a_column_of_paraphrases_is_read(recipe):
    run_main(probes, recipe, "paraphrases={seen: other}", "steps=50", "--overwrite")
    row = value_of(recipe, 50, "seen", "membership", "against_paraphrase")
    assert row["low"] > 1


def test_a_set_that_nobody_knows_is_one_line(recipe):
    message = refused("analyze/probes.py", "--config", recipe, "testsets=[seem]")
    assert "probes.testsets: no test set 'seem'; did you mean seen" in message


def test_runs_and_subsequences_are_those_of_words():
    assert memorised.longest_run("x a b c y a", "a b c d") == 3 and memorised.longest_run("a", "") == 0
    assert memorised.rouge_l("a x b c", "a b c d") == 0.75 and memorised.rouge_l("", "a") == 0
    assert memorised.rouge_l("a b", "a b") == 1


def test_min_k_is_the_mean_of_the_least_probable_share():
    assert memorised.min_k([-1, -9, -3, -5, -2], 0.4) == -7 and memorised.min_k([-4.0], 0.2) == -4
    assert memorised.min_k([-1, -2, -3], 0.34) == -2.5  # two of three, rounded up


def test_items_are_cut_into_beginnings_and_what_follows():
    items = [("a", "En to. Tre fire! Fem"), ("b", "Seks syv otte")]
    dated = memorised.next_sentences([("c", "Den 24. maj kom hun. »Åh«, sagde han.")])
    assert dated == [("c", "Den 24. maj kom hun.", "»Åh«, sagde han.")]
    assert memorised.second_halves(items) == [("a", "En to.", "Tre fire! Fem"), ("b", "Seks", "syv otte")]
    assert memorised.next_sentences(items) == [("a", "En to.", "Tre fire!")]
    assert memorised.next_items(items, items) == [("a", "En to. Tre fire! Fem\n", "Seks syv otte")]
    assert memorised.next_items([items[0], ("c", "Ni"), items[1]], items) == []  # what follows is no neighbour
    assert memorised.swap_words("1 2 3 4 5 6 7 8 9 10 11") == "1 2 4 3 5 6 7 8 10 9 11"


def test_intervals_hold_the_value_and_narrow_with_items():
    value, low, high = memorised.mean_interval([0, 1] * 50)
    assert value == 0.5 and 0.39 < low < 0.42 and 0.58 < high < 0.61
    assert memorised.share_interval([False] * 20) == (0, 0, pytest.approx(0.1611, abs=1e-4))  # Wilson: z²/(n + z²)
    assert memorised.auc_interval([3, 4, 5], [1, 2, 3])[0] == pytest.approx(8.5 / 9)
