"""The built-in scorer on hand-computed numbers and on planted models, and the table that collect.py makes of it.

pytest tests/test_scorer.py
"""

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from builtin import main as score
from collect import main as collect
from scorer.metrics import accuracy, chance_level, macro_f1, mcc, resample, summarise
from scorer.tasks import Item, option_labels, predictions, read_items
from test_likelihood import small_model, small_tokenizer

from snakmodel.config import BadInput
from snakmodel.documents import DocumentWriter
from snakmodel.records import read_json, read_jsonl, write_json, write_jsonl
from snakmodel.series import write_series

ROOT = Path(__file__).parent.parent
VOCABULARY = 259  # 256 bytes, <unk>, <s>, </s>


def test_metrics_equal_hand_computed_values():
    answers, predicted = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])
    assert accuracy(answers, predicted) == pytest.approx(3 / 5)
    assert macro_f1(answers, predicted) == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)
    assert mcc(answers, predicted) == pytest.approx((3 * 5 - 10) / math.sqrt((25 - 13) * (25 - 9)))
    # two classes: (TP TN - FP FN) / sqrt(...) = (2 2 - 1 1) / sqrt(3 3 3 3)
    assert mcc(np.array([1, 1, 1, 0, 0, 0]), np.array([1, 1, 0, 0, 0, 1])) == pytest.approx(3 / 9)
    assert mcc(np.array([1, 0, 1]), np.array([1, 1, 1])) == 0.0


def test_summary_is_scandevals_arithmetic_beside_the_interval_of_the_score():
    total, interval = summarise([{"mcc": 0.5}, {"mcc": 0.6}, {"mcc": 0.7}], scale=100)
    assert total == pytest.approx({"test_mcc": 60, "test_mcc_se": 1.96 * 10 / math.sqrt(3)})
    assert interval["test_mcc"] == pytest.approx([60 - 19.6, 60 + 19.6])


def test_chance_is_the_score_of_drawing_an_option_at_random():
    pair, triple = np.array([0, 1]), np.array([0, 1, 2])
    assert chance_level("accuracy", np.array([0, 1]), [pair, triple]) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert chance_level("mcc", np.array([0, 1]), [pair, pair]) == 0
    # three of class 0, one of class 1: F1 of the expected counts is 2 1.5 / (3 + 2) and 2 0.5 / (1 + 2)
    assert chance_level("macro_f1", np.array([0, 0, 0, 1]), [pair] * 4) == pytest.approx((3 / 5 + 1 / 3) / 2)
    answers = np.repeat([0, 1], [30_000, 10_000])
    drawn = np.random.default_rng(1).integers(0, 2, len(answers))
    assert macro_f1(answers, drawn) == pytest.approx(chance_level("macro_f1", answers, [pair] * 40_000), abs=0.01)


def test_resamples_are_fixed_by_their_seed_and_draw_with_replacement():
    assert (resample(50, 10, 4242) == resample(50, 10, 4242)).all()
    assert (resample(50, 10, 4242) != resample(50, 10, 4243)).any()
    assert all(0 < len(set(draw)) < 50 for draw in resample(50, 10, 4242))


def test_the_likeliest_option_is_predicted_and_classes_follow_the_options_text():
    assert predictions([[-3.0, -1.0], [-2.0, -2.0], [-9.0, -8.0, -1.5]]) == [1, 0, 2]
    swapped = [Item("a", "x", [" god", " dum"], 0), Item("b", "y", [" dum", " god"], 1)]
    assert [list(labels) for labels in option_labels(swapped)] == [[1, 0], [0, 1]]
    other = Item("c", "z", [" ko", " hest", " får"], 1)
    assert [list(labels) for labels in option_labels([*swapped, other])] == [[0, 1], [0, 1], [0, 1, 2]]


ROW: dict[str, Any] = {"id": "a", "prompt": "Vejret er", "options": [" godt", " skidt"], "answer": 0, "split": "test"}


@pytest.mark.parametrize(
    "bad, message",
    [
        ({**ROW, "answer": 2}, r"answer should be an index of the 2 options \(from 0\), got 2"),
        ({**ROW, "options": [" godt", ""]}, "not empty"),
        ({**ROW, "options": [" godt", " godt"]}, "differ"),
        ({k: v for k, v in ROW.items() if k != "prompt"}, "no prompt"),
        ({**ROW, "id": 7}, "should be text, got 7"),
        ([1], "should be an object, got list"),
        (ROW | {"id": "first"}, "a second 'first'; ids must differ"),
        ("{", "not JSON"),
    ],
)
def test_a_bad_task_row_is_one_line_with_its_number(tmp_path, bad, message):
    path = tmp_path / "sentiment.jsonl"
    bad_line = bad if isinstance(bad, str) else json.dumps(bad)
    path.write_text(json.dumps({**ROW, "id": "first"}) + "\n\n" + bad_line + "\n")
    with pytest.raises(BadInput, match=f"sentiment.jsonl, line 3: .*{message}") as error:
        read_items(path)
    assert "\n" not in str(error.value)


