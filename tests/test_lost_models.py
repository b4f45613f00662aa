"""Models that are gone, lack something, or have changed since they were scored: pytest tests/test_lost_models.py"""

import shutil

import builtin
import collect
import pytest
from conftest import run_main, save_step, small_model
from safetensors.torch import load_file, save_file
from test_builtin import recipe as builtin_recipe  # noqa: F401
from test_scandeval import behave, places, run, save_model  # noqa: F401
from test_scandeval import recipe as scandeval_recipe  # noqa: F401

from snakmodel.config import BadInput
from snakmodel.records import only_one, read_json, write_json
from snakmodel.series import write_series

CHOSEN = "testsets=[small-sentiment]"


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("run.json"))}


def lose(folder, *models):
    for model in models:
        shutil.rmtree(folder / model)


def ended(recipe, *words):
    """What the built-in scorer prints where it must end with exit status 1."""
    with pytest.raises(SystemExit) as end:
        run_main(builtin, recipe, *words)
    assert end.value.code == 1


def test_models_that_are_gone_keep_their_scores_and_only_new_data_sets_fail(builtin_recipe, tmp_path, capsys):  # noqa: F811
    run_main(builtin, builtin_recipe, CHOSEN)
    lose(tmp_path, "run/models/step-00000", "fond")
    before = contents(tmp_path / "run/records")
    assert len(before) == 3 and run_main(builtin, builtin_recipe, CHOSEN).count("done") == 3
    assert run_main(builtin, builtin_recipe, CHOSEN, "--check").count("done") == 3
    ended(builtin_recipe, CHOSEN, "--overwrite", "steps=0")
    told = capsys.readouterr().err
    assert "step-00000, which is not there" in told and "failed: baselines fond: " in told and "small-" not in told
    assert contents(tmp_path / "run/records") == before, "what cannot be made again is not thrown away"
    ended(builtin_recipe, "testsets=[small-sentiment,small-knowledge]")
    assert capsys.readouterr().err.count("failed: ") == 2
    assert (tmp_path / "run/records/builtin/pretrained/step-00050/small-knowledge/run.json").is_file()
    with pytest.raises(BadInput, match="was made with another model .*fond, now .*elsewhere"):
        run_main(builtin, builtin_recipe, CHOSEN, f"baselines.fond={tmp_path}/elsewhere")
    assert run_main(builtin, builtin_recipe, CHOSEN, f"baselines.fond={tmp_path}/fond/").count("done") == 3
    with pytest.raises(BadInput, match="fond/small-sentiment was made with seed 4242, now 1; .* remove .*fond, or"):
        run_main(builtin, builtin_recipe, CHOSEN, "--overwrite", "seed=1")
    assert "of 2 steps and 1 other models" in run_main(collect, builtin_recipe)


@pytest.mark.parametrize("left", [["config.json"], []])
def test_models_without_weights_are_gone(builtin_recipe, tmp_path, capsys, left):  # noqa: F811
    run_main(builtin, builtin_recipe, CHOSEN)
    for folder in (tmp_path / "fond", tmp_path / "run/models/step-00000"):
        for path in folder.iterdir():
            if path.name not in (*left, "run.json" if left else ""):
                path.unlink()
    before = contents(tmp_path / "run/records")
    assert run_main(builtin, builtin_recipe, CHOSEN).count("done") == 3
    ended(builtin_recipe, CHOSEN, "--overwrite", "steps=0")
    assert capsys.readouterr().err.count("failed: ") == 2 and contents(tmp_path / "run/records") == before
    assert "left out" not in run_main(collect, builtin_recipe)
    shutil.rmtree(tmp_path / "run/models")
    assert "of 2 steps and 1 other models" in run_main(collect, builtin_recipe, "--overwrite")


def test_an_overwrite_removes_the_scores_of_all_models_or_of_none(builtin_recipe, tmp_path):  # noqa: F811
    run_main(builtin, builtin_recipe, CHOSEN)
    before = contents(tmp_path / "run/records")
    with only_one(tmp_path / "run/records/builtin/pretrained/step-00050"):
        with pytest.raises(BadInput, match="step-00050: another process is at work there"):
            run_main(builtin, builtin_recipe, CHOSEN, "--overwrite")
    assert contents(tmp_path / "run/records") == before


def test_scandeval_keeps_the_scores_of_models_that_are_gone(scandeval_recipe, behave, tmp_path):  # noqa: F811
    save_model(tmp_path / "other", 7)
    words = f"baselines.beside={tmp_path}/other"
    assert run(scandeval_recipe, words)[0] == 0
    lose(tmp_path, "run/models/step-00000", "other")
    before, calls = contents(tmp_path / "run/records"), behave()
    status, said = run(scandeval_recipe, words)
    assert len(before) == 9 and status == 0 and said.count("done") == 3 and calls() == []
    status, said = run(scandeval_recipe, words, "--overwrite", "steps=0")
    assert status == 1 and "step-00000, which is not there" in said and "beside, scala-da, dansk, angry-tweets" in said
    assert contents(tmp_path / "run/records") == before and calls() == []
    status, said = run(scandeval_recipe, words, "datasets.nb=[scala-nb]")
    assert status == 1 and said.count("failed: ") == 2 and len(places(scandeval_recipe)) == 10
    assert "iterations 2, now 3; score all" in run(scandeval_recipe, words, "--overwrite", "iterations=3")[1]
    status, said = run(scandeval_recipe, words, "datasets.da=[nordjylland-news]", "--check")
    assert status == 1 and "which is not there" in said and "pretrained step-00050: ready (" in said
    absent = f"baselines.beside={tmp_path}/elsewhere"
    assert "holds scores of" in run(scandeval_recipe, absent)[1] and len(places(scandeval_recipe)) == 10


