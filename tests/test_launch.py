"""The launcher over a played Slurm: its warning saves and queues again. pytest tests/test_launch.py"""

import os
import re
import subprocess

from conftest import ROOT, copy_run, script

from snakmodel.records import read_jsonl

PROGRAMS = {  # of a cluster that runs its tasks on this machine, and warns them when the file `warn` appears
    "srun": """
while [[ $1 == --* ]]; do shift; done
tasks=()
for ((task = 0; task < SLURM_NTASKS; task++)); do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
    tasks+=($!)
done
(while [ ! -e "$PLAY/warn" ]; do sleep 0.1; done; kill -USR1 "${tasks[@]}") > /dev/null 2>&1 &
warner=$!
worst=0
for task in "${tasks[@]}"; do
    while kill -0 "$task" 2> /dev/null; do wait "$task"; ended=$?; done
    ((ended > worst)) && worst=$ended
done
kill $warner 2> /dev/null
exit $worst""",
    "scontrol": """
[ "$1 $2" != "show hostnames" ] || { echo 127.0.0.1; exit; }
echo "$@" >> "$PLAY/calls" """,
}


def play(folder):
    """The environment of a job of two tasks on a played cluster."""
    for name, program in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/bash\n{program}\n")
        (folder / name).chmod(0o755)
    job = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "n1", "PLAY": str(folder)}
    return {**os.environ, **job, "PATH": f"{folder}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(ROOT)}


def test_slurms_warning_saves_the_step_and_queues_the_job_again_until_it_is_done(tiny_run, tmp_path):
    flag, recipe, run_dir = copy_run(tiny_run, tmp_path, "shards")
    words = ["runs/pretrain.sh", str(recipe), "auto", run_dir, "log_every=1", "micro_batch=1"]
    environment = play(tmp_path)
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    first = subprocess.Popen(["bash", *words], **options)
    for line in first.stdout:
        if line.startswith("step     2/16"):
            (tmp_path / "warn").touch()
            break
    said, faults = first.communicate(timeout=60)
    assert first.returncode == 75, faults
    step = int(re.search(r"stopped by SIGUSR1 after step (\d+), which is saved", said)[1])
    assert (tmp_path / "calls").read_text() == f"requeue {os.getpid()}\n"
    (tmp_path / "warn").unlink()
    again = script(*words, program="bash", env=environment)
    assert again.returncode == 0 and f"from step {step} of 16" in again.stdout, again.stdout + again.stderr
    done = script(*words, program="bash", env=environment)
    assert done.returncode == 0 and "pretrain: done" in done.stdout and "FSDP2" not in done.stdout
    assert [row["step"] for row in read_jsonl(tmp_path / "run/checkpoints/log.jsonl")] == [*range(17)]


def test_a_job_that_may_not_restart_any_more_is_not_queued_again(tiny_run, tmp_path):
    _, recipe, run_dir = copy_run(tiny_run, tmp_path, "shards")
    (tmp_path / "warn").touch()  # it is warned as soon as it begins, so before it listens, or at its first step
    environment = {**play(tmp_path), "SLURM_RESTART_COUNT": "3", "MOST_RESTARTS": "3"}
    done = script("runs/pretrain.sh", recipe, "auto", run_dir, program="bash", env=environment)
    assert done.returncode != 0 and not (tmp_path / "calls").exists()
