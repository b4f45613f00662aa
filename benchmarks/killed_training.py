"""Small trainings over two ranks, killed with SIGKILL at random moments and resumed: are the weights the same?

python benchmarks/killed_training.py [RUNS] [STEPS]

Every run is killed once or more, launcher and ranks at once, and then finishes. Compared with the run that nobody
killed: the bytes of every checkpoint's weights and of the newest moments, and the loss of every step.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.made_run import TINY, make_run
from snakmodel.hashes import file_hash
from snakmodel.records import read_jsonl

ROOT = Path(__file__).resolve().parent.parent
SEED = 8446
AGAIN = 0.3  # the chance that a resumed run is killed once more


def main() -> None:
    runs, steps = (int(word) for word in [*sys.argv[1:], *("20", "80")[len(sys.argv) - 1 :]])
    clock = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        batch = {"sequence_length": 32, "global_batch": 8, "micro_batch": 2}
        make_run(home, TINY, steps=steps, save_every=4, log_every=1, learning_rate=1e-3, **batch)
        begun, whole = train_in_peace(home)
        expected = result(home)
        print(f"undisturbed: first checkpoint after {begun:.1f} s, done after {whole:.1f} s; seed {SEED}", flush=True)
        rng, kills = random.Random(SEED), Counter[str]()
        for number in range(runs):
            moments = train_killed(home, home / f"killed-{number}", rng, (0.7 * begun, whole))
            found = result(home / f"killed-{number}")
            different = [key for key in expected if found.get(key) != expected[key]]
            assert not different and found.keys() == expected.keys(), f"run {number}, {moments}: {different}"
            kills.update(place for _, place in moments)
            print(f"run {number}: " + ", ".join(f"{at:.2f} s {place}" for at, place in moments), flush=True)
    seconds = time.monotonic() - clock
    print(
        f"{runs} runs killed {kills.total()} times, {', '.join(f'{n} {place}' for place, n in kills.items())}: "
        f"all {len(expected)} hashes and losses are those of the undisturbed run; {seconds:,.0f} s"
    )


def start(home: Path, run: Path) -> "subprocess.Popen[bytes]":
    """Starts, or goes on with, a training over two ranks in a process group of its own."""
    run.mkdir(exist_ok=True)
    if not (run / "shards").exists():
        (run / "shards").symlink_to(home / "shards")
    command = ["bash", "runs/pretrain.sh", str(home / "recipe.yaml"), "2", f"run_dir={run}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)


def train_in_peace(home: Path) -> tuple[float, float]:
    """Trains the run to compare with; seconds until its first checkpoint, and in all."""
    clock, process = time.monotonic(), start(home, home)
    while process.poll() is None and not (home / "checkpoints/step-00000").is_dir():
        time.sleep(0.01)
    begun = time.monotonic() - clock
    assert process.wait() == 0
    return begun, time.monotonic() - clock


def train_killed(home: Path, run: Path, rng: random.Random, span: tuple[float, float]) -> list[tuple[float, str]]:
    """Trains a run that is killed at least once; the moments, seconds after each start within `span`, and their place.

    A run that is done before its first moment comes does not count, and is begun anew.
    """
    moments: list[tuple[float, str]] = []
    while not (run / "checkpoints/run.json").exists():
        process, before, moment = start(home, run), traces(run), rng.uniform(*span)
        if not moments or rng.random() < AGAIN:
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            if process.poll() is None:
                ranks = psutil.Process(process.pid).children(recursive=True)
                os.killpg(process.pid, signal.SIGKILL)
                psutil.wait_procs(ranks, timeout=10)
                moments.append((moment, place(before, traces(run))))
        assert process.wait() in (0, -signal.SIGKILL)
    if not moments:
        shutil.rmtree(run)
        return train_killed(home, run, rng, span)
    return moments


def traces(run: Path) -> dict[Path, int]:
    """When the log and what is half saved were last changed."""
    paths = [*run.glob("checkpoints/log.jsonl"), *run.glob("checkpoints/*.tmp")]
    return {path: path.stat().st_ctime_ns for path in paths}


def place(before: dict[Path, int], after: dict[Path, int]) -> str:
    """Where in its work a process was killed, by what it left; before: what it had found."""
    changed = {path.suffix for path, moment in after.items() if before.get(path) != moment}
    return "inside a save" if ".tmp" in changed else "between saves" if changed else "before the first step"


def result(run: Path) -> dict[str, str]:
    """What must be equal: the hash of every file of weights and moments, and the losses."""
    files = sorted(run.glob("checkpoints/step-*/*/*.distcp"))
    losses = [row["loss"] for row in read_jsonl(run / "checkpoints/log.jsonl") if row["step"]]
    assert not list(run.glob("checkpoints/*.tmp"))
    return {str(path.relative_to(run)): file_hash(path) for path in files} | {"losses": repr(losses)}


if __name__ == "__main__":
    main()
