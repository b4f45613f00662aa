"""The sweep over a series, and the table of what it made: pytest tests/test_sweep.py"""

import os
import signal
import subprocess

import pytest
from conftest import ROOT, copy_run, run_main, script, small_model, succeed
from safetensors.torch import load_file, save_file
from test_finetune import make_run

from finetune import compare, merge, train
from snakmodel.config import BadInput
from snakmodel.hashes import file_hash
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


def job(folder, number):
    """The environment of a job of an array on a played cluster, whose scontrol notes what it is asked."""
    (folder / "scontrol").write_text('#!/bin/bash\necho "$@" >> "$(dirname "$0")/calls"\n')
    (folder / "scontrol").chmod(0o755)
    told = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_JOB_ID": "4711", "SLURM_SUBMIT_DIR": str(ROOT)}
    return {**os.environ, **told, "PATH": f"{folder}:{os.environ['PATH']}"}


def tuned_steps(run, variant):
    return [path.parent.name for path in sorted((run / f"instruct/adapters/{variant}").glob("*/run.json"))]


def test_a_job_of_an_array_takes_its_share_whichever_jobs_are_sent_and_leaves_the_merging(swept, tmp_path):
    flag, recipe, run_dir = copy_run(swept, tmp_path, "models", "instruct/data")
    words = ["runs/tune.sh", recipe, "1", "jobs=2", run_dir, "variant=array", "rank=2"]
    second = succeed(*words, program="bash", env=job(tmp_path, 2))  # alone, as when it is sent again
    assert tuned_steps(tmp_path / "run", "array") == ["step-00002"] and "in float32" not in second
    first = succeed(*words, program="bash", env=job(tmp_path, 1))
    assert tuned_steps(tmp_path / "run", "array") == ["step-00000", "step-00002", "step-00004"] and "merge" not in first
    for number, jobs in ((3, "jobs=2"), (1, "jobs=0")):
        done = script(*words, jobs, program="bash", env=job(tmp_path, number))
        assert done.returncode == 2 and "jobs" in done.stderr and done.stderr.count("error: ") == 1


def test_slurms_warning_saves_the_step_under_way_and_the_job_ends_with_the_same_adapter(swept, tmp_path):
    flag, recipe, run_dir = copy_run(swept, tmp_path, "models", "instruct/data")
    words = [
        "runs/tune.sh",
        str(recipe),
        "1",
        run_dir,
        "variant=narrow",
        "rank=2",
        "finetune.steps=0",
        "save_every=500",
    ]
    words += ["log_every=1", "merge.dtype=bfloat16"]
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(["bash", *words], env=job(tmp_path, 1), **options) as warned:
        for line in warned.stdout:
            if "  2/" in line:
                warned.send_signal(signal.SIGUSR1)
                break
        said, faults = warned.communicate(timeout=120)
    assert warned.returncode == 75 and "stopped by SIGTERM after step" in said, said + faults
    assert (tmp_path / "calls").read_text() == "requeue 4711\n" and not tuned_steps(tmp_path / "run", "narrow")
    assert "in bfloat16" in succeed(*words, program="bash")
    adapter = "run/instruct/adapters/narrow/step-00000/adapter_model.safetensors"
    assert file_hash(tmp_path / adapter) == file_hash(swept.parent / adapter)


def test_a_share_that_fails_does_not_stop_the_others_and_what_was_not_tuned_is_told(swept, tmp_path):
    flag, recipe, run_dir = copy_run(swept, tmp_path, "models", "instruct/data")
    weights = tmp_path / "run/models/step-00002/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    words = [recipe, "2", run_dir, "variant=v", "rank=2"]
    done = script("runs/tune.sh", *words, program="bash")
    assert done.returncode == 2 and "step-00002/model.safetensors: truncated" in done.stderr, done.stderr
    assert tuned_steps(tmp_path / "run", "v") == ["step-00000", "step-00004"]
    said = run_main(merge, recipe, run_dir, "variant=v")
    assert "merge v step-00002: not tuned to its end, left out" in said
    assert [c.step for c in read_series(tmp_path / "run/instruct/v")] == [0, 4]


def test_a_mistake_is_told_once_and_starts_nothing(swept):
    faults = {"rank=0": "rank should be at least 1, got 0", "merge.dtype=int": "merge.dtype should be one of"}
    for words, message in [*(([2, fault], told) for fault, told in faults.items()), (["many"], "PROCESSES is 'many'")]:
        done = script("runs/tune.sh", swept, *words, program="bash")
        assert done.returncode == 2 and done.stderr.count("error: ") == 1 and message in done.stderr, done.stderr


def test_a_refused_merge_does_not_stop_the_others(swept, tmp_path):
    flag, recipe, run_dir = copy_run(swept, tmp_path, "models", "instruct/data", "instruct/adapters")
    broken = tmp_path / "run/instruct/adapters/narrow/step-00002/adapter_model.safetensors"
    save_file({name: tensor * 0 for name, tensor in load_file(broken).items()}, broken)
    with pytest.raises(BadInput, match="1 of 3 refused; .*step-00002: the merged model equals its base"):
        run_main(merge, recipe, run_dir, "variant=narrow")
    assert [c.step for c in read_series(tmp_path / "run/instruct/narrow")] == [0, 4]


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
