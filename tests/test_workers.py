"""The corpus over several processes, over a played Slurm cluster, and killed: pytest tests/test_workers.py"""

import pytest
from conftest import refused, succeed

from benchmarks.killed_corpus import STEPS, make_base, make_corpus, write_recipe
from snakmodel.hashes import file_hash

PROGRAMS = {  # of a cluster that runs every task of an array at once and on this machine; sbatch --wait returns then
    "sbatch": """
echo "$@" >> "$CALLS"
for script; do true; done
grep '^#SBATCH' "$script" >> "$CALLS"
last=$(grep -oP 'array=0-\\K[0-9]+' "$script") || last=
worst=0
for task in ${last:+$(seq 0 "$last")}; do
    SLURM_ARRAY_TASK_ID=$task SLURM_NODELIST=localhost bash "$script" >> "$CALLS.log" 2>&1 || worst=1
done
echo Submitted batch job 7
exit $worst""",
    "srun": 'while [[ $1 != launch_pickled_pipeline ]]; do shift; done; exec "$@"',
    "scontrol": "echo localhost",
    "merge_stats": "true",
}
SENT = ("read_sources", "deduplicate", "make_shards")  # to Slurm; what lies between has tasks of the first one's kind
MOMENTS = (  # of SIGKILL: when these are first seen
    "corpus/good/counts/*",
    "corpus/unique/links/*/*.npy",
    "corpus/unique/clusters",
    "shards/parts/*/done.json",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a small corpus in parts, made by one process, and what its shards are."""
    home = tmp_path_factory.mktemp("workers")
    make_base(home)
    return home, make_corpus(home, "whole", workers=1)


def test_three_processes_killed_where_it_hurts_make_the_bytes_that_one_makes(whole):
    home, shards = whole
    assert len(list((home / "whole/corpus/unique").glob("*-00001.parquet"))) == 4  # every source lies in parts
    assert make_corpus(home, "three", workers=3, moments=MOMENTS) == shards


def test_tasks_run_as_slurm_arrays_with_the_same_result_and_a_failed_one_is_named(whole, tmp_path, monkeypatch):
    home, shards = whole
    for name, program in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{program}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    recipe = write_recipe(home, "slurm", workers=2)
    words = ["--config", recipe, "executor=slurm", "slurm_tasks_per_job=3"]
    assert "needs slurm_partition" in refused("pretrain/corpus/read_sources.py", *words)
    for step in STEPS:
        succeed(f"pretrain/corpus/{step}.py", *(words if step in SENT else words[:2]), "slurm_partition=cpu")
    made = {name: file_hash(home / "slurm/shards" / name) for name in shards}
    assert made == shards
    calls = (tmp_path / "calls").read_text()
    assert "--wait" in calls and "--partition=cpu" in calls and "--array=0-1%2" in calls  # four sources, three a job
    bad = home / "base/raw_data/danish/reddit.corpus.zip"
    with monkeypatch.context() as patch:
        patch.setenv("CALLS", str(tmp_path / "more"))
        (home / "cut.zip").write_bytes(bad.read_bytes()[:-50])
        words += [f"run_dir={home}/cut", f"own.reddit.path={home}/cut.zip", "slurm_partition=cpu"]
        assert "cut.zip: cut short, damaged" in refused("pretrain/corpus/read_sources.py", *words)
    assert (home / "cut/corpus/raw/dawiki-00000.parquet").is_file()  # the others were read
