"""Training by the public scripts, on the shared run of the miniature: pytest tests/test_train.py"""

import math
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
import torch
from conftest import ROOT, copy_run, kill_when, refused, script, succeed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pretrain.models import assemble_model
from snakmodel.records import read_json, read_jsonl, write_json
from snakmodel.series import read_series

TRAIN, LAUNCH = "pretrain/train.py", "runs/pretrain.sh"


def launch(recipe, ranks, *words):
    """The words of runs/pretrain.sh: the recipe comes without --config, the ranks next."""
    flag, path, *rest = recipe
    return (LAUNCH, path, ranks, *rest, *words)


def trained(recipe, ranks, *words):
    """What a finished training says."""
    return succeed(*launch(recipe, ranks, *words), program="bash")


def losses(run):
    return [row["loss"] for row in read_jsonl(run / "checkpoints/log.jsonl") if row["step"]]


def weights(run, step=16):
    return assemble_model(run / f"checkpoints/step-{step:05d}", run / "checkpoints/config").state_dict()


def same_weights(one, other):
    one, other = weights(one), weights(other)
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_training_lowers_the_loss_and_a_continued_run_goes_on_from_what_its_parent_knows(tiny_run):
    run, parent = tiny_run.parent / "run", tiny_run.parent / "base"
    assert losses(parent)[0] == pytest.approx(math.log(700), abs=0.05)  # a fresh model knows nothing
    assert losses(run)[0] < losses(parent)[0] - 0.1
    assert losses(run)[-1] < losses(run)[0] - 0.3
    assert sorted(p.parent.name for p in run.glob("checkpoints/*/optimizer")) == ["step-00014", "step-00016"]


def test_a_continued_series_begins_with_a_reference_to_its_parent(tiny_run):
    first, second, *_ = read_series(tiny_run.parent / "run/models")
    parent = read_series(tiny_run.parent / "base/models")
    assert [checkpoint.step for checkpoint in parent] == [0, 8]
    assert (first.step, first.location, second.row["parent"]) == (0, parent[1].location, parent[1].location)
    assert not (tiny_run.parent / "run/models/step-00000").exists()


def test_held_out_text_of_every_language_is_told_as_the_scorer_would(tiny_run):
    run = tiny_run.parent / "run"
    told = [row["bits_per_byte"] for row in read_jsonl(run / "checkpoints/log.jsonl") if "bits_per_byte" in row]
    assert len(told) == 2 and set(told[0]) == {"da", "en"}  # before the first step, and at the last
    rows = [row for row in read_json(run / "scores/scores.json")["rows"] if row["metric"] == "bits_per_byte"]
    for step, values in zip((0, 16), told, strict=True):
        scored = {row["language"]: row["value"] for row in rows if row["step"] == step}
        for language, value in values.items():  # other documents, the same definition
            assert value == pytest.approx(scored[language], rel=0.2)


def test_one_rank_learns_what_two_ranks_learn(tiny_run, tmp_path):
    recipe, whole = copy_run(tiny_run, tmp_path, "shards"), tiny_run.parent / "run"
    words = ("micro_batch=8", "asynchronous_saving=false", "profile_step=3", "peak_tflops=1", "loss_chunk=100")
    words += ("activation_checkpointing=selective", "tensorboard=true", "shard_from=0")
    said = trained(recipe, 1, *words)
    assert "synchronous saving" in said and "in 3 group(s)" in said  # each layer, and the rest
    assert losses(tmp_path / "run") == pytest.approx(losses(whole), rel=1e-5)
    record = read_json(tmp_path / "run/checkpoints/run.json")
    assert record["seconds_p50"] <= record["seconds_p99"] and record["skipped_steps"] == 0
    row = read_jsonl(tmp_path / "run/checkpoints/log.jsonl")[-1]
    parameters = sum(tensor.numel() for tensor in weights(whole).values())
    operations = 6 * parameters + 12 * 2 * 32 * 64  # two layers, 32 wide, 64 tokens
    assert row["mfu"] == pytest.approx(operations * row["tokens_per_second"] / 1e12)
    board = EventAccumulator(str(tmp_path / "run/checkpoints/tensorboard")).Reload()
    assert [event.value for event in board.Scalars("loss")] == pytest.approx(losses(whole), rel=1e-5)
    assert [event.step for event in board.Scalars("bits_per_byte/en")] == [0, 16]
    assert "aten::mm" in (tmp_path / "run/checkpoints/trace.json").read_text()


