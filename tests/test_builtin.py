"""The built-in scorer as a script: what is scored, kept, resumed and refused: pytest tests/test_builtin.py"""

import math
import signal
import subprocess
import sys
import time
from dataclasses import replace

import builtin
import collect
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT, run_main, save_step, small_model, write_recipe, write_set
from scorer import score

from snakmodel.config import BadInput, Command
from snakmodel.paths import Run
from snakmodel.records import only_one, read_jsonl, remove_folder, write_json
from snakmodel.series import find_baselines, write_series


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
    return write_recipe(tmp_path / "recipe.yaml", builtin=section, collect={})


def test_all_tasks_are_scored_with_their_items_and_a_baseline_beside_the_series(recipe, tmp_path):
    said = run_main(builtin, recipe)
    assert said.count("small-") == 27 and "baselines fond: " in said
    records = tmp_path / "run/records/builtin"
    written = [read_jsonl(path)[0] for path in sorted(records.glob("baselines/fond/*/records.jsonl"))]
    step = [read_jsonl(path)[0] for path in records.glob("pretrained/step-00050/*/records.jsonl")]
    assert len(written) == len(step) == 9
    for record in written + step:
        assert record["results"]["total"]["test_" + record["metric"]] is not None
        assert (record["scorer"], record["scorer_version"], record["split"]) == (
            "builtin",
            f"{score.VERSION} float32",
            "test",
        )
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
    items = [
        item
        for dataset in found
        for item in pq.read_table(records / f"baselines/fond/{dataset}/items.parquet").to_pylist()
    ]
    assert len(items) == sum(record["items"] for record in written) == 19
    sentiment = next(item for item in items if item["dataset"] == "small-sentiment")
    assert {**sentiment, "margin": 0} == {
        **{"dataset": "small-sentiment", "item": "0", "prediction": "positiv", "answer": "negativ"},
        **{"score": 0.0, "margin": 0},
    }
    assert all((item["margin"] is None) == (item["dataset"].split("-", 1)[1] in score.WRITTEN) for item in items)
    assert run_main(builtin, recipe).count("done") == 3
    assert "fond: val/small-sentiment" in run_main(builtin, recipe, "split=val", f"run_dir={tmp_path}/run")
    (record,) = read_jsonl(records / "baselines/fond/val/small-sentiment/records.jsonl")
    assert (record["split"], record["validation_split"], record["items"]) == ("val", True, 1)
    assert run_main(builtin, recipe).count("done") == 3, "the other split is still there"


def test_what_changes_the_asking_is_another_input_and_what_does_not_is_not(recipe, tmp_path):
    run_main(builtin, recipe, "steps=0", "baselines={}")
    assert run_main(builtin, recipe, "steps=0", "baselines={}", "batch_tokens=64").count("done") == 1
    with pytest.raises(
        BadInput, match="small-reading was made with shots 1, now 0; score all models again with --over"
    ):
        run_main(builtin, recipe, "steps=0", "baselines={}", "own.small-reading.shots=0")
    with pytest.raises(BadInput, match="'a/b' should be a name of letters"):
        run_main(builtin, recipe, "baselines={a/b: x}")
    with pytest.raises(BadInput, match="'small-reading' says no task; add task: to its description"):
        run_main(builtin, recipe, "own.small-reading.task=null")


def test_a_step_that_cannot_be_scored_is_told_and_the_others_are_scored(recipe, tmp_path, capsys):
    broken = small_model(0)
    torch.nn.init.constant_(broken.lm_head.weight, math.nan)
    broken.save_pretrained(tmp_path / "run/models/step-00000")
    with pytest.raises(SystemExit) as ended:
        run_main(builtin, recipe, "testsets=[small-sentiment]")
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "failed: pretrained step-00000 small-sentiment: the model's output is not finite" in told.err
    assert "error: not all could be scored; the same command tries again what is missing" in told.err
    assert len(list(tmp_path.glob("run/records/builtin/*/*/small-sentiment/run.json"))) == 2


