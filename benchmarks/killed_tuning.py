"""Small tunings killed with SIGKILL at random moments and resumed: are the adapters the same?

python benchmarks/killed_tuning.py [RUNS]

Each run tunes two steps of a series (dropout, isolated packing, three epochs, an adapter kept of each) and is killed
once or more: half of the times at a random moment, half of the times while an adapter is being kept, or just after it,
when the newest state is older than the adapter. Compared with the run that nobody killed: the bytes of every adapter,
and the losses.
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.made_tuning import SEED, make_tuning
from snakmodel.hashes import file_hash
from snakmodel.records import read_jsonl

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
AGAIN = 0.3  # the chance that a resumed run is killed once more


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    clock, rng, kills = time.monotonic(), random.Random(SEED), 0
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        sizes = SIZES | {"num_attention_heads": 4, "max_position_embeddings": 256}
        batch = {"sequence_length": 256, "global_batch": 4, "micro_batch": 2, "save_every": 3, "log_every": 1}
        make_tuning(home, sizes, [0, 100], 300, rank=8, epochs=3, keep="epoch", dropout=0.1, **batch)
        begun = time.monotonic()
        process = start(home, home)
        while process.poll() is None and not list(home.glob("instruct/adapters/v/step-00000/trainer/checkpoint-*")):
            time.sleep(0.01)
        first, _ = time.monotonic() - begun, process.wait()
        whole, expected = time.monotonic() - begun, result(home)
        print(f"undisturbed: first state after {first:.1f} s, done after {whole:.1f} s; seed {SEED}", flush=True)
        for number in range(runs):
            moments = tune_killed(home, home / f"killed-{number}", rng, (0.7 * first, 0.95 * whole))
            found = result(home / f"killed-{number}")
            assert found == expected, f"run {number}: {[key for key in expected if found.get(key) != expected[key]]}"
            kills += len(moments)
            print(f"run {number}: killed {', '.join(moments)}", flush=True)
    seconds = time.monotonic() - clock
    print(
        f"{runs} runs killed {kills} times: all {len(expected)} hashes of adapters and lists of losses are those of "
        f"the undisturbed run; {seconds:,.0f} s"
    )


def start(home: Path, run: Path) -> "subprocess.Popen[bytes]":
    """Starts, or goes on with, a tuning."""
    run.mkdir(exist_ok=True)
    for name in ("models", "instruct/data"):
        if not (run / name).exists():
            (run / name).parent.mkdir(exist_ok=True)
            (run / name).symlink_to(home / name)
    command = [sys.executable, "finetune/train.py", "--config", str(home / "recipe.yaml"), f"run_dir={run}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def tune_killed(home: Path, run: Path, rng: random.Random, span: tuple[float, float]) -> list[str]:
    """Tunes a run that is killed at least once, unless it is quicker; the moments, after each start."""
    moments: list[str] = []
    while not (run / "instruct/adapters/v/step-00100/run.json").exists():
        process = start(home, run)
        if not moments or rng.random() < AGAIN:
            if rng.random() < 0.5:
                moment = rng.uniform(*span)
                told = f"after {moment:.2f} s"
                with suppress(subprocess.TimeoutExpired):
                    process.wait(moment)
            else:
                moment = rng.uniform(0, 0.1)
                told = f"{moment:.2f} s after an adapter was begun"
                there = count_kept(run)
                while process.poll() is None and count_kept(run) <= there:
                    time.sleep(0.001)
                time.sleep(moment)
            if process.poll() is None:
                process.kill()
                moments.append(told)
        assert process.wait() in (0, -signal.SIGKILL)
    return moments


def count_kept(run: Path) -> int:
    """The adapters that a run has kept, or has begun to write."""
    return len(list(run.glob("instruct/adapters/v/*/kept/*")) + list(run.glob("instruct/adapters/v/*/kept/.*")))


def result(run: Path) -> dict[str, str]:
    """What must be equal: the hash of every adapter, and the losses of every step."""
    folder = run / "instruct/adapters/v"
    hashes = {str(p.relative_to(folder)): file_hash(p) for p in sorted(folder.rglob("adapter_model.safetensors"))}
    assert not list(folder.glob("*/trainer")) and not list(folder.glob("*/kept/.*"))
    logs = sorted(folder.glob("*/log.jsonl"))
    return hashes | {str(log.relative_to(folder)): repr([row["loss"] for row in read_jsonl(log)]) for log in logs}


if __name__ == "__main__":
    main()
