"""What is done of a run and what comes next: pytest tests/test_status.py"""

import shutil
import sys
from dataclasses import asdict

import builtin
import pytest
import scandeval_all
from conftest import succeed, write_recipe
from scorer.asked import find_asked

from snakmodel import record_places, status, testsets
from snakmodel.config import BadInput, read_command
from snakmodel.records import write_json
from snakmodel.series import write_series


def begin(recipe, place, finished=True):
    """A folder of the run as a stage leaves it, or while it is at work."""
    folder = recipe.parent / "run" / place
    write_json(folder / "started.json", {"config": str(recipe)})
    if finished:
        write_json(folder / "run.json", {"config": str(recipe)})
    return folder


def make_series(recipe, place, *steps):
    folders = [begin(recipe, f"{place}/step-{step:05d}") for step in steps]
    rows = [{"step": s, "location": folder, "parent": None} for s, folder in zip(steps, folders, strict=True)]
    write_series(recipe.parent / "run" / place, "made", rows)


def told(given, capsys, monkeypatch):
    """What status prints, as section -> the rest of its line."""
    monkeypatch.setattr(sys, "argv", ["status", str(given)])
    status.main()
    lines = capsys.readouterr().out.splitlines()[1:]
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}, lines


def test_columns_stand_in_line_and_what_waits_for_another_stage_is_not_next(tmp_path, capsys, monkeypatch):
    tuned = {"variant": "chat", "steps": "all"}
    sections = {"finetune": tuned, "preferences": {"variant": "polite", "base": "chat"}, "merge": {"variant": "chat"}}
    recipe = write_recipe(tmp_path / "r.yaml", plot_contamination={}, report={}, **sections)
    make_series(recipe, "models", 0, 50)
    for step in ("step-00000", "step-00050"):
        begin(recipe, f"instruct/adapters/chat/{step}")
    rows, lines = told(tmp_path / "run", capsys, monkeypatch)
    assert {line[:22].rstrip() for line in lines[:5]} == {
        *("  finetune", "  preferences", "  merge", "  plot_contamination", "  report")
    }
    assert {line[22:29].strip() for line in lines[:5]} == {"done", "to do"}
    assert rows["finetune"] == "done 2 of 2 steps" and rows["merge"] == "to do 0 of 2 steps"
    assert rows["next:"] == f"python finetune/merge.py --config {recipe}", "preferences tunes what merge makes"
    assert rows["then:"] == "preferences, plot_contamination, report"
    make_series(recipe, "instruct/chat", 0, 50)
    assert told(recipe, capsys, monkeypatch)[0]["next:"] == f"python finetune/preferences.py --config {recipe}"


def test_an_adopted_series_needs_no_training(tmp_path, capsys, monkeypatch):
    adopted = {"repository": "we/base", "revisions": {0: "a" * 40, 500: "b" * 40}}
    recipe = write_recipe(tmp_path / "r.yaml", audit={}, adopt={"series": {"pretrained": adopted}}, collect={})
    assert told(recipe, capsys, monkeypatch)[0]["next:"] == f"python pretrain/adopt.py --config {recipe}"
    succeed("pretrain/adopt.py", "--config", recipe)
    rows, _ = told(tmp_path / "run", capsys, monkeypatch)
    assert rows["adopt"] == "done" and rows["audit"] == "to do 0 of 2 steps"
    assert rows["next:"] == f"python analyze/audit.py --config {recipe}" and rows["then:"] == "collect"


SCORED = [
    ("builtin", {"testsets": ["dansk", "scala-da"], "held_out": {"da": "a.parquet"}}, "", "held-out-da"),
    ("scandeval", {"datasets": {"nb": ["norne-nb"], "da": ["dansk", "scala-da"]}}, "scandeval-test/", "norne-nb"),
]