def test_each_set_has_its_own_record_which_lasts_while_its_own_settings_do(recipe, tmp_path):
    records = tmp_path / "run/records/builtin/pretrained/step-00050"
    run_main(builtin, recipe, "testsets=[small-sentiment,small-summary]")
    before = (records / "small-sentiment/run.json").read_bytes()
    said = run_main(builtin, recipe, "testsets=[small-sentiment,small-knowledge]")
    assert "pretrained step-00050: small-knowledge " in said and "small-sentiment" not in said
    assert (records / "small-sentiment/run.json").read_bytes() == before
    with pytest.raises(BadInput, match="small-summary was made with bertscore_layers null, now 2"):
        run_main(builtin, recipe, "testsets=[small-sentiment,small-summary]", "bertscore_layers=2")
    (tmp_path / "run/records/builtin/pretrained/step-00000").rename(tmp_path / "aside")
    for steps in ("all", "0"):  # steps that were asked otherwise share no curve
        with pytest.raises(BadInput, match="small-sentiment was made with seed 4242, now 1; score all models again"):
            run_main(builtin, recipe, "testsets=[small-sentiment]", "seed=1", f"steps={steps}")
    with pytest.raises(BadInput, match="fond/small-sentiment was made with seed 4242, now 1"):
        run_main(builtin, recipe, "testsets=[small-sentiment]", "seed=1", "baselines={}", "--overwrite")
    assert not list(records.parent.glob("step-00000/*/run.json")), "nothing is scored before all is looked at"


def test_an_interrupted_overwrite_goes_on_without_it(recipe, tmp_path, monkeypatch):
    chosen = ("testsets=[small-sentiment,small-knowledge]", "baselines={}", "seed=1")
    run_main(builtin, recipe, *chosen[:2])
    found, count = builtin.write_jsonl, []

    def write(path, rows):
        count.append(path)
        if len(count) == 2:
            raise KeyboardInterrupt
        found(path, rows)

    monkeypatch.setattr(builtin, "write_jsonl", write)
    with pytest.raises(KeyboardInterrupt):
        run_main(builtin, recipe, *chosen, "--overwrite")
    monkeypatch.undo()
    kept = count[0].read_bytes()
    assert run_main(builtin, recipe, *chosen).count("small-sentiment") == 1, "that of the other step is there"
    assert count[0].read_bytes() == kept
    assert run_main(builtin, recipe, *chosen).count("done") == 2


