"""What is done of a run and what comes next: pytest tests/test_status.py"""

import sys

import pytest
from conftest import succeed, write_recipe

from snakmodel import status
from snakmodel.config import BadInput
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


@pytest.mark.parametrize("section, beneath", [("builtin", ""), ("scandeval", "scandeval-test/")])
def test_a_model_is_scored_when_all_data_sets_that_were_begun_are(tmp_path, capsys, monkeypatch, section, beneath):
    recipe = write_recipe(tmp_path / "r.yaml", **{section: {"baselines": {"other": "we/other"}}}, collect={})
    make_series(recipe, "models", 0, 50)
    places = [f"records/{section}/{place}/{beneath}" for place in ("pretrained/step-00000", "pretrained/step-00050")]
    for place in places:
        begin(recipe, f"{place}dansk")
    begin(recipe, f"{places[0]}.dansk.tmp", finished=False)  # on its way to be removed
    unfinished = begin(recipe, f"{places[1]}scala-da", finished=False)
    rows, _ = told(tmp_path / "run", capsys, monkeypatch)
    assert rows[section] == "partial 1 of 3 models; missing pretrained/step-00050, baselines/other"
    begin(recipe, unfinished.relative_to(tmp_path / "run"))
    begin(recipe, f"records/{section}/baselines/other/{beneath}dansk")
    rows, _ = told(tmp_path / "run", capsys, monkeypatch)
    assert rows[section] == "done 3 of 3 models" and rows["next:"].startswith("python evaluate/collect.py")


def test_where_nothing_was_started_a_recipe_is_asked_for(tmp_path, capsys, monkeypatch):
    with pytest.raises(BadInput, match="holds no stage that was started; type: bash runs/tiny.sh, or give a recipe"):
        told(tmp_path, capsys, monkeypatch)
    with pytest.raises(BadInput, match="gone.yaml: no such file"):
        told(tmp_path / "gone.yaml", capsys, monkeypatch)