def test_two_copies_over_two_ranks_each_learn_the_same_and_resume(tiny_run, tmp_path):
    recipe, whole = copy_run(tiny_run, tmp_path, "shards"), tiny_run.parent / "run"
    words = launch(recipe, 4, "shard_ranks=2", "shard_from=0", "micro_batch=2", "cross_entropy=whole")
    kill_when((tmp_path / "run/checkpoints/step-00010").exists, *words, program="bash")
    said = succeed(*words, program="bash")
    assert "(2 copies x 2 sharding)" in said and re.search(r"from step 1\d", said)
    assert losses(tmp_path / "run") == pytest.approx(losses(whole), rel=1e-5)


def test_a_run_killed_at_one_moment_after_another_resumes_bit_for_bit(tiny_run, tmp_path):
    recipe, whole, killed = copy_run(tiny_run, tmp_path, "shards"), tiny_run.parent / "run", tmp_path / "run"
    for moment in ("step-00006.tmp/model", "step-00008.tmp/optimizer", "step-00010"):
        kill_when((killed / "checkpoints" / moment).exists, *launch(recipe, 2), program="bash")
        assert not (killed / "checkpoints/run.json").exists()
    said = trained(recipe, 2)
    assert re.search(r"from step [4-9]|from step 1\d", said) and "FSDP2 over 2 rank(s) on cpu" in said
    assert losses(killed) == losses(whole) and same_weights(killed, whole)
    assert not list(killed.glob("checkpoints/*.tmp"))


def test_what_a_kill_behind_the_last_rename_left_is_dropped_when_the_run_goes_on(tiny_run, tmp_path):
    recipe = copy_run(tiny_run, tmp_path, "shards", "checkpoints")
    folder = tmp_path / "run/checkpoints"
    (folder / "run.json").unlink()
    shutil.copytree(folder / "step-00014/optimizer", folder / "step-00012/optimizer")  # one more than are kept
    shutil.copytree(folder / "step-00014", folder / "step-00016.old.tmp")
    assert "from step 16 of 16" in trained(recipe, 2)
    assert sorted(p.parent.name for p in folder.glob("step-*/optimizer")) == ["step-00014", "step-00016"]
    assert not list(folder.glob("*.tmp"))


