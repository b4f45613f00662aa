"""The miniature from end to end, what users get wrong, and what their disks do: pytest tests/test_pipeline.py"""

import os
import re
import shutil

import pytest
import yaml
from conftest import ROOT, copy_run, refused, script, succeed

from snakmodel.config import read_recipe
from snakmodel.paths import STAGES, Run
from snakmodel.records import read_json
from snakmodel.series import read_series


def stages_of(recipe):
    """The stages of a recipe that leave something."""
    return [stage for stage in STAGES if stage.folder and stage.section in read_recipe(recipe)[0]]


def test_every_stage_has_left_its_record_and_every_step_its_scores_with_intervals(tiny_run):
    run = Run(tiny_run.parent / "run")
    for stage in stages_of(tiny_run):
        assert list(run.folder(stage.section).glob("**/run.json" if stage.per_step else "run.json")), stage.section
    assert [c.step for c in read_series(run.series("pretrained"))] == list(range(0, 17, 2))
    assert [c.step for c in read_series(run.series("all-r8-chat"))] == [0, 8, 16]
    assert (run.root / "report/report.html").stat().st_size > 100_000
    assert (run.folder("plot_contamination") / "gaps-pretrained.png").is_file()  # of a set with both kinds of items
    rows = [row for row in read_json(run.folder("collect") / "scores.json")["rows"] if row["primary"] and row["chance"]]
    cells = {(row["series"], row["step"], row["dataset"]) for row in rows}
    assert len(cells) == (9 + 3) * 6  # steps of both series, tasks with a level at chance
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)


def test_running_it_again_does_nothing_says_so_and_imports_nothing_slow(tiny_run):
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    done = script("runs/tiny.sh", tiny_run, tiny_run.with_name("base.yaml"), program="bash", env=environment)
    said = done.stdout.splitlines()
    assert done.returncode == 0 and said and all("done (" in line for line in said), done.stdout
    modules = [line.split("|")[-1].strip() for line in done.stderr.splitlines()]
    assert modules.count("snakmodel.config") > len(stages_of(tiny_run))  # each script reads its recipe, and
    assert not {"torch", "transformers", "scipy", "matplotlib"}.intersection(modules)
    done = script("pretrain/train.py", "--config", tiny_run, "--check", "log_every=3")  # which shapes nothing
    assert done.returncode == 3 and "pretrain: done (" in done.stdout


def test_status_names_what_is_done_and_what_comes_next(tiny_run, tmp_path):
    assert "next: nothing, all is done" in succeed("-m", "snakmodel.status", tiny_run.parent / "run")
    copy_run(tiny_run, tmp_path, "models", "instruct", "checkpoints", "shards")
    (tmp_path / "run/instruct/all-r8-chat/step-00008/run.json").unlink()
    text = succeed("-m", "snakmodel.status", tmp_path / "run")
    assert "merge               partial  2 of 3 steps; missing all-r8-chat/step-00008" in text
    assert "next: python pretrain/corpus/read_sources.py" in text
    assert script("-m", "snakmodel.status", tmp_path).returncode == 2  # no run, but the folder of one


@pytest.mark.parametrize("typed, message", yaml.safe_load((ROOT / "tests/test_pipeline.yaml").read_text()))
def test_a_mistake_is_named_with_its_cure_and_spoils_nothing(tiny_run, tmp_path, typed, message):
    path, *words = typed.format(folder=tmp_path).split()
    assert message in refused(path, "--config", tiny_run, *words)  # of two recipes the last counts
    assert (tiny_run.parent / "run/corpus/in_language/dawiki-00000.parquet").is_file()


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_a_corrupt_shard(tiny_run, tmp_path):
    words = copy_run(tiny_run, tmp_path, "shards")
    path = tmp_path / "run/shards/reddit/train.bin"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    assert "train.bin: corrupt shard: checksum" in refused("pretrain/train.py", *words)


def test_a_truncated_checkpoint_to_resume_from(tiny_run, tmp_path):
    words = copy_run(tiny_run, tmp_path, "shards", "checkpoints")
    (tmp_path / "run/checkpoints/run.json").unlink()
    newest = tmp_path / "run/checkpoints/step-00016"
    cut(next((newest / "optimizer").glob("*.distcp")))
    line = refused("pretrain/train.py", *words)
    assert "truncated checkpoint" in line and "resumes from the checkpoint before it" in line
    shutil.rmtree(newest)
    assert "from step 14 of 16" in succeed("pretrain/train.py", *words)


def test_a_truncated_export(tiny_run, tmp_path):
    words = copy_run(tiny_run, tmp_path, "models")
    cut(tmp_path / "run/models/step-00008/model.safetensors")
    line = refused("analyze/weights.py", *words, "series=pretrained", "against=base", "steps=8")
    assert re.search(r"step-00008: model.safetensors should have [\d,]+ bytes by its header, has [\d,]+", line)


def test_no_space_left_loses_nothing(tiny_run, tmp_path):
    words = copy_run(tiny_run, tmp_path, "corpus/unique")
    shards = tmp_path / "run/shards/reddit"
    shards.mkdir(parents=True)
    # what the process will write to, by its own number, is the device on which no space is left
    plant = f'ln -s /dev/full "{shards}/.train.bin.$(uname -n).$$.tmp" && exec python "$@"'
    done = script("-c", plant, "bash", "pretrain/corpus/make_shards.py", *words, program="bash")
    assert done.returncode == 2 and re.fullmatch(
        "error: .*No space left on device.*the same command continues\n", done.stderr
    )
    assert not list(shards.glob("train.*"))
    succeed("pretrain/corpus/make_shards.py", *words)
    for name in ("train.bin", "train.idx", "validation.bin"):
        assert (shards / name).read_bytes() == (tiny_run.parent / "run/shards/reddit" / name).read_bytes()
