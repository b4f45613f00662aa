"""The built-in scorer over a series, killed with SIGKILL at random moments and resumed: is scores.json the same?

python benchmarks/killed_builtin.py configs/tiny.yaml [KILLS]

On the pre-trained series of a finished run, with the sets of its recipe, in a folder whose series are its models.
Compared with the sweep that nobody killed: the bytes of scores.json, scores.csv and the leaderboard, and every item.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from benchmarks.killed_scores import FILES, ROOT, SEED, disturb
from snakmodel.config import read_recipe
from snakmodel.paths import PRETRAINED, Run
from snakmodel.series import read_series, write_series


def main() -> None:
    recipe, kills = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10
    with tempfile.TemporaryDirectory() as name:
        home, source = Path(name), Path(read_recipe(Path(recipe))[0]["run_dir"])
        steps = read_series(Run(source).series(PRETRAINED))
        rows = [each.row | {"location": Path(each.location).resolve()} for each in steps]
        write_series(Run(home).series(PRETRAINED), "the same", rows)
        (home / "shards").symlink_to((source / "shards").resolve())  # held-out text
        begun = time.monotonic()
        assert start(recipe, home).wait() == 0
        whole, expected = time.monotonic() - begun, result(recipe, home)
        print(f"undisturbed: {whole:.1f} s, {len(kept(home))} records; seed {SEED}", flush=True)
        for folder in ("records", "scores"):
            shutil.rmtree(home / folder)
        disturb(lambda: start(recipe, home), lambda: kept(home), kills, whole)
        assert start(recipe, home).wait() == 0
        found = result(recipe, home)
        assert found == expected, [part for part in found if found[part] != expected[part]]
        print(f"killed {kills} times: {', '.join(FILES)} and all items are those of the undisturbed sweep")


def start(recipe: str, home: Path) -> psutil.Popen:
    """Starts, or goes on with, the sweep."""
    words = ["--config", recipe, f"run_dir={home}", f"series=[{PRETRAINED}]", "baselines={}"]
    command = [sys.executable, "evaluate/builtin.py", *words]
    return psutil.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kept(home: Path) -> list[Path]:
    """The records that are there."""
    return list(home.glob("records/builtin/*/*/*/run.json"))


def result(recipe: str, home: Path) -> dict[str, Any]:
    """What must be equal."""
    command = [sys.executable, "evaluate/collect.py", "--config", recipe, f"run_dir={home}"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    scores = {name: (Run(home).folder("collect") / name).read_bytes() for name in FILES}
    items = sorted(home.glob("records/builtin/*/*/*/items.parquet"))
    return scores | {str(path.relative_to(home)): pq.read_table(path).to_pylist() for path in items}


if __name__ == "__main__":
    main()
