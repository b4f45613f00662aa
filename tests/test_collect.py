"""Records of every generation, and the table and leaderboards made of them: pytest tests/test_collect.py"""

import csv
import json
import subprocess

import collect
import pytest
from conftest import ROOT, run_main, write_recipe
from scorer import program
from scorer.scandeval_records import normalise, read_records
from stand_in import make_environment, make_record

from snakmodel.config import BadInput
from snakmodel.records import identity, read_json, write_json, write_jsonl
from snakmodel.series import write_series

REAL = ROOT / "tests/records"


@pytest.mark.parametrize(
    "name, version, split, flag",
    [
        ("scandeval", "12.11.0", "test", None),
        ("scandeval", "13.3.0", "val", "--only-validation-split"),
        ("scandeval", "14.2.0", "val", "--evaluate-val-split"),
        ("euroeval", "16.11.0", "test", "--evaluate-test-split"),
        ("euroeval", "17.7.0", "test", "--evaluate-test-split"),
        ("euroeval", "18.3.0", "val", "--evaluate-val-split"),
    ],
)
def test_each_version_is_spoken_to_in_its_dialect_and_its_records_are_one_form(tmp_path, name, version, split, flag):
    found = program.find_program(str(make_environment(tmp_path / "env", name, version)), "command")
    assert (found.name, found.version) == (name, version)
    line = program.command_line(found, "model", ["dansk"], ["da"], split, False, 2, [])
    assert [word for word in line if "split" in word] == ([flag] if flag else []) and "--zero-shot" in line
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors").write_bytes(b"weights")
    subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    (record,), faults = read_records(tmp_path / found.results)
    assert faults == [] and record["split"] == split and record["few_shot"] is False
    assert (record["scorer"], record["scorer_version"], record["model"]) == (name, version, "model")
    assert (record["task"], record["metric"]) == ("named-entity-recognition", "micro_f1")
    assert record["dataset_languages"] == ["da"] and len(record["results"]["raw"]["test"]) == 2
    value = record["results"]["total"]["test_micro_f1"]
    assert record["interval"]["test_micro_f1"] == pytest.approx([value - 1.25, value + 1.25])
    assert record["failed"] == (3 if version in ("17.7.0", "18.3.0") else None)


def test_real_records_are_read():
    old, faults = read_records(REAL / "scandeval-13.3.jsonl")
    assert faults == [] and [record["dataset"] for record in old] == [
        "angry-tweets",
        "dansk",
        "scala-da",
        "scandiqa-da",
    ]
    sentiment = old[0]
    assert (sentiment["scorer_version"], sentiment["split"], sentiment["metric"]) == ("13.3.0", "val", "macro_f1")
    # 1.96 sd / sqrt(n) of the resamples is what the program calls se
    one, other = (100 * scores["macro_f1"] for scores in sentiment["results"]["raw"]["test"])
    half = 1.96 * abs(one - other) / 2**0.5 / 2**0.5
    mean = (one + other) / 2
    assert sentiment["interval"]["test_macro_f1"] == pytest.approx([mean - half, mean + half])
    middle, faults = read_records(REAL / "euroeval-16.11.jsonl")
    assert len(middle) == 6 and not faults and {record["split"] for record in middle} == {"val"}
    assert {record["model"] for record in middle} == {"openai/out/tiny/instruct/all-r8-chat/step-00320"}
    assert middle[0]["results"]["total"]["test_macro_f1"] == pytest.approx(14.56582633)
    assert (middle[0]["few_shot"], middle[0]["num_model_parameters"]) == (False, None)
    new = normalise(json.loads((REAL / "euroeval-18.3.json").read_text()))
    assert new["model"] == "openai/checkpoints/checkpoint_1000" and new["split"] == "val" and new["few_shot"] is True
    assert new["interval"]["test_macro_f1"] == [11.437037037037037, 19.180246913580245]
    assert new["vocabulary_size"] is None and len(new["results"]["raw"]["test"]) == 2


@pytest.mark.parametrize(
    "raw", [[], {}, {"results": {}}, {"evaluation_results": []}, {"dataset": "x", "results": None}]
)
def test_what_is_no_record_is_told(raw):
    with pytest.raises(BadInput, match="record"):
        normalise(raw)


