"""Asynchronous saving beside synchronous: the same bytes, how long a save holds up the steps, and the whole time.

python benchmarks/saving.py [FOLDER]

A model of 58 million parameters on one rank saves three times in thirty steps, by the calls of pretrain/train.py, each
way in a process of its own; beneath FOLDER (else where temporary files go), which needs 4 GB.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.made_run import TINY
from snakmodel.hashes import file_hash
from snakmodel.records import read_json

ROOT = Path(__file__).resolve().parent.parent
LARGER = {"vocab_size": 32_000, "hidden_size": 512, "intermediate_size": 1_376, "num_hidden_layers": 8}
STEPS, SAVED, WARM_UP = 30, (6, 14, 22), 3  # the last steps show whether all is as before
SEQUENCES, LENGTH = 2, 64
COLUMNS = ("saving", "stall, s", "step, s", "step during a save, s", "ratio", "all, s")
ROW = "{:14}{:>10}{:>10}{:>24}{:>8}{:>9}"


def main() -> None:
    if len(sys.argv) > 2:
        train(Path(sys.argv[1]), asynchronous=sys.argv[2] == "asynchronous")
        return
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        print(ROW.format(*COLUMNS), flush=True)
        folders = Path(name, "1"), Path(name, "2")  # of equal length: their names are among what is written
        for folder, way in zip(folders, ("synchronous", "asynchronous"), strict=True):
            folder.mkdir()
            command = [sys.executable, __file__, str(folder), way]
            told = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
            print(ROW.format(way, *cells(told)), flush=True)
        one, other = ({path.relative_to(f): content(path) for path in f.rglob("*") if path.is_file()} for f in folders)
        different = [str(path) for path in one if other.get(path) != one[path]]
        assert one.keys() == other.keys() and not different, different
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{len(one)} files of {len(SAVED)} checkpoints, {size / 1e9:.2f} GB, are equal")
    if told["device"] == "cpu":
        print("the ratio's bar, 1.10, is for a GPU: not run (here the writing takes its cores from the steps)")


def content(path: Path) -> Any:
    """What must be equal: the bytes of a file; but where DCP notes the folder's name and a random id, all the rest."""
    if path.name == "run.json":  # has the hashes of all files
        record = read_json(path)
        return {**record, "files": {name: told for name, told in record["files"].items() if ".metadata" not in name}}
    if path.name != ".metadata":
        return file_hash(path)
    from torch.distributed.checkpoint import FileSystemReader

    return replace(FileSystemReader(path.parent).read_metadata(), storage_meta=None)


def cells(told: dict[str, Any]) -> list[str]:
    """A row of the table: medians."""
    stall, step = statistics.median(told["stalls"]), statistics.median(told["normal"])
    saving = statistics.median(told["saving"]) if told["saving"] else None
    during = [f"{saving:.3f}", f"{saving / step:.2f}"] if saving else ["none", "-"]
    return [f"{stall:.3f}", f"{step:.3f}", *during, f"{told['whole']:.1f}"]


def train(folder: Path, asynchronous: bool) -> None:
    """Trains and saves; prints seconds: of each save's stall, of steps beside a save and of others, and of all."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from pretrain.checkpoints import Saver
    from pretrain.engine_fsdp import FsdpEngine
    from pretrain.guard import Guard
    from pretrain.loader import Batch
    from pretrain.monitor import Mark
    from pretrain.ranks import Ranks
    from pretrain.recipe import Settings

    shape: dict[str, Any] = {**TINY, **LARGER}
    s = Settings(
        "made", architecture=shape, steps=STEPS, micro_batch=SEQUENCES,
        asynchronous_saving=asynchronous, keep_resumable=len(SAVED),
    )  # fmt: skip
    ranks = Ranks(s.hang_minutes)
    torch.manual_seed(s.seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape), dtype=torch.float32)
    engine, guard = FsdpEngine(model, ranks.device, s), Guard(None, [], ranks.device)
    tokens_BT = torch.randint(model.config.vocab_size, (STEPS * SEQUENCES, LENGTH + 1))
    batches = [Batch(rows_BT[:, :-1], rows_BT[:, 1:].contiguous(), None) for rows_BT in tokens_BT.split(SEQUENCES)]
    saver = Saver(engine, ranks, folder, {"settings": {}, "inputs": {}}, tokens_BT[:2, :64])
    stalls, marks, clock = [], [], time.perf_counter()
    for step, batch in enumerate(batches, 1):
        before, begun = not all(save.done() for save in saver.pending), Mark(ranks.device)
        engine.step(batch, 1e-4, guard)
        marks.append((before, begun, Mark(ranks.device)))
        if step in SAVED:
            paused = time.perf_counter()
            saver.save(step, step * SEQUENCES * LENGTH, in_series=True)
            stalls.append(time.perf_counter() - paused)
    saver.finish()
    whole = time.perf_counter() - clock
    seconds = [(before, ended.since(begun)) for before, begun, ended in marks[WARM_UP:]]
    told = {
        "device": ranks.device.type,
        "stalls": stalls,
        "normal": [each for saving, each in seconds if not saving],
        "saving": [each for saving, each in seconds if saving],
        "whole": whole,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
