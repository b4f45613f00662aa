"""Every step through ScandEval or EuroEval, played by tests/stand_in.py: pytest tests/test_scandeval.py"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import psutil
import pytest
import scandeval_all
from conftest import ROOT, refused, run_main, script, write_recipe
from played_terminal import Terminal
from safetensors.numpy import save_file
from stand_in import make_environment

from snakmodel.config import BadInput, run_script
from snakmodel.records import read_jsonl, write_json
from snakmodel.series import write_series

SETS = ["scala-da", "dansk", "angry-tweets"]
SCRIPT = "evaluate/scandeval_all.py"


def save_model(folder, number, theta=500_000.0):
    """A model's folder as transformers 5 writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    rope = {"rope_theta": theta, "rope_type": "default"}
    write_json(folder / "config.json", {"model_type": "llama", "dtype": "bfloat16", "rope_parameters": rope})
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "TokenizersBackend"})
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": np.full(8, number, dtype=np.float32)}, folder / "model.safetensors")
    write_json(folder / "run.json", {"step": number, "weights": number})
    return {"step": number, "location": folder, "tokens": 32 * number, "parent": None}


@pytest.fixture
def behave(monkeypatch, tmp_path):
    """Sets how the stand-in behaves from now on; returns what it was called with since."""

    def behave(**how):
        calls = tmp_path / "calls.jsonl"
        calls.unlink(missing_ok=True)
        monkeypatch.setenv("STAND_IN", json.dumps({"calls": str(calls), **how}))
        return lambda: read_jsonl(calls) if calls.exists() else []

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    behave()
    return behave


@pytest.fixture
def recipe(tmp_path):
    """Two steps, and ScandEval 13.3."""
    rows = [save_model(tmp_path / f"run/models/step-{step:05d}", step) for step in (0, 50)]
    write_series(tmp_path / "run/models", "made", rows)
    command = make_environment(tmp_path / "env", "scandeval", "13.3.0")
    settings = {"command": str(command), "datasets": {"da": SETS}, "iterations": 2, "processes": 1}
    return write_recipe(tmp_path / "recipe.yaml", scandeval=settings, collect={})


def run(recipe, *words):
    """Its exit status, and all that it said; in this process."""
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(said), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", "--config", str(recipe), *words])
        try:
            run_script(scandeval_all.main)
        except SystemExit as end:
            return end.code, said.getvalue()
    return 0, said.getvalue()


def places(recipe, pattern="*/*"):
    return sorted(recipe.parent.glob(f"run/records/scandeval/{pattern}/scandeval-test/*/run.json"))


def test_every_step_is_scored_once_and_its_own_folder_is_left_as_it_was(recipe, behave):
    calls = behave()
    before = sorted(p.name for p in (recipe.parent / "run/models/step-00050").iterdir())
    status, said = run(recipe)
    assert status == 0 and "pretrained step-00050 dansk: " in said and "(3 of 3)" in said
    assert len(calls()) == 2, "all data sets in one process"
    assert sorted(p.name for p in (recipe.parent / "run/models/step-00050").iterdir()) == before
    place = recipe.parent / "run/records/scandeval/pretrained/step-00050/scandeval-test"
    (record,) = read_jsonl(place / "dansk/records.jsonl")
    assert [record[key] for key in ("series", "step", "tokens", "name")] == ["pretrained", 50, 1600, None]
    assert [record[key] for key in ("scorer", "scorer_version", "split")] == ["scandeval", "13.3.0", "test"]
    score = record["results"]["total"]["test_micro_f1"]
    assert record["metric"] == "micro_f1" and record["interval"]["test_micro_f1"] == [score - 1.25, score + 1.25]
    assert not list(place.glob(".work-*")) and "Benchmarking ./model on dansk" in (place / "log.txt").read_text()
    calls = behave()
    status, said = run(recipe)
    assert status == 0 and said.count("done") == 2 and calls() == [], "nothing is asked again"
    assert run(recipe, "--check")[1].count("done") == 2
    assert run(recipe, "--overwrite", "steps=0")[0] == 0 and len(calls()) == 1


def test_the_checkpoint_is_shown_as_transformers_4_reads_it_and_its_own_files_stay(recipe, behave, tmp_path):
    kept = tmp_path / "seen.json"
    wrapper = tmp_path / "env/bin/scandeval"
    text = wrapper.read_text().replace("exec", f"cat model/config.json model/tokenizer_config.json > {kept}\nexec")
    wrapper.write_text(text)
    assert run(recipe, "steps=50")[0] == 0
    seen = kept.read_text()
    assert '"rope_theta": 500000.0,\n "rope_scaling": null' in seen and "PreTrainedTokenizerFast" in seen
    assert '"torch_dtype": "bfloat16"' in seen
    assert "TokenizersBackend" in (tmp_path / "run/models/step-00050/tokenizer_config.json").read_text()