def test_an_unknown_task_stands_for_itself_by_its_first_metric_and_summaries_by_what_there_is():
    record = make_record("euroeval", "16.20.0", "m", "nordjylland-news", "test", True, 2, False)
    assert normalise(record)["metric"] == "bertscore"
    total = {"test_chr_f4pp": 1.0, "test_chr_f3pp": 2.0}
    assert normalise(record | {"results": {"raw": [], "total": total}})["metric"] == "chr_f3pp"
    assert normalise(record | {"task": "new-one"})["metric"] == "bertscore"
    assert normalise(record | {"task": "x", "results": {"raw": [], "total": {"test_mcc": 1.0}}})["chance"] == 0


def own_record(series, step, dataset, value, **changes):
    """A record as evaluate/*.py writes it."""
    task, metric = ("linguistic-acceptability", "macro_f1") if dataset == "scala-da" else ("knowledge", "accuracy")
    total = {f"test_{metric}": value, f"test_{metric}_se": 1.0, "test_mcc": value / 2, "test_mcc_se": 2.0}
    ends = {f"test_{metric}": [value - 1, value + 1], "test_mcc": [value / 2 - 2, value / 2 + 2]}
    return {
        "dataset": dataset,
        "task": task,
        "dataset_languages": ["da"],
        "model": "m",
        "results": {"raw": {"test": []}, "total": total},
        "interval": ends,
        "metric": metric,
        "chance": None,
        "few_shot": True,
        "series": series,
        "step": step,
        "tokens": None if step is None else 32 * step,
        "name": None,
        "scorer": "scandeval",
        "scorer_version": "13.3.0",
        "split": "test",
    } | changes


class Recorded:
    """A run with records of two steps and a baseline."""

    def __init__(self, folder):
        self.folder, self.run = folder, folder / "run"
        rows = []
        for step in (0, 50):
            model = self.run / f"models/step-{step:05d}"
            write_json(model / "run.json", {"step": step})
            rows.append({"step": step, "location": model, "tokens": 32 * step, "parent": None})
        write_series(self.run / "models", "made", rows)
        write_json(folder / "other/config.json", {})
        (folder / "other/model.safetensors").touch()
        self.recipe = write_recipe(folder / "recipe.yaml", collect={})

    def add(self, place, model, *records):
        folder = self.run / "records" / place
        write_jsonl(folder / "records.jsonl", records)
        shape = {"inputs": {"model": {"path": str(model), "hash": identity(model)}}, "section": "scandeval"}
        for name in ("started.json", "run.json"):
            write_json(folder / name, shape | {"settings": {}})
        return folder

    def add_step(self, step, dataset, value, kind="scandeval-test", **changes):
        model = self.run / f"models/step-{step:05d}"
        place = f"scandeval/pretrained/step-{step:05d}/{kind}/{dataset}"
        return self.add(place, model, own_record("pretrained", step, dataset, value, **changes))

    def add_baseline(self, name, dataset, value):
        record = own_record("baselines", None, dataset, value, name=name)
        return self.add(f"scandeval/baselines/{name}/scandeval-test/{dataset}", self.folder / "other", record)

    def collect(self, *words):
        said = run_main(collect, self.recipe, *words)
        return said, read_json(self.run / "scores/scores.json")["rows"]

    def board(self, kind="md"):
        return (self.run / f"scores/leaderboard.{kind}").read_text()


@pytest.fixture
def recorded(tmp_path):
    made = Recorded(tmp_path)
    for step, scala, sayings in ((0, 40.0, 30.0), (50, 50.0, 70.0)):
        made.add_step(step, "scala-da", scala)
        made.add_step(step, "danske-talemaader", sayings)
    made.add_baseline("viking-7b", "scala-da", 60.0)
    return made