@pytest.mark.parametrize("section, asked, beneath, first", SCORED)
def test_a_model_is_scored_when_all_that_the_recipe_asks_for_is(
    tmp_path, capsys, monkeypatch, section, asked, beneath, first
):
    recipe = write_recipe(tmp_path / "r.yaml", **{section: {"baselines": {"other": "we/other"}} | asked}, collect={})
    make_series(recipe, "models", 0, 50)
    models = ("pretrained/step-00000", "pretrained/step-00050", "baselines/other")
    places = [f"records/{section}/{model}/{beneath}{name}" for model in models for name in (first, "dansk", "scala-da")]
    assert told(recipe, capsys, monkeypatch)[0][section] == "to do 0 of 9 scores"
    for place in places[:7]:
        begin(recipe, place)
    begin(recipe, places[7], finished=False)
    begin(recipe, f"records/{section}/{models[0]}/{beneath}.dansk.tmp", finished=False)  # on its way to be removed
    begin(recipe, f"records/{section}/{models[0]}/{beneath}left-out", finished=False)  # nor does the recipe name it
    missing = f"{models[2]}/{beneath}dansk, {models[2]}/{beneath}scala-da"
    assert told(recipe, capsys, monkeypatch)[0][section] == f"partial 7 of 9 scores; missing {missing}"
    begin(recipe, places[7])
    begin(recipe, places[8])
    rows, _ = told(recipe, capsys, monkeypatch)
    assert rows[section] == "done 9 of 9 scores" and rows["next:"].startswith("python evaluate/collect.py")
    for added in ({"split": "val"}, {"testsets": ["new"]} if section == "builtin" else {"datasets": {"de": ["new"]}}):
        write_recipe(tmp_path / "r.yaml", **{section: asked | added})
        assert not told(recipe, capsys, monkeypatch)[0][section].startswith("done"), added


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"command": "a/euroeval", "split": "val", "few_shot": False, "datasets": {"da": ["dansk"], "de": ["germeval"]}},
    ],
)
def test_places_of_scandevals_scores_are_where_its_script_puts_them(tmp_path, asked):
    recipe = write_recipe(tmp_path / "r.yaml", scandeval=asked)
    make_series(recipe, "models", 0)
    command = read_command(scandeval_all.Settings, "scandeval", "", ["--config", str(recipe)])
    (job,) = scandeval_all.find_jobs(command, "", {})
    folder = command.run.folder("scandeval") / "pretrained/step-00000"
    places = [str((job.place / dataset).relative_to(folder)) for dataset in job.datasets]
    assert record_places.scandeval_places(asked) == places
    assert record_places.scandeval_places(asked | {"datasets": {"da": None}}) == []  # left out of what is extended


@pytest.mark.parametrize("split", ["test", "val"])
def test_places_of_the_built_in_scores_are_where_its_script_puts_them(tmp_path, split):
    own, held_out = {"dansk": testsets.TestSet(str(tmp_path), ["text"], task="entities")}, tmp_path / "a.parquet"
    held_out.touch()
    s = builtin.Settings(held_out={"da": str(held_out)}, testsets=["dansk"], own=own, split=split)
    assert record_places.builtin_places(asdict(s)) == [each.folder for each in find_asked(s, [])]
    if split == builtin.Settings().split:
        assert record_places.builtin_places({"testsets": ["dansk"], "held_out": {"da": None}}) == ["dansk"]


def test_a_step_that_was_deleted_once_it_was_scored_is_still_done(tmp_path, capsys, monkeypatch):
    recipe = write_recipe(tmp_path / "r.yaml", builtin={"testsets": ["dansk"]}, collect={})
    make_series(recipe, "models", 0, 50)
    for step in ("step-00000", "step-00050"):
        begin(recipe, f"records/builtin/pretrained/{step}/dansk")
    shutil.rmtree(tmp_path / "run/models/step-00050")
    assert told(recipe, capsys, monkeypatch)[0]["builtin"] == "done 2 of 2 scores"


def test_where_nothing_was_started_a_recipe_is_asked_for(tmp_path, capsys, monkeypatch):
    with pytest.raises(BadInput, match="holds no stage that was started; type: bash runs/tiny.sh, or give a recipe"):
        told(tmp_path, capsys, monkeypatch)
    with pytest.raises(BadInput, match="gone.yaml: no such file"):
        told(tmp_path / "gone.yaml", capsys, monkeypatch)