def test_exit_status_0_without_records_is_a_failure_and_the_rest_goes_on(recipe, behave):
    calls = behave(nothing=True)
    status, said = run(recipe)
    assert status == 1 and "no record, though its exit status is 0" in said and "Completed 0 benchmarks." in said
    assert "error: 6 scores could not be made" in said and len(calls()) == 2, "tried once, since it has not died"


def test_a_data_set_that_kills_the_process_costs_that_data_set_alone(recipe, behave):
    calls = behave(dies_at=SETS)
    assert run(recipe, "steps=50")[0] == 1 and len(calls()) == 3, "given up"
    calls = behave(dies_at=["dansk"])
    status, said = run(recipe)
    assert status == 1 and [p.parent.name for p in places(recipe)] == ["angry-tweets", "scala-da"] * 2
    assert said.count("KeyError: 'text'") == 2 and "failed: pretrained step-00000, dansk: no record" in said
    asked = [[word for word in call["line"] if word in SETS] for call in calls()]
    assert asked[:3] == [SETS, ["scala-da"], ["dansk"]]
    behave()
    assert run(recipe)[0] == 0 and len(places(recipe)) == 6


def test_a_half_written_line_is_no_record_and_does_no_harm(recipe, behave):
    behave(half_line_at=["dansk"])
    status, said = run(recipe, "steps=50")
    assert status == 1 and "ended by signal 9" in said and len(places(recipe)) == 2
    behave()
    assert run(recipe, "steps=50")[0] == 0 and len(places(recipe)) == 3


def test_a_process_that_says_nothing_any_more_is_ended(recipe, behave):
    behave(hangs_at=["dansk"])
    status, said = run(recipe, "steps=50", "silence=0.02")
    assert status == 1 and "said nothing for 0.02 minutes, and was ended" in said
    assert [p.parent.name for p in places(recipe)] == ["angry-tweets", "scala-da"]


def test_nan_and_one_resample_are_kept_as_null(recipe, behave):
    behave(nan_at=["dansk"])
    assert run(recipe, "steps=50")[0] == 0
    (record,) = read_jsonl(places(recipe)[1].with_name("records.jsonl"))
    assert record["results"]["total"]["test_micro_f1_se"] is None and record["interval"]["test_micro_f1"] is None


def test_a_checkpoint_that_has_changed_is_scored_again_and_other_settings_are_refused(recipe, behave):
    run(recipe)
    before = [path.read_text() for path in places(recipe)]
    save_model(recipe.parent / "run/models/step-00050", 50)
    write_json(recipe.parent / "run/models/step-00050/run.json", {"step": 50, "weights": "others"})
    calls = behave()
    status, looked = run(recipe, "--check")
    assert status == 0 and looked.count("so it is scored again") == 3 and "step-00000: done" in looked
    assert calls() == [] and [path.read_text() for path in places(recipe)] == before, "--check only looks"
    status, said = run(recipe)
    again = "pretrained step-00050 dansk: the checkpoint has changed, so it is scored again"
    assert status == 0 and len(calls()) == 1 and again in said and said.count("so it is scored again") == 3
    after = [path.read_text() for path in places(recipe)]
    assert after[:3] == before[:3] and not set(after[3:]) & set(before[3:])
    assert "was made with iterations 2, now 3" in refused(SCRIPT, "--config", recipe, "iterations=3")


def test_more_data_sets_and_another_split_lose_nothing(recipe, behave):
    run(recipe)
    calls = behave()
    status, said = run(recipe, "datasets={da: [scala-da, nordjylland-news], nb: [scala-nb]}")
    assert status == 0
    asked = [
        [word for word in call["line"] if word in ("nb", "da", "scala-nb", "nordjylland-news")] for call in calls()
    ]
    assert asked == [["da", "nb", "nordjylland-news", "scala-nb"]] * 2
    assert run(recipe, "split=val")[0] == 0 and len(places(recipe)) == 10
    assert len(list(recipe.parent.glob("run/records/scandeval/*/*/scandeval-val/*/run.json"))) == 6


def test_another_version_does_not_go_on_with_what_an_older_one_began(recipe, behave, tmp_path):
    run(recipe, "steps=0")
    newer = make_environment(tmp_path / "newer", "scandeval", "12.0.0")
    for steps in ("all", "50"):
        status, said = run(recipe, f"command={newer}", f"steps={steps}")
        assert status == 2 and "scandeval-test/angry-tweets was scored by scandeval 13.3.0, now 12.0.0" in said


def test_shares_of_a_slurm_array_are_disjoint_and_whole(recipe, behave, monkeypatch):
    for number, steps in (("3", ["step-00000"]), ("4", ["step-00000", "step-00050"])):
        for name, value in (("ID", number), ("MIN", "3"), ("COUNT", "2")):
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
        run(recipe)
        assert sorted({path.parts[-4] for path in places(recipe)}) == steps