def stopped_by_a_signal(words, line_begins, number):
    """The step that a run saved when it was sent a signal at this line of its log, and all that it said."""
    command = ["bash", *map(str, words)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith(line_begins):
            process.send_signal(number)
            break
    rest, faults = process.communicate(timeout=60)
    assert process.returncode == 75 and faults == "", faults
    return int(re.search(r"stopped by SIG\w+ after step (\d+), which is saved", rest)[1]), said + rest


def test_a_signal_loses_no_step_and_the_run_goes_on_with_fewer_ranks_and_more_again(tiny_run, tmp_path):
    recipe, whole, stopped = copy_run(tiny_run, tmp_path, "shards"), tiny_run.parent / "run", tmp_path / "run"
    words = ("log_every=1", "save_every=100", "micro_batch=1", "shard_from=0")  # small ones make long steps
    first, _ = stopped_by_a_signal(launch(recipe, 2, *words), "step     2/16", signal.SIGUSR1)
    assert (stopped / f"checkpoints/step-{first:05d}/optimizer").is_dir() and 2 <= first < 14
    begins = f"step {first + 1:5d}/16"
    second, said = stopped_by_a_signal(launch(recipe, 1, *words), begins, signal.SIGTERM)
    assert first < second < 16 and f"from step {first} of 16" in said and "over 1 rank(s)" in said
    assert f"from step {second} of 16" in trained(recipe, 2, *words)
    assert losses(stopped) == pytest.approx(losses(whole), rel=1e-4)
    assert {path.name for path in stopped.glob("checkpoints/step-*")} == {f"step-{second:05d}", "step-00016"}
    succeed("pretrain/export.py", *recipe)
    assert [checkpoint.step for checkpoint in read_series(stopped / "models")] == [0, 16]  # no step of a signal's


def test_a_rank_that_hangs_ends_the_job_with_a_message(tiny_run, tmp_path):
    recipe = copy_run(tiny_run, tmp_path, "shards")
    words = map(str, launch(recipe, 2, "steps=100000", "hang_minutes=0.15", "log_every=1"))
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(["bash", *words], **options, env={**os.environ, "GRACE_SECONDS": "1"})
    for line in process.stdout:
        if line.startswith("step     3/"):
            break
    ranks = [p for p in psutil.Process(process.pid).children() if TRAIN in p.cmdline()]
    stuck = next(p for p in ranks if p.environ()["RANK"] == "1")
    stuck.suspend()
    _, faults = process.communicate(timeout=60)
    assert process.returncode == 70, faults
    assert re.search(r"error: rank 0: no step has finished for 0.15 minutes .*; behind the others: rank 1", faults)
    assert not stuck.is_running()


def test_an_asynchronous_save_is_what_a_synchronous_one_is(tiny_run, tmp_path):
    """The weights go on changing while a save is written; what it holds are those of its step."""
    recipe, whole = copy_run(tiny_run, tmp_path, "shards"), tiny_run.parent / "run"
    trained(recipe, 2, "asynchronous_saving=false")
    for path in sorted(whole.glob("checkpoints/step-*/*/*.distcp")):
        there = tmp_path / "run" / path.relative_to(whole)
        assert path.read_bytes() == there.read_bytes(), path


SPOILT_STEP = """
import torch
from conftest import small_model
from pretrain.engine_fsdp import FsdpEngine
from pretrain.guard import Guard
from pretrain.loader import Batch
from pretrain.ranks import Ranks
from pretrain.recipe import Settings

device = Ranks(hang_minutes=1).device
engine = FsdpEngine(small_model(0), device, Settings(tokenizer="t", init_from="m", steps=9, micro_batch=2))
guard = Guard(None, [], device)
tokens = torch.randint(3, 96, (4, 9))
batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), None)

def state():
    moments = [value.full_tensor() for s in engine.optimizer.state.values() for k, value in s.items() if k != "step"]
    return [p.full_tensor().clone() for p in engine.model.parameters()] + [m.clone() for m in moments]

engine.step(batch, 1e-2, guard)
before = state()
spoil = engine.objective.register_forward_hook(lambda module, inputs, loss: loss * float("nan"))
loss, norm, skipped = engine.step(batch, 1e-2, guard)
spoil.remove()
assert skipped == 1 and loss.isnan(), (loss, norm, skipped)
assert all(torch.equal(one, other) for one, other in zip(before, state(), strict=True))
loss, norm, skipped = engine.step(batch, 1e-2, guard)
assert skipped == 0 and loss.isfinite()
assert not all(torch.equal(one, other) for one, other in zip(before, state(), strict=True))
"""


def test_a_step_whose_loss_is_not_finite_leaves_weights_and_moments_as_they_were():
    succeed("-c", SPOILT_STEP, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests"})


def test_a_run_that_only_skips_stops_and_says_why(tiny_run, tmp_path):
    recipe = copy_run(tiny_run, tmp_path, "shards")
    done = script(TRAIN, *recipe, "micro_batch=8", "learning_rate=1e30", "warmup_steps=0", "max_skipped=4")
    assert re.fullmatch(
        r"error: step \d+: the last 4 steps were skipped \(loss \S+, gradient nan\); "
        r"lower learning_rate 1e\+30, or look at the data of step \d+\n", done.stderr,
    ), done.stderr  # fmt: skip
    assert done.returncode == 2 and "gradient nan" in done.stdout


def test_a_checkpoint_that_is_damaged_or_another_runs_is_refused_by_what_differs(tiny_run, tmp_path):
    recipe = copy_run(tiny_run, tmp_path, "shards", "checkpoints")
    folder = tmp_path / "run/checkpoints"
    (folder / "run.json").unlink()
    state = folder / "step-00016/optimizer/__1_0.distcp"
    whole = state.read_bytes()
    state.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert "__1_0.distcp: corrupt checkpoint: its checksum differs from its record's; delete" in refused(TRAIN, *recipe)
    state.write_bytes(whole[:-1])
    assert "__1_0.distcp: truncated checkpoint" in refused(TRAIN, *recipe)
    state.write_bytes(whole)
    record = read_json(folder / "step-00016/run.json")
    record["settings"]["seed"] = 1
    write_json(folder / "step-00016/run.json", record)
    assert "step-00016 was made with seed 1, now 8446; it is another run's" in refused(TRAIN, *recipe)
    assert "was made with learning_rate 0.002, now 0.5; add --overwrite" in refused(TRAIN, *recipe, "learning_rate=0.5")


def test_a_full_disk_stops_a_run_before_a_save_and_nothing_is_lost(tiny_run, tmp_path):
    recipe = copy_run(tiny_run, tmp_path, "shards")
    code = (
        "import sys, collections, shutil; from pretrain import train; from snakmodel.config import run_script\n"
        "usage = collections.namedtuple('usage', 'total used free')\n"
        "from pathlib import Path\n"
        "shutil.disk_usage = lambda path: usage(0, 0, 1000 if (Path(path) / 'step-00004').is_dir() else 1 << 40)\n"
        "run_script(train.main)\n"
    )
    done = script("-c", code, *recipe, "micro_batch=8")
    assert done.returncode == 2 and re.search(
        r"^error: .*checkpoints: step 6 needs .* GB, 0.0 GB are free; make room, .* resumes from step 4\n", done.stderr
    ), done.stderr
    assert "from step 4 of 16" in succeed(TRAIN, *recipe, "micro_batch=8")


def test_a_branch_goes_on_from_a_step_with_its_optimiser_and_the_series_says_so(tiny_run, tmp_path):
    recipe, parent = copy_run(tiny_run, tmp_path, "shards"), tiny_run.parent / "run"
    words = ("init_from=null", "schedule=constant", "warmup_steps=0", "micro_batch=8", "steps=2", "validate_every=0")
    succeed(TRAIN, *recipe, *words, f"branch_from={parent}@14")
    begun = losses(tmp_path / "run")[0]
    assert begun < losses(parent)[0] - 0.2  # it knows what step 14 knew
    succeed("pretrain/export.py", *recipe)
    series = read_json(tmp_path / "run/models/series.json")
    assert series["branch"]["step"] == 14 and Path(series["branch"]["run"]).name == "run"
    assert read_series(tmp_path / "run/models")[0].location == str(parent / "models/step-00014")
    line = refused(TRAIN, *recipe, *words, f"branch_from={parent}@13", "--overwrite")
    assert "no checkpoint of step 13; the series has 0, 2, 4" in line


def test_a_batch_that_does_not_divide_names_both_numbers_and_one_that_does(tiny_run, tmp_path):
    line = refused(TRAIN, *copy_run(tiny_run, tmp_path, "shards"), "micro_batch=3")
    assert "global_batch 8 is no multiple of micro_batch 3 x 1 ranks; try micro_batch=2" in line


def test_an_exported_step_has_the_trained_models_logits_and_a_wrong_one_is_refused(tiny_run, tmp_path):
    for name in ("base/models/step-00000", "run/models/step-00008", "run/models/step-00016"):
        assert read_json(tiny_run.parent / name / "run.json")["logit_difference"] <= 1e-5
    words = copy_run(tiny_run, tmp_path, "checkpoints")
    steps, models = tmp_path / "run/checkpoints", tmp_path / "run/models"
    shutil.copytree(steps / "step-00002/model", steps / "step-00008/model", dirs_exist_ok=True)
    assert "corrupt checkpoint: its checksum differs" in refused("pretrain/export.py", *words)
    record, other = (read_json(steps / name / "run.json") for name in ("step-00008", "step-00002"))
    record["files"] |= {name: file for name, file in other["files"].items() if name.startswith("model/")}
    write_json(steps / "step-00008/run.json", record)  # now only the model itself can tell
    assert "step-00008: logits differ from the trained model's by" in refused("pretrain/export.py", *words)
    assert not (models / "step-00008/run.json").exists() and not (models / "series.json").exists()
