"""A sweep of ScandEval over a series, killed with SIGKILL at random moments and resumed: is scores.json the same?

python benchmarks/killed_scores.py [KILLS]

Eight steps, four data sets each, two models at a time, by tests/stand_in.py, which writes a record in pieces. Each kill
takes the script and all that it has started. Compared with the sweep that nobody killed: the bytes of scores.json,
scores.csv and the leaderboard, and how many scores were made more than once.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import yaml
from safetensors.numpy import save_file

from snakmodel.records import write_json
from snakmodel.series import write_series
from tests.stand_in import make_environment

ROOT = Path(__file__).resolve().parent.parent
STEPS, SETS, SECONDS, SEED = 8, ["scala-da", "dansk", "angry-tweets", "nordjylland-news"], 0.5, 4242
FILES = ("scores.json", "scores.csv", "leaderboard.md")


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        make_run(home)
        begun = time.monotonic()
        assert start(home).wait() == 0
        whole, expected = time.monotonic() - begun, result(home)
        print(f"undisturbed: {whole:.1f} s, {len(calls(home))} processes; seed {SEED}", flush=True)
        for folder in ("records", "scores"):
            shutil.rmtree(home / "run" / folder)
        (home / "calls.jsonl").unlink()
        disturb(lambda: start(home), lambda: kept(home), kills, whole)
        assert start(home).wait() == 0
        assert result(home) == expected, [name for name in FILES if result(home)[name] != expected[name]]
        asked = sum(word in SETS for call in calls(home) for word in call["line"])
        print(
            f"killed {kills} times: {', '.join(FILES)} are those of the undisturbed sweep; {len(kept(home))} scores, "
            f"{len(calls(home))} processes, which were asked for {asked}"
        )


def make_run(home: Path) -> None:
    """A series of models of a few bytes, and the stand-in as ScandEval 13.3."""
    rows = []
    for step in range(0, 100 * STEPS, 100):
        folder = home / f"run/models/step-{step:05d}"
        write_json(folder / "config.json", {"model_type": "llama"})
        save_file({"weight": np.full(8, step, dtype=np.float32)}, folder / "model.safetensors")
        write_json(folder / "run.json", {"step": step})
        rows.append({"step": step, "location": folder, "tokens": step, "parent": None})
    write_series(home / "run/models", "made", rows)
    command = str(make_environment(home / "environment", "scandeval", "13.3.0"))
    scandeval = {"command": command, "datasets": {"da": SETS}, "iterations": 10, "processes": 2}
    recipe = {"run_dir": str(home / "run"), "scandeval": scandeval, "collect": {"all_steps": True}}
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def start(home: Path) -> psutil.Popen:
    """Starts, or goes on with, the sweep."""
    behaviour = json.dumps({"seconds": SECONDS, "calls": str(home / "calls.jsonl")})
    command = [sys.executable, "evaluate/scandeval_all.py", "--config", str(home / "recipe.yaml")]
    return psutil.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "STAND_IN": behaviour},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def disturb(start: Callable[[], psutil.Popen], records: Callable[[], list[Path]], kills: int, whole: float) -> None:
    """Starts a sweep again and again, each time killed at random; whole: seconds that it takes undisturbed.

    Every other kill waits for a new record first, so that half of them hit the scoring, not what comes before. What is
    kept when a process is killed is not made again by a later one.
    """
    rng, moments, kept = random.Random(SEED), list[str](), dict[Path, bytes]()
    while len(moments) < kills:
        process, begun = start(), time.monotonic()
        while len(moments) % 2 and len(records()) == len(kept) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, whole / kills))
        assert process.poll() is None, "it was done before it could be killed: take fewer KILLS, or slower records"
        kill(process)
        moments.append(f"{time.monotonic() - begun:.2f} s ({len(records())})")
        assert all(path.read_bytes() == before for path, before in kept.items()), "a record was made twice"
        kept = {path: path.read_bytes() for path in records()}
    print(f"killed after {', '.join(moments)} (scores kept by then)", flush=True)


def kill(process: psutil.Popen) -> None:
    """Kills the script and all that it has started, at once."""
    for victim in [process, *process.children(recursive=True)]:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            pass
    process.wait()


def kept(home: Path) -> list[Path]:
    """The scores that are there."""
    return list(home.glob("run/records/scandeval/*/*/*/*/run.json"))


def calls(home: Path) -> list[dict[str, list[str]]]:
    """What the stand-in was asked for."""
    return [json.loads(line) for line in (home / "calls.jsonl").read_text().splitlines()]


def result(home: Path) -> dict[str, bytes]:
    """What must be equal."""
    command = [sys.executable, "evaluate/collect.py", "--config", str(home / "recipe.yaml")]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return {name: (home / "run/scores" / name).read_bytes() for name in FILES}


if __name__ == "__main__":
    main()
