"""The whole corpus stage, killed with SIGKILL at random moments and started again each time: are the shards the same?

python benchmarks/killed_corpus.py [KILLS]
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

from snakmodel.hashes import file_hash

ROOT = Path(__file__).resolve().parent.parent
STEPS = ("read_sources", "filter_language", "filter_quality", "decontaminate", "deduplicate", "make_shards")


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        make_base(home)
        whole = make_corpus(home, "whole", workers=1)
        killed = make_corpus(home, "killed", workers=2, kills=kills)
        assert killed == whole, sorted(path for path in whole if killed.get(path) != whole[path])
    print(f"killed {kills} times: {len(whole)} files of shards are byte-identical")


def make_base(home: Path) -> None:
    """Raw data and a tokenizer for the corpus, beneath home/base."""
    recipe = write_recipe(home, "base", workers=1)
    write = ["runs/tiny_data/write.py", *(f"pretrain/corpus/{step}.py" for step in (*STEPS[:-1], "train_tokenizer"))]
    for script in write:
        subprocess.run([sys.executable, script, "--config", recipe], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def write_recipe(home: Path, name: str, workers: int) -> Path:
    """A recipe of the miniature's corpus in many small parts."""
    steps = {step: {"workers": workers} for step in STEPS}
    steps["read_sources"] |= {"documents_per_part": 45}
    steps["deduplicate"] |= {"memory_mib": 16}
    content = {"extends": str(ROOT / "configs/tiny.yaml"), "run_dir": str(home / name), "base_run": str(home / "base")}
    recipe = home / f"{name}.yaml"
    recipe.write_text(
        yaml.safe_dump(content | steps | {"tiny_data": {"documents": 300}, "train_tokenizer": {"vocabulary": 400}})
    )
    return recipe


def make_corpus(home: Path, name: str, workers: int, kills: int = 0, moments: tuple[str, ...] = ()) -> dict[str, str]:
    """Runs the corpus stage; the SHA-256 of every file of shards, by its path.

    kills: so many times all its processes are killed at random moments. moments: files beneath the run (patterns) at
    whose first sight the main process alone is killed, as by a machine that is out of memory; its workers live on.
    """
    recipe, rng, due = write_recipe(home, name, workers), random.Random(0), list(moments)
    command = " && ".join(f'"{sys.executable}" pretrain/corpus/{step}.py --config "{recipe}"' for step in STEPS)
    run = home / name
    while not (run / "shards/run.json").is_file():
        process = subprocess.Popen(["bash", "-c", command], cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
        if due:
            while not any(run.glob(due[0])) and process.poll() is None:
                time.sleep(0.01)
            for child in psutil.Process(process.pid).children()[:1]:
                child.kill()
                due.pop(0)
        elif kills:
            time.sleep(rng.uniform(0.3, 2))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                kills -= 1
        assert process.wait() in (0, -signal.SIGKILL, 128 + signal.SIGKILL)
    assert not kills and not due, f"the stage was through before {kills} kills, {due}"
    files = (path for path in (run / "shards").rglob("*.*") if path.suffix in (".bin", ".idx", ".parquet"))
    return {str(path.relative_to(run / "shards")): file_hash(path) for path in files}


if __name__ == "__main__":
    main()