def test_only_the_test_split_is_scored(tmp_path):
    write_jsonl(tmp_path / "t.jsonl", [{**ROW, "id": "x", "split": "train"}, ROW])
    assert [item.id for item in read_items(tmp_path / "t.jsonl")] == ["a"]
    write_jsonl(tmp_path / "t.jsonl", [{**ROW, "split": "train"}])
    with pytest.raises(BadInput, match="no rows with"):
        read_items(tmp_path / "t.jsonl")


def write_unigram_model(folder: Path, favourite: str, strength: float) -> None:
    """A model whose logit is `strength` for one character and 0 for all other tokens, whatever came before."""
    tokenizer, model = small_tokenizer(), small_model(VOCABULARY)
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(1)
        for layer in model.model.layers:  # nothing is added to the embedding
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()  # the final norm gives ones, so a row of w's is a logit of hidden size times w
        model.lm_head.weight[tokenizer.convert_tokens_to_ids(favourite)] = strength / model.config.hidden_size
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "run.json", {"favourite": favourite})


def write_run(root: Path, steps: list[int]) -> None:
    """A run's series: step 0 prefers no character, later ones "e"."""
    models = root / "models"
    rows = [
        {"step": step, "location": str(models / f"step-{step:05d}"), "parent": None, "tokens": 32 * step}
        for step in steps
    ]
    for row in rows:
        if not Path(row["location"]).exists():
            write_unigram_model(Path(row["location"]), "e", 0.0 if row["step"] == 0 else 3.0)
    write_series(models, "planted", rows)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Two steps, two languages, two tasks. "e" marks the right sentence, and one of two feelings."""
    write_run(tmp_path / "run", [0, 50])
    for language, texts in {"da": ["æble", "et træ", "Der er en sø."], "en": ["Zzz"] * 5}.items():
        with DocumentWriter(tmp_path / f"{language}.parquet") as writer:
            for index, text in enumerate(texts):
                writer.write({"text": text, "source": "x", "id": f"x:{index:08d}"})
    sentences = [
        {**ROW, "id": f"s{i}", "prompt": "", "options": ["Han ser", "Han sar"][:: 1 - 2 * (i % 2)], "answer": i % 2}
        for i in range(20)
    ]
    feelings = [{**ROW, "id": f"f{i}", "options": [" ked", " kåd"], "answer": int(i % 4 == 0)} for i in range(20)]
    write_jsonl(tmp_path / "acceptability.jsonl", sentences)
    write_jsonl(tmp_path / "sentiment.jsonl", feelings)
    builtin = {
        "held_out": {language: str(tmp_path / f"{language}.parquet") for language in ("da", "en")},
        "tasks": {name: str(tmp_path / f"{name}.jsonl") for name in ("acceptability", "sentiment")},
        "window": 8,
        "device": "cpu",
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"run_dir": str(tmp_path / "run"), "builtin": builtin, "collect": {}}))
    return path


@pytest.fixture
def run(recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a script's main() on the recipe with more arguments, and gives what it prints."""

    def run_main(main: Callable[[], None], *more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["script", "--config", str(recipe), *more])
        capsys.readouterr()
        main()
        return capsys.readouterr().out

    return run_main


def test_uniform_model_scores_chance_and_the_logarithm_of_its_vocabulary(recipe, run):
    printed = run(score, "steps=first")
    assert printed.startswith("pretrained step-00000: held-out-da 8.02 bits/byte, held-out-en 8.02 bits/byte, tiny-acc")
    step = recipe.parent / "run/records/builtin/pretrained/step-00000"
    records = {record["dataset"]: record for record in read_jsonl(step / "records.jsonl")}
    assert list(records) == ["held-out-da", "held-out-en", "tiny-acceptability", "tiny-sentiment"]
    for language in ("da", "en"):  # a token a byte, all of them alike
        total = records[f"held-out-{language}"]["results"]["total"]
        assert total == pytest.approx({"test_bits_per_byte": math.log2(VOCABULARY), "test_bits_per_byte_se": 0})
    sentiment = records["tiny-sentiment"]
    assert (sentiment["task"], sentiment["metric"], sentiment["step"]) == ("sentiment-classification", "macro_f1", 0)
    assert sentiment["chance"] == pytest.approx(100 * (15 / 25 + 5 / 15) / 2)
    assert len(sentiment["results"]["raw"]["test"]) == 10


