"""The sweep over a series, and the table of what it made: pytest tests/test_sweep.py"""

import os

import pytest
from conftest import run_main, script, small_model, succeed
from test_finetune import make_run

from finetune import compare, train
from snakmodel.records import read_json, write_json
from snakmodel.series import read_series


@pytest.fixture(scope="module")
def swept(tmp_path_factory, tokenizer):
    """The recipe of a run whose steps 0, 2 and 4 were tuned by two processes, each its share, and merged."""
    folder = tmp_path_factory.mktemp("swept")
    recipe = make_run(folder, tokenizer, {n: small_model(n) for n in (0, 2, 4)}, epochs=1)
    said = succeed("runs/tune.sh", recipe, 2, "variant=narrow", "rank=2", "merge.dtype=bfloat16", program="bash")
    assert said.count("loss") >= 3 and said.count("in bfloat16") == 3
    return recipe


def test_processes_tune_their_shares_of_the_steps_and_then_all_is_merged(swept):
    run = swept.parent / "run"
    assert [c.step for c in read_series(run / "instruct/narrow")] == [0, 2, 4]
    assert read_json(run / "instruct/narrow/step-00004/run.json")["settings"]["dtype"] == "bfloat16"
    again = succeed("runs/tune.sh", swept, "variant=narrow", "rank=2", "merge.dtype=bfloat16", program="bash")
    assert again.count("done (") == 6 == len(again.splitlines())


def test_jobs_of_an_array_take_their_shares_and_leave_the_merging(swept):
    array = {"SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_ID": "6"}
    words = ["runs/tune.sh", swept, "1", "variant=narrow", "rank=2"]
    second = succeed(*words, program="bash", env={**os.environ, **array})
    assert second.splitlines() == [
        f"finetune step-00002: done ({swept.parent}/run/instruct/adapters/narrow/step-00002)"
    ]


def test_a_mistake_is_told_once_and_starts_nothing(swept):
    for words, message in ((["2", "rank=0"], "rank should be at least 1, got 0"), (["many"], "PROCESSES is 'many'")):
        done = script("runs/tune.sh", swept, *words, program="bash")
        assert done.returncode == 2 and done.stderr.count("error: ") == 1 and message in done.stderr


def test_one_table_shows_in_what_variants_differ_and_what_came_of_it(swept):
    run = swept.parent / "run"
    run_main(train, swept, "variant=wide", "targets=q_proj,v_proj", "steps=4")
    row = {"series": "narrow", "step": 4, "dataset": "tiny-sentiment", "value": 61.25, "primary": True}
    write_json(run / "scores/scores.json", {"rows": [row, {**row, "value": 1.0, "primary": False}]})
    write_json(run / "scores/run.json", {})
    assert "4 tuned models" in run_main(compare, swept)
    rows = read_json(run / "instruct/comparison/comparison.json")["rows"]
    assert [(row["variant"], row["step"]) for row in rows] == [("narrow", n) for n in (0, 2, 4)] + [("wide", 4)]
    assert [row["rank"] for row in rows] == [2, 2, 2, 4] and rows[3]["targets"] == ["q_proj", "v_proj"]
    assert all("epochs" not in row and row["examples"] == 62 and row["loss"] > 0 for row in rows)  # the same for all
    assert "base_difference" in rows[0] and "base_difference" not in rows[3]  # not merged
    assert [row.get("tiny-sentiment") for row in rows] == [None, None, 61.25, None]
    head, *lines = (run / "instruct/comparison/comparison.txt").read_text().splitlines()
    assert head.split()[:4] == ["variant", "step", "targets", "rank"] and lines[3].split()[:4] == [
        "wide",
        "4",
        "q_proj,v_proj",
        "4",
    ]
    assert "compare: done" in run_main(compare, swept)
    run_main(train, swept, "variant=wider", "rank=8", "steps=0")
    assert "5 tuned models" in run_main(compare, swept)  # made anew by itself


def test_the_table_shows_what_differs_among_those_that_have_it():
    settings = {"a": {"rank": 4, "seed": 1}, "b": {"rank": 8, "seed": 1}, "b-dpo": {"rank": 8, "seed": 1, "beta": 0.1}}
    rows = compare.compare(
        [{"variant": name, "step": 0, "settings": each, "facts": {}} for name, each in settings.items()], {}
    )
    assert rows == [{"variant": name, "step": 0, "rank": each["rank"]} for name, each in settings.items()]