def test_the_table_is_tidy_and_its_csv_is_the_same(recorded):
    said, rows = recorded.collect()
    assert "10 scores of 2 steps and 1 other models" in said
    assert [(row["series"], row["step"], row["name"]) for row in rows[::4]] == [
        ("pretrained", 0, None),
        ("pretrained", 50, None),
        ("baselines", None, "viking-7b"),
    ]
    first = next(row for row in rows if row["dataset"] == "scala-da" and row["primary"])
    assert {key: first[key] for key in ("value", "low", "high", "metric", "language", "tokens", "split", "items")} == {
        "value": 40,
        "low": 39,
        "high": 41,
        "metric": "macro_f1",
        "language": "da",
        "tokens": 0,
        "split": "test",
        "items": None,
    }
    table = list(csv.DictReader((recorded.run / "scores/scores.csv").open()))
    assert [row["value"] for row in table] == [str(row["value"]) for row in rows] and table[0]["name"] == ""
    assert "collect: done" in run_main(collect, recorded.recipe)


def test_the_leaderboard_ranks_averages_what_is_whole_and_sets_the_papers_numbers_beneath(recorded, tmp_path):
    columns = {"LA": ("scala-da", "macro_f1"), "TM": ("danske-talemaader", "accuracy"), "AVG": (None, "mean")}
    cells = [("Viking-7B", "LA", 33.67), ("Viking-7B", "TM", 23.97), ("Viking-7B", "AVG", None)]
    cells += [("LLaMA2-7B base", "LA", 33.43), ("LLaMA2-7B base", "AVG", 46.48)]
    paper = {"columns": {name: {"dataset": dataset, "metric": metric} for name, (dataset, metric) in columns.items()}}
    paper["cells"] = [{"row": row, "column": column, "value": value} for row, column, value in cells]
    write_json(tmp_path / "paper.json", paper)
    recorded.collect(f"published={tmp_path / 'paper.json'}", "models={Viking-7B: viking-7b}")
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in recorded.board().splitlines() if line[:1] == "|"
    ]
    assert lines[0] == ["model", "scala-da (macro\\_f1)", "danske-talemaader (accuracy)", "average"]
    assert lines[2:] == [
        ["pretrained@50", "50.00 ± 1.00 (2)", "70.00 ± 1.00 (1)", "60.00 ± 0.71 (1)"],
        ["pretrained@0", "40.00 ± 1.00 (3)", "30.00 ± 1.00 (2)", "35.00 ± 0.71 (2)"],
        ["viking-7b", "60.00 ± 1.00 (1)", "–", "–"],
        ["paper: Viking-7B", "33.67", "23.97", "–"],
        ["paper: LLaMA2-7B base", "33.43", "–", "46.48"],
    ]
    assert r"pretrained@50 & 50.00 ± 1.00 (2) & 70.00" in recorded.board("tex") and "<td" in recorded.board("html")
    recorded.add_step(50, "hellaswag-da", 10.0)
    recorded.collect(f"published={tmp_path / 'paper.json'}")
    assert "46.48" not in recorded.board(), "an average of other columns"


def test_scorers_versions_and_splits_never_share_a_table(recorded):
    recorded.add_step(50, "scala-da", 1.0, kind="euroeval-test", scorer="euroeval", scorer_version="18.3.0")
    recorded.add_step(50, "scala-da", 2.0, kind="scandeval-val", split="val")
    recorded.collect()
    titles = [line for line in recorded.board().splitlines() if line.startswith("## ")]
    assert titles == [
        "## euroeval 18.3.0, test split, few-shot, language da",
        "## scandeval 13.3.0, test split, few-shot, language da",
        "## scandeval 13.3.0, val split, few-shot, language da",
    ]