def test_two_processes_do_not_score_one_model_and_shares_part_the_models(recipe, tmp_path, capsys, monkeypatch):
    place, chosen = tmp_path / "run/records/builtin/pretrained/step-00050", ("testsets=[small-sentiment]",)
    with only_one(place), pytest.raises(SystemExit):
        run_main(builtin, recipe, *chosen, "baselines={}")
    assert "failed: pretrained step-00050: " in (told := capsys.readouterr().err) and "at work there" in told
    assert not (place / "small-sentiment").exists(), "what another process is at work on is left alone"
    said = [run_main(builtin, recipe, *chosen, f"part={k}/3") for k in (1, 2, 3)]
    assert ["done" in each for each in said] == [True, False, False] and "baselines fond: " in said[2]
    for name, value in {"ID": "7", "MIN": "5", "COUNT": "3"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert run_main(builtin, recipe, *chosen).splitlines() == [
        f"builtin baselines fond: done ({tmp_path}/run/records/builtin/baselines/fond)"
    ]


def test_a_baseline_on_the_hub_keeps_the_commit_that_it_was_at(tmp_path, monkeypatch):
    commits = iter(["a" * 40, "b" * 40])
    monkeypatch.setattr("snakmodel.hub.commit_of", lambda location: next(commits))
    named = {"other": "ORG/NAME@main", "pinned": f"ORG/NAME@{'c' * 40}"}
    run = Run(tmp_path)
    command = Command("builtin", None, run, tmp_path / "r.yaml", overwrite=False, check=False)
    found = find_baselines(named, command)
    assert [found[name].pinned for name in found] == [f"ORG/NAME@{'a' * 40}", f"ORG/NAME@{'c' * 40}"]

    def record(scorer, baseline):
        started = run.folder(scorer) / "baselines/other/some-test/dansk/started.json"
        write_json(started, {"inputs": {"model": {"path": baseline.source}}})

    record("scandeval", found["other"])
    for overwrite in (False, True):  # else its data sets would be of two models
        again = find_baselines(named, replace(command, overwrite=overwrite))
        assert again["other"].pinned == f"ORG/NAME@{'a' * 40}", "as its records"
    remove_folder(run.folder("scandeval"))
    assert find_baselines(named, command)["other"].pinned == f"ORG/NAME@{'b' * 40}"
    monkeypatch.undo()
    absent = find_baselines({"absent": "ORG/ABSENT"}, command)["absent"]
    with pytest.raises(BadInput, match="ORG/ABSENT is not in the cache"):
        print(absent.pinned)


def test_killed_it_goes_on_with_what_is_missing_and_ends_with_the_same_records(recipe, tmp_path):
    records = tmp_path / "run/records/builtin"
    command = [sys.executable, "evaluate/builtin.py", "--config", str(recipe)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(records.glob("pretrained/step-00050/*/run.json")):
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    kept = {path: path.read_bytes() for path in records.glob("*/*/*/run.json")}
    assert 9 < len(kept) < 27
    run_main(builtin, recipe)
    assert all(path.read_bytes() == before for path, before in kept.items()), "what was there is not scored again"
    once = {path: path.read_bytes() for path in sorted(records.glob("*/*/*/records.jsonl"))}
    assert len(once) == 27
    run_main(builtin, recipe, "--overwrite")
    assert {path: path.read_bytes() for path in once} == once


def test_a_set_that_cannot_be_scored_keeps_no_other_from_it_and_check_tells_it(recipe, tmp_path, capsys):
    chosen = ("testsets=[small-entities,small-sentiment]", "prompt_window=24", "baselines={absent: ORG/ABSENT}")
    with pytest.raises(SystemExit):
        run_main(builtin, recipe, "--check", *chosen)
    with pytest.raises(SystemExit) as ended:
        run_main(builtin, recipe, *chosen)
    told = capsys.readouterr().err
    assert ended.value.code == 1 and told.count("small-entities: 24 tokens have no room for item 0") == 2
    assert "failed: baselines absent: ORG/ABSENT is not in the cache" in told
    assert len(list(tmp_path.glob("run/records/builtin/pretrained/*/small-sentiment/run.json"))) == 2
    write_set(tmp_path / "run/sets/knowledge", [{"text": "no options", "label": "a"}])
    with pytest.raises(SystemExit):
        run_main(builtin, recipe, "testsets=[small-knowledge,small-reading]", "baselines={}")
    told = capsys.readouterr().err
    assert told.count("failed: small-knowledge: test set small-knowledge (test), row 0: label 'a' should be one") == 1
    assert len(list(tmp_path.glob("run/records/builtin/pretrained/*/small-reading/run.json"))) == 2


def test_judges_that_cannot_judge_are_told_before_anything_is_written(recipe, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_main(builtin, recipe, "testsets=[small-summary]", f"entailment={tmp_path}/fond", "baselines={}")
    assert "failed: small-summary: builtin.entailment" in (told := capsys.readouterr().err) and "step-000" not in told


def test_the_plain_score_stands_beside_the_mean_of_the_resamples(recipe, tmp_path):
    run_main(builtin, recipe, "testsets=[small-sentiment]", "steps=0")
    (record,) = read_jsonl(tmp_path / "run/records/builtin/baselines/fond/small-sentiment/records.jsonl")
    assert record["plain"]["test_accuracy"] == pytest.approx(100 / 3), "one of three is positive"
    assert len(record["results"]["raw"]["test"]) == 10


def test_shares_may_overwrite_one_after_the_other(recipe, tmp_path):
    chosen = ("testsets=[small-sentiment]", "baselines={}", "seed=1", "--overwrite")
    run_main(builtin, recipe, *chosen[:2])
    said = [run_main(builtin, recipe, *chosen, f"part={k}/2") for k in (1, 2)]
    assert [each.count("small-sentiment") for each in said] == [1, 1]
    assert run_main(builtin, recipe, *chosen[:3]).count("done") == 2


def test_a_model_without_a_record_that_was_trained_on_is_another_model(recipe, tmp_path):
    chosen = ("testsets=[small-sentiment]", "steps=0")
    run_main(builtin, recipe, *chosen)
    small_model(1).save_pretrained(tmp_path / "fond")  # of the same size to the byte
    with pytest.raises(BadInput, match="small-sentiment was made with another model .*fond has changed since"):
        run_main(builtin, recipe, *chosen)
    assert "left out, of a model that has changed since; score it again: " in run_main(collect, recipe)
    with pytest.raises(BadInput, match="was made with another model .*fond, now .*step-00050"):
        run_main(builtin, recipe, *chosen, f"baselines.fond={tmp_path}/run/models/step-00050")
    assert "baselines" not in run_main(builtin, recipe, *chosen, "baselines.fond=null", "--overwrite")
    assert list(tmp_path.glob("run/records/builtin/baselines/fond/*/run.json"))


def test_items_of_one_id_are_refused(recipe, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_main(builtin, recipe, "testsets=[small-sentiment]", "own.small-sentiment.id=text")
    assert "test set small-sentiment (test): id 'w3' stands twice" in capsys.readouterr().err