def test_planted_preference_shows_in_every_document_and_question(recipe, run):
    assert "tiny-acceptability 100.0" in run(score, "steps=last")
    step = recipe.parent / "run/records/builtin/pretrained/step-00050"
    items = {(item["dataset"], item["id"]): item for item in read_jsonl(step / "items.jsonl")}
    document = items["held-out-da", "x:00000002"]  # "Der er en sø." holds three e's; ø is two bytes
    normaliser = math.log2(VOCABULARY - 1 + math.exp(3))
    assert document["bytes"] == 14
    assert document["bits"] == pytest.approx(14 * normaliser - 3 * 3 / math.log(2), rel=1e-5)
    question = items["tiny-acceptability", "s1"]
    assert (question["prediction"], question["answer"]) == (1, 1)
    assert question["log_likelihoods"][1] - question["log_likelihoods"][0] == pytest.approx(3, rel=1e-5)


def test_scores_are_collected_into_json_csv_and_a_table(recipe, run):
    run(score)
    printed = run(collect)
    assert "8.02 [8.02, 8.02]" in printed and "100.0 [100.0, 100.0]" in printed
    rows = read_json(recipe.parent / "run/scores/scores.json")["rows"]
    (best,) = [r for r in rows if r["dataset"] == "tiny-acceptability" and r["step"] == 50 and r["primary"]]
    assert (best["value"], best["low"], best["high"], best["chance"]) == (100, 100, 100, 50)
    assert (best["metric"], best["language"], best["tokens"], best["scorer"]) == ("accuracy", "da", 1600, "builtin")
    with (recipe.parent / "run/scores/scores.csv").open(encoding="utf-8") as file:
        assert [row["dataset"] for row in csv.DictReader(file)] == [row["dataset"] for row in rows]


def test_more_steps_invalidate_neither_the_finished_ones_nor_the_table(recipe, run):
    root = recipe.parent / "run"
    run(score)
    run(collect)
    assert "collect: done" in run(collect)
    finished = root / "records/builtin/pretrained/step-00050/run.json"
    before = finished.read_bytes()
    write_run(root, [0, 50, 100])
    assert run(score, "steps=last", "batch_tokens=64").startswith("pretrained step-00100: held-out-da")
    assert run(score).count("done") == 3 and finished.read_bytes() == before
    assert "pretrained  100 " in run(collect)
    with pytest.raises(BadInput, match="seed 4242, now 1"):
        run(score, "seed=1")


def test_an_interrupted_step_is_left_out_of_the_table_and_scored_again_alike(recipe, run):
    root = recipe.parent / "run"
    run(score)
    step = root / "records/builtin/pretrained/step-00050"
    before = (step / "records.jsonl").read_bytes()
    (step / "run.json").unlink()
    assert f"left out, not finished: {step}" in run(collect)
    assert {row["step"] for row in read_json(root / "scores/scores.json")["rows"]} == {0}
    run(score)
    assert (step / "records.jsonl").read_bytes() == before


def test_finished_steps_say_so_without_torch(recipe, run):
    run(score)
    command = [sys.executable, "-X", "importtime", "evaluate/builtin.py", "--config", str(recipe)]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.stdout.count("done") == 2
    imported = {line.rsplit("|", 1)[-1].strip() for line in again.stderr.splitlines()}
    assert "numpy" in imported and "torch" not in imported


@pytest.mark.parametrize(
    "change, message",
    [
        ("tasks.sentimnet=x.jsonl", r"did you mean sentiment\?"),
        ("held_out.da=nowhere.parquet", "nowhere.parquet not found"),
        ("series=all-r8-chat", "instruct/all-r8-chat/series.json not found: run finetune/merge.py first"),
        ("steps=0,7", "builtin.steps of pretrained: no checkpoint of step 7; the series has 0, 50"),
    ],
)
def test_a_wrong_setting_is_named_with_the_cure(run, change, message):
    with pytest.raises(BadInput, match=message):
        run(score, change)


def test_collect_without_records_names_the_script_that_writes_them(run):
    with pytest.raises(BadInput, match="run evaluate/builtin.py first"):
        run(collect)
