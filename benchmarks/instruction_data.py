"""Speed and memory of gathering instructions, with every filter on, for a quarter of N rows and for N.

python benchmarks/instruction_data.py 200_000

The rows are questions about stories of the miniature's grammar; every tenth repeats the one before.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from runs.tiny_data.texts import narrative
from snakmodel.records import read_json

ROOT = Path(__file__).resolve().parent.parent
COPIED = 0.1  # share of the rows that repeat the one before


def main() -> None:
    count = int(sys.argv[1])
    peaks = []
    for rows in (count // 4, count):
        with tempfile.TemporaryDirectory() as name:
            write_rows(Path(name) / "rows.jsonl", rows)
            columns = {"path": f"{name}/rows.jsonl", "prompt": ["question"], "answer": "answer"}
            section: dict[str, Any] = {"sets": {"made": columns}, "duplicates": "near", "language": {"language": "da"}}
            section |= {"validation_share": 0.01, "decontaminate": contaminated(Path(name) / "items.jsonl")}
            recipe = {"run_dir": f"{name}/run", "instructions": section}
            (Path(name) / "recipe.yaml").write_text(yaml.safe_dump(recipe))
            command = [sys.executable, "finetune/instructions.py", "--config", f"{name}/recipe.yaml"]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            record = read_json(Path(name) / "run/instruct/data/run.json")
        peaks.append(record["peak_memory_bytes"] / 2**20)
        speed = rows / (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        dropped = record["counts"]["made"]["dropped"]
        print(f"{rows:,} rows: {speed:,.0f} rows per CPU second, {peaks[-1]:,.0f} MiB, dropped {dropped}", flush=True)
    print(f"ratio of memory {peaks[1] / peaks[0]:.2f}")


def write_rows(path: Path, count: int) -> None:
    """Questions, and stories as their answers."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            if file.tell() == 0 or rng.random() >= COPIED:
                story = narrative(rng)
                row = {"question": f"Fortæl en historie, der ender sådan: {story[-40:]}", "answer": story}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def contaminated(path: Path) -> dict[str, object]:
    """A search for the items of an evaluation set: stories of another seed."""
    rng = random.Random(1)
    items = [{"text": narrative(rng)} for _ in range(1_000)]
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return {"testsets": ["stories"], "own": {"stories": {"path": str(path), "text": ["text"]}}}


if __name__ == "__main__":
    main()