def test_files_made_elsewhere_enter_with_what_is_wrong_in_them_told(recorded, tmp_path):
    models = ["out/checkpoint_500/", "ORG/NAME@step-01000", "org/viking"]
    lines = [json.dumps(make_record("scandeval", "12.9.0", m, "scala-da", "val", True, 2, False)) for m in models]
    lines += [lines[0], json.dumps(make_record("scandeval", "12.9.0", "x", "dansk", "val", True, 1, False))]
    (tmp_path / "theirs.jsonl").write_text("\n" + "\n\n".join(lines) + '\n{"dataset": "dan')
    said, rows = recorded.collect(f"also={{theirs: {tmp_path / 'theirs.jsonl'}}}")
    theirs = [row for row in rows if row["series"] == "theirs" and row["primary"]]
    assert [(row["step"], row["name"]) for row in theirs] == [
        (500, None),
        (1000, None),
        (None, "org/viking"),
        (None, "x"),
    ]
    assert theirs[-1]["low"] is theirs[-1]["high"] is None, "one resample has no interval"
    assert f"left out: {tmp_path / 'theirs.jsonl'}, line 11: cut off, or not JSON" in said
    assert "2 scores were there twice; of each, the last counts" in said
    assert read_json(recorded.run / "scores/run.json")["counts"]["faults"] == 1


def test_another_metric_may_stand_for_a_task(recorded):
    _, rows = recorded.collect("primary={linguistic-acceptability: mcc}")
    assert {row["metric"] for row in rows if row["primary"]} == {"mcc", "accuracy"}
    assert "has no em, which collect.primary names for knowledge" in recorded.collect("primary={knowledge: em}")[0]


def test_scores_that_are_no_numbers_and_cut_off_lines_are_left_out_and_told(recorded):
    folder = recorded.add_step(50, "scala-da", 50.0)
    record = own_record("pretrained", 50, "scala-da", 50.0)
    record["results"]["total"]["test_mcc"] = record["interval"]["test_mcc"] = None
    write_jsonl(folder / "records.jsonl", [record])
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"dataset": ')
    said, rows = recorded.collect()
    assert len(rows) == 9 and "left out: pretrained 50 scala-da: mcc is not a number" in said
    assert "records.jsonl, line 2: cut off, or not JSON" in said


def test_what_people_have_judged_is_told_once_whatever_models_were_scored_with_it(recorded):
    human = {"theirs": {"rated": 8, "accepted": 2}, "nobody asked": {"rated": 0, "accepted": 0}}
    for step in (0, 50):
        folder = recorded.add_step(step, "scala-da", 50.0)
        write_jsonl(folder / "records.jsonl", [own_record("pretrained", step, "scala-da", 50.0, human=human)])
    recorded.collect()
    (row,) = read_json(recorded.run / "scores/scores.json")["judged"]
    assert (row["model"], row["accepted"], row["rated"], row["value"]) == ("theirs", 2, 8, 25)
    assert row["low"] == pytest.approx(7.1, abs=0.1) and row["high"] == pytest.approx(59.1, abs=0.1)  # Wilson (1927)
    told = "| theirs | scala-da | 2 | 8 | 25.0 | 7.1 to 59.1 |"
    assert told in (recorded.run / "scores/leaderboard.md").read_text()
    assert "left out: collect.without: no record is of the data set 'x'" in recorded.collect("without=[scala-da, x]")[0]
    assert "theirs" not in (recorded.run / "scores/leaderboard.md").read_text()


def test_records_of_models_that_have_changed_since_are_left_out(recorded):
    write_json(recorded.run / "models/step-00050/run.json", {"step": 50, "weights": "others"})
    write_json(recorded.folder / "other/config.json", {"another": "one"})
    said, rows = recorded.collect()
    assert {row["step"] for row in rows} == {0} and said.count(
        "left out, of a model that has changed since; score it again: "
    ) == 3


def test_mistakes_are_one_line(recorded, tmp_path):
    with pytest.raises(BadInput, match="collect.also.x: nowhere.jsonl is no file, or not there"):
        recorded.collect("also={x: nowhere.jsonl}")
    with pytest.raises(BadInput, match="also.pretrained: this run's own scores are of that name; take another"):
        recorded.collect(f"also={{pretrained: {__file__}}}")
    (tmp_path / "paper.json").write_text('{"columns": {"LA": "scala-da"}, "cells": []}')
    with pytest.raises(BadInput, match="paper.json is no file of published numbers"):
        recorded.collect(f"published={tmp_path / 'paper.json'}")
    with pytest.raises(BadInput, match="run evaluate/builtin.py first"):
        run_main(collect, write_recipe(tmp_path / "empty.yaml", collect={}), f"run_dir={tmp_path / 'empty'}")
