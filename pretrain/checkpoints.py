"""Checkpoints on disk: written beside and renamed, so that one is either whole or not there.

    checkpoints/step-00500/{model/, optimizer/, probe.safetensors, run.json}

`optimizer/` is what makes a checkpoint resumable; only the newest few keep it. `probe.safetensors` holds the live
model's logits for a little held-out text, which the export must reproduce. A step that was saved because a signal
asked for it is no part of the series: it goes as soon as it is not needed to resume.
"""

import shutil
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakmodel.config import BadInput
from snakmodel.hashes import file_hash
from snakmodel.paths import step_name, step_of
from snakmodel.records import first_difference, read_json, write_json

if TYPE_CHECKING:
    import torch

    from pretrain.engines import Engine
    from pretrain.ranks import Ranks


class Saver:
    """Saves checkpoints, one at a time. Writing, checksums and the rename happen while training goes on."""

    def __init__(
        self, engine: "Engine", ranks: "Ranks", folder: Path, started: dict[str, Any], probe_BT: "torch.Tensor"
    ) -> None:
        """started: settings and inputs of the run, which every checkpoint carries. probe: tokens to keep logits of."""
        self.engine, self.ranks, self.folder, self.probe_BT = engine, ranks, folder, probe_BT
        self.facts = {key: started[key] for key in ("settings", "inputs")}
        self.keep = engine.settings.keep_resumable
        self.thread = ThreadPoolExecutor(1, "saver")
        self.pending: list[Future[Any]] = []
        if ranks.rank == 0:
            self.prune()  # a killed process may have come as far as the rename, or not even there

    def save(self, step: int, tokens: int, *, in_series: bool, resumable: bool = True) -> None:
        """Begins to save a step, after the one before it is there. Every rank must call it.

        resumable=False: without the optimiser's state (step 0 of a model from scratch).
        """
        self.finish()
        self.refuse_full_disk(step)
        temporary = self.folder / f"{step_name(step)}.tmp"
        if self.ranks.rank == 0:
            temporary.mkdir(parents=True)
        self.ranks.any(False)  # nobody writes before the folder is there
        logits_BTV = self.engine.logits(self.probe_BT)
        written = self.engine.save(temporary, resumable)
        if self.ranks.rank == 0:
            record = {"step": step, "tokens": tokens, "in_series": in_series, "ranks": self.ranks.count, **self.facts}
            self.pending = [self.thread.submit(self.publish, temporary, record, written, logits_BTV)]
        else:
            self.pending = written
        if not self.engine.settings.asynchronous_saving:
            self.finish()

    def raise_failure(self) -> None:
        """Raises what has gone wrong with the save under way, if it has, without waiting for it."""
        for future in self.pending:
            if future.done():
                future.result()

    def finish(self) -> None:
        """Waits for the save under way. Every rank must call it."""
        for future in self.pending:
            while not wait([future], timeout=10).done:
                self.ranks.watchdog.beat()
            future.result()
        self.pending = []
        self.ranks.any(False)  # the first rank comes here when the checkpoint has its name

    def publish(
        self, temporary: Path, record: dict[str, Any], written: list["Future[Any]"], logits_BTV: "torch.Tensor"
    ) -> None:
        """When all ranks have written: adds probe and record, renames the folder, and drops what is not needed."""
        from safetensors.torch import save_file

        for future in written:
            future.result()  # the first rank's is done when everybody's are
        final = temporary.with_suffix("")
        save_file({"tokens": self.probe_BT.contiguous(), "logits": logits_BTV}, temporary / "probe.safetensors")
        paths = sorted(path for path in temporary.rglob("*") if path.is_file())
        files = {path.relative_to(temporary).as_posix(): describe_file(path) for path in paths}
        # the probe's logits stand for the weights: a retrained step is another input to those who read it
        record["weights"] = files["probe.safetensors"]["sha256"]
        write_json(temporary / "run.json", {**record, "files": files})
        if final.is_dir():  # a step that was saved before, and is trained again
            final.rename(final.with_suffix(".old.tmp"))
        temporary.rename(final)
        self.prune()

    def prune(self) -> None:
        """Drops the optimiser states of all but the newest `keep`, steps that are no part of the series, lost saves."""
        found = [(step_of(path.parent.name), path) for path in self.folder.glob("step-*/optimizer")]
        states = sorted((step, path) for step, path in found if step is not None)
        for _, old in states[: -self.keep]:
            if read_json(old.parent / "run.json").get("in_series", True):
                old.rename(old.with_name("optimizer.old"))  # a half-deleted one must never be resumed from
            else:
                old.parent.rename(old.parent.with_suffix(".tmp"))
        for old in (*self.folder.glob("step-*/optimizer.old"), *self.folder.glob("step-*.tmp")):
            shutil.rmtree(old)

    def refuse_full_disk(self, step: int) -> None:
        """Stops before a save that the disk cannot hold, on every rank."""
        need, free = self.engine.checkpoint_bytes(), shutil.disk_usage(self.folder).free
        if self.ranks.any(self.ranks.rank == 0 and free < need * 1.05):
            raise BadInput(
                f"{self.folder}: step {step} needs {need / 1e9:,.1f} GB, {free / 1e9:,.1f} GB are free; make room, "
                f"then the same command resumes from step {newest_resumable(self.folder)}"
            )


def newest_resumable(folder: Path) -> int:
    """The newest step with an optimiser state; 0: none. A save cut short (".tmp") does not count."""
    steps = [step_of(p.parent.name) for p in folder.glob("step-*/optimizer") if (p.parent / "run.json").is_file()]
    return max((step for step in steps if step is not None), default=0)


def check_origin(folder: Path, started: dict[str, Any]) -> None:
    """Refuses a checkpoint that another run left here: other data, seed or settings, and says which."""
    record = read_json(folder / "run.json")
    if "settings" in record and (difference := first_difference(record, started)):
        raise BadInput(f"{folder} was made with {difference}; it is another run's: take it away, or change run_dir")


def describe_file(path: Path) -> dict[str, Any]:
    """What a checkpoint's record says of one of its files."""
    return {"bytes": path.stat().st_size, "sha256": file_hash(path)}


def check_files(folder: Path, part: str = "", checksums: bool = False) -> None:
    """Compares a checkpoint's files (of one part of it) with its record: their sizes, or their checksums too."""
    for name, told in read_json(folder / "run.json")["files"].items():
        path = folder / name
        if not name.startswith(part) or (name.startswith("optimizer/") and not (folder / "optimizer").is_dir()):
            continue
        cure = f"delete {folder} and pretrain/train.py resumes from the checkpoint before it"
        found = path.stat().st_size if path.is_file() else 0
        if found != told["bytes"]:
            raise BadInput(f"{path}: truncated checkpoint: {found:,} bytes, its record says {told['bytes']:,}; {cure}")
        if checksums and file_hash(path) != told["sha256"]:
            raise BadInput(f"{path}: corrupt checkpoint: its checksum differs from its record's; {cure}")