def test_baselines_are_scored_beside_the_series_each_on_a_gpu_of_its_own(recipe, behave, monkeypatch):
    save_model(recipe.parent / "other", 7)
    cache, commit = recipe.parent / "cache/models--ORG--NAME", "c0ffee" + 34 * "0"
    save_model(cache / "snapshots" / commit, 8)
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache.parent))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    calls = behave(seconds=0.1)
    baselines = f"baselines={{other-7b: {recipe.parent / 'other'}, on-hub: ORG/NAME, absent: ORG/ABSENT}}"
    done = script(SCRIPT, "--config", recipe, "processes=0", baselines)
    assert done.returncode == 1 and {call["gpu"] for call in calls()} == {"4", "6"} and len(places(recipe)) == 12
    assert "failed: baselines absent, scala-da, dansk, angry-tweets: ORG/ABSENT is not in the cache" in done.stderr
    (record,) = read_jsonl(places(recipe, "baselines/other-7b")[0].with_name("records.jsonl"))
    assert (record["series"], record["step"], record["name"]) == ("baselines", None, "other-7b")
    (record,) = read_jsonl(places(recipe, "baselines/on-hub")[0].with_name("records.jsonl"))
    assert record["model"] == f"ORG/NAME@{commit}"


def test_a_killed_sweep_goes_on_with_what_is_missing_and_ends_the_same(recipe, behave):
    run(recipe)
    records = [path.with_name("records.jsonl").read_bytes() for path in places(recipe)]
    shutil.rmtree(recipe.parent / "run/records")
    calls = behave(seconds=0.25)
    process = psutil.Popen([sys.executable, SCRIPT, "--config", recipe], cwd=ROOT, stdout=subprocess.DEVNULL)
    while len(places(recipe)) < 2:
        time.sleep(0.01)
    for victim in [*process.children(recursive=True), process]:
        victim.kill()
    process.wait()
    assert len(places(recipe)) == 2
    assert run(recipe)[0] == 0
    asked = sum(word in SETS for call in calls()[1:] for word in call["line"])
    assert asked in (3, 4), "one may be in its file already"
    assert [path.with_name("records.jsonl").read_bytes() for path in places(recipe)] == records


def test_a_process_that_outlives_its_parent_is_not_disturbed_and_a_signal_stops_all(recipe, behave):
    behave(hangs_at=["dansk"])
    command = [sys.executable, SCRIPT, "--config", recipe, "steps=50"]
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while len(places(recipe)) < 1:
        time.sleep(0.01)
    (orphan,) = [child for child in process.children(recursive=True) if "stand_in" in " ".join(child.cmdline())]
    process.kill()
    process.wait()
    status, said = run(recipe, "steps=50")
    assert status == 1 and "another process is at work there; wait for it, or end it" in said
    os.killpg(orphan.pid, signal.SIGKILL)
    process = psutil.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    log = recipe.parent / "run/records/scandeval/pretrained/step-00050/scandeval-test/log.txt"
    while log.read_text().count("on dansk") < 2:
        time.sleep(0.01)
    process.terminate()
    said = process.communicate()[1].decode()
    assert process.returncode == 75 and "stopped by SIGTERM; the same command goes on" in said


def test_a_terminal_shows_steps_by_data_sets_as_they_fill_up(recipe, behave, tmp_path):
    behave(seconds=0.1, dies_at=["scala-da"])
    terminal = Terminal(tmp_path, SCRIPT, "--config", recipe, rows=50, columns=100)
    screen = terminal.wait(lambda text: text.count("failed") >= 2 and "error: " in text)
    head, zero, fifty = (line.split() for line in screen.splitlines()[:3])
    assert head == ["scala-da", "dansk", "angry-tw"] and fifty[:2] == ["pretrained", "step-00050"]
    assert zero[:3] == ["pretrained", "step-00000", "failed"]
    assert screen.count("pretrained step-00000  ") == 1, "painted in place"
    assert terminal.end() == 1


@pytest.mark.parametrize(
    "word, message",
    [
        ("command=nowhere/euroeval", "nowhere/euroeval is not there; make euroeval makes .venv-euroeval/bin/euroeval"),
        ("datasets={}", "datasets should name data sets, each once, got none"),
        ("data=tests", "tests holds no data set; put them there by their Hub id"),
        ("baselines={a/b: x}", "'a/b' should be a name of letters"),
        ("part=3/2", "part should be like 1/4"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(recipe, word, message):
    with pytest.raises(BadInput, match="(?s).*") as caught:
        run_main(scandeval_all, recipe, word)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (recipe.parent / "run/records").exists()


def test_a_command_line_that_the_program_refuses_stops_the_sweep(recipe, behave):
    calls = behave()
    status, said = run(recipe, "datasets={da: [scala-da, skala]}")
    assert status == 2 and len(calls()) == 1 and places(recipe) == []
    assert "error: scandeval 13.3.0 refuses its command line: Error: Invalid value for '--dataset': 'skala' is" in said


def test_a_truncated_model_fails_alone(recipe, behave):
    broken = recipe.parent / "run/models/step-00000/model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-8])
    status, said = run(recipe)
    assert status == 1 and "step-00000/model.safetensors: truncated" in said and len(places(recipe)) == 3