def test_what_a_program_wrote_and_nobody_can_use_is_set_aside_and_told(scandeval_recipe, behave):  # noqa: F811
    behave(renamed_at=["dansk"])
    status, said = run(scandeval_recipe, "steps=50")
    place = places(scandeval_recipe)[0].parent.parent
    assert status == 1 and f"1 lines of its results are in {place}/unread.jsonl, the first one: " in said
    assert '"dataset": "dansk"' in (place / "unread.jsonl").read_text() and len(places(scandeval_recipe)) == 2
    status, said = run(scandeval_recipe, "steps=0", "options=[--zero-shot]")
    assert status == 2 and "options: --zero-shot is set by datasets, split, few_shot or iterations" in said
    behave(few=False)
    status, said = run(scandeval_recipe, "steps=0")
    assert status == 1 and "the first one: few_shot is False, asked for True" in said


def test_scores_made_otherwise_share_no_curve(scandeval_recipe, behave):  # noqa: F811
    assert run(scandeval_recipe, "steps=0")[0] == 0
    for words in (["steps=50", "iterations=3"], ["steps=50", "iterations=3", "--overwrite"]):
        status, said = run(scandeval_recipe, *words)
        assert status == 2 and "iterations 2, now 3; score all models again with --overwrite, remove " in said
    assert run(scandeval_recipe, "iterations=3", "--overwrite")[0] == 0
    assert {read_json(path)["iterations"] for path in places(scandeval_recipe)} == {3}


def test_scores_of_a_step_that_has_left_its_series_hinder_nobody(builtin_recipe, tmp_path):  # noqa: F811
    run_main(builtin, builtin_recipe, CHOSEN)
    models = tmp_path / "run/models"
    row = read_json(models / "series.json")["steps"][0] | {"location": models / "step-00000"}
    write_series(models, "planted", [row])
    run_main(builtin, builtin_recipe, CHOSEN, "seed=1", "--overwrite")
    assert "left out, of a step that its series has no more: " in run_main(collect, builtin_recipe)


def test_a_model_that_lacks_weights_is_refused_by_name(builtin_recipe, tmp_path, capsys):  # noqa: F811
    path = tmp_path / "run/models/step-00000/model.safetensors"
    weights = load_file(path)
    del weights["lm_head.weight"], weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, {"format": "pt"})
    ended(builtin_recipe, CHOSEN)
    assert "step-00000: its weights lack lm_head.weight and 1 more tensors" in capsys.readouterr().err
    assert len(contents(tmp_path / "run/records")) == 2, "the others are scored"


def test_a_chat_template_that_refuses_fails_alone(builtin_recipe, tmp_path, plain, capsys):  # noqa: F811
    plain.chat_template = "{{ raise_exception('no system here') }}"
    save_step(tmp_path / "run/models/step-00000", 0, small_model(0), plain)
    ended(builtin_recipe, CHOSEN)
    assert "failed: pretrained step-00000 small-sentiment: TemplateError: no system here" in capsys.readouterr().err
    assert len(contents(tmp_path / "run/records")) == 2


def test_a_baseline_with_another_vocabulary_or_template_is_another_model(builtin_recipe, tmp_path):  # noqa: F811
    run_main(builtin, builtin_recipe, CHOSEN)
    (tmp_path / "fond/notes.txt").write_text("mine")
    assert run_main(builtin, builtin_recipe, CHOSEN).count("done") == 3
    (tmp_path / "fond/chat_template.jinja").write_text("{{ messages[0].content }}")
    with pytest.raises(BadInput, match="was made with another model .*fond has changed since"):
        run_main(builtin, builtin_recipe, CHOSEN)


def test_a_set_that_cannot_be_had_fails_alone_and_loses_nothing(builtin_recipe, tmp_path, capsys):  # noqa: F811
    words = [
        "testsets=[small-sentiment,small-absent]",
        "own.small-absent={path: ORG/ABSENT, task: sentiment, text: []}",
    ]
    run_main(builtin, builtin_recipe, CHOSEN)
    for flags in ([], ["--check"], ["--overwrite"]):
        ended(builtin_recipe, *words, *flags)
        assert capsys.readouterr().err.count("failed: small-absent: test set small-absent (ORG/ABSENT): its revis") == 1
    assert len(contents(tmp_path / "run/records")) == 3


def test_a_strange_folder_among_the_records_is_named(builtin_recipe, tmp_path):  # noqa: F811
    run_main(builtin, builtin_recipe, CHOSEN)
    write_json(tmp_path / "run/records/scandeval/old/started.json", {})
    with pytest.raises(BadInput, match="scandeval/old is no folder of a step's records, nor of a baseline's; remove"):
        run_main(collect, builtin_recipe)
