"""What is known of each training step: printed lines, log.jsonl, and TensorBoard or Weights & Biases where asked for.

The numbers stay on the device until a line is due, so that the host never waits for a step in between.
"""

import json
import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from pretrain.costs import flops_per_token
from pretrain.machines import device_facts
from pretrain.ranks import Ranks
from pretrain.recipe import Settings, total_steps
from snakmodel.config import BadInput
from snakmodel.records import read_json, read_jsonl, write_jsonl

Row = dict[str, Any]
WINDOW = 128  # steps that are called recent


class Monitor:
    """The log of a run; of its rows, only the newest stay in memory."""

    def __init__(self, s: Settings, ranks: Ranks, folder: Path, rows: list[Row], model: PreTrainedModel) -> None:
        """rows: of the steps before, to which the log is cut."""
        self.settings, self.ranks, self.path = s, ranks, folder / "log.jsonl"
        self.rows = deque(rows, maxlen=max(WINDOW, s.max_skipped))
        self.tokens = s.global_batch * s.sequence_length  # of a step
        self.peak = peak_flops(s, ranks.device)  # of one device; None: not known, so no MFU
        self.flops = flops_per_token(model.config, sum(p.numel() for p in model.parameters()), s.sequence_length)
        self.waiting: list[tuple[Row, tuple[torch.Tensor, ...], Mark, Mark]] = []
        self.writers = outside_writers(s, folder, len(rows)) if ranks.rank == 0 else []
        if ranks.rank == 0:
            write_jsonl(self.path, rows)

    def begin(self, bits_per_byte: dict[str, float]) -> None:
        """Notes what the model knows before its first step."""
        self.write([{"step": 0, "tokens": 0, "bits_per_byte": bits_per_byte}])
        self.ranks.say(f"step     0/{total_steps(self.settings)} | {in_words(bits_per_byte)}")

    def add(
        self, step: int, rate: float, seen: tuple[torch.Tensor, ...], waited: float, begun: "Mark", ended: "Mark"
    ) -> None:
        """Notes a step. seen: its loss, gradient norm and whether it was skipped, on the device. waited: s for data."""
        row = {"step": step, "learning_rate": rate, "tokens": step * self.tokens, "data_wait": waited}
        self.waiting.append((row, seen, begun, ended))

    def flush(self, **last: Any) -> None:
        """Waits for the device, and writes what was noted; `last` goes to the last of the rows."""
        fresh: list[Row] = []
        for row, seen, begun, ended in self.waiting:
            loss, norm, skipped = (float(value) for value in seen)
            row["seconds"] = ended.since(begun)
            row["tokens_per_second"] = self.tokens / row["seconds"]
            row |= (
                {"loss": loss, "gradient_norm": norm} if not skipped else {"skipped": f"loss {loss}, gradient {norm}"}
            )
            if self.peak:
                row["mfu"] = self.flops * row["tokens_per_second"] / (self.peak * self.ranks.count)
            if self.ranks.device.type == "cuda":
                row["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
            fresh.append(row)
            if "skipped" in row:
                self.ranks.say(f"step {row['step']:5d} skipped: {row['skipped']}")
        if fresh:
            fresh[-1] |= {"recent": percentiles([*self.rows, *fresh][-WINDOW:]), **last}
        self.waiting = []
        self.write(fresh)
        self.refuse_skipping()

    def write(self, rows: list[Row]) -> None:
        """Adds rows to the log and wherever else they go."""
        self.rows.extend(rows)
        if self.ranks.rank != 0:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(finite(row)) + "\n" for row in rows))
        for write in self.writers:
            for row in rows:
                write(row)

    def refuse_skipping(self) -> None:
        """Stops a run whose newest steps were all skipped."""
        newest = list(self.rows)[-self.settings.max_skipped :]
        if len(newest) == self.settings.max_skipped and all("skipped" in row for row in newest):
            raise BadInput(
                f"step {newest[-1]['step']}: the last {len(newest)} steps were skipped ({newest[-1]['skipped']}); "
                f"lower learning_rate {self.settings.learning_rate:g}, or look at the data of step {newest[0]['step']}"
            )

    def print_line(self) -> None:
        """The newest step as a line."""
        row = self.rows[-1]
        loss = f"loss {row['loss']:.3f} | grad {row['gradient_norm']:.2f}" if "loss" in row else "skipped"
        parts = [f"step {row['step']:5d}/{total_steps(self.settings)}", loss, f"lr {row['learning_rate']:.2e}"]
        parts.append(f"{row['tokens_per_second']:,.0f} tok/s")
        if "mfu" in row:
            parts.append(f"MFU {row['mfu']:.1%}")
        if "memory_gib" in row:
            parts.append(f"{row['memory_gib']:.1f} GiB")
        if "bits_per_byte" in row:
            parts.append(in_words(row["bits_per_byte"]))
        self.ranks.say(" | ".join(parts))

    def start_profiler(self, done: int) -> torch.profiler.profile | None:
        """On the first rank, where asked for: a profiler that leaves trace.json of three steps beside the log."""
        ahead = self.settings.profile_step - done - 1
        if self.ranks.rank != 0 or ahead < 1:
            return None
        profiler = torch.profiler.profile(
            schedule=torch.profiler.schedule(skip_first=ahead - 1, wait=0, warmup=1, active=3, repeat=1),
            on_trace_ready=lambda trace: trace.export_chrome_trace(str(self.path.with_name("trace.json"))),
        )
        profiler.start()
        return profiler

    def summary(self) -> Row:
        """How the run went, for its record: step time, the time waited for data, speed. Reads the whole log."""
        trained = [row for row in read_jsonl(self.path) if row["step"]]
        if not trained:
            return {}
        found = percentiles(trained)
        found["tokens_per_second"] = self.tokens / found["seconds_p50"]
        for key in ("mfu", "memory_gib"):
            if key in trained[-1]:
                found[key] = statistics.median(row[key] for row in trained if key in row)
        return found | {"skipped_steps": sum("skipped" in row for row in trained)}


def in_words(bits_per_byte: dict[str, float]) -> str:
    """Bits per byte of each language, for a printed line."""
    return "bits/byte " + " ".join(f"{name} {value:.3f}" for name, value in bits_per_byte.items())


def percentiles(rows: list[Row]) -> Row:
    """The step time (seconds), and the share of it that the step waited for its data."""
    seconds = sorted(row["seconds"] for row in rows if row["step"])
    waited = sum(row["data_wait"] for row in rows if row["step"])
    found: Row = {f"seconds_p{p}": seconds[math.ceil(p / 100 * len(seconds)) - 1] for p in (50, 95, 99)}
    return found | {"data_wait_share": waited / sum(seconds)}


def read_log(path: Path, done: int) -> list[Row]:
    """The rows of a log up to step `done`; what came after was not saved, and its last line may be cut off."""
    if not done:
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [row for row in map(json.loads, lines) if row["step"] <= done]


def finite(row: Row) -> Row:
    """A row that any reader of JSON takes: bits per byte of a model that has diverged may be no number."""
    held_out = {name: value for name, value in row.get("bits_per_byte", {}).items() if math.isfinite(value)}
    return {**row, "bits_per_byte": held_out} if "bits_per_byte" in row else row


class Mark:
    """A moment on the device's own clock, which the host need not wait for."""

    def __init__(self, device: torch.device) -> None:
        self.event = torch.cuda.Event(enable_timing=True) if device.type == "cuda" else None
        if self.event:
            self.event.record()
        self.clock = time.perf_counter()

    def since(self, earlier: "Mark") -> float:
        """Seconds since an earlier mark; waits until the device has come to this one."""
        if self.event is None or earlier.event is None:
            return self.clock - earlier.clock
        self.event.synchronize()
        return earlier.event.elapsed_time(self.event) / 1000


def peak_flops(s: Settings, device: torch.device) -> float | None:
    """Dense bfloat16 operations a second of one device: as the recipe or the catalogue of devices says."""
    facts = device_facts(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    tflops = s.peak_tflops or (facts["tflops"] if facts else None)
    return tflops * 1e12 if tflops else None


def outside_writers(s: Settings, folder: Path, done: int) -> list[Callable[[Row], None]]:
    """What else a row is written to. done: steps that are kept; later ones are written anew."""
    writers: list[Callable[[Row], None]] = []
    if s.tensorboard:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise BadInput("pretrain.tensorboard needs `pip install tensorboard`") from None
        board = SummaryWriter(folder / "tensorboard", purge_step=done + 1)

        def write_board(row: Row) -> None:
            for name, value in numbers(row).items():
                board.add_scalar(name, value, row["step"])
            board.flush()

        writers.append(write_board)
    if s.wandb is not None:
        try:
            import wandb
        except ImportError:
            raise BadInput("pretrain.wandb needs `pip install wandb`") from None
        name = folder.resolve().parent.name
        begun = read_json(folder / "started.json")["begun"].replace(":", "-")  # stays, when the run goes on
        run = wandb.init(project=s.wandb, dir=folder, resume="allow", id=f"{name}-{begun}", name=name)
        writers.append(lambda row: run.log(numbers(row), step=row["step"]))
    return writers


def numbers(row: Row) -> dict[str, float]:
    """The numbers of a row, nested ones as "bits_per_byte/da"."""
    flat = {name: value for name, value in row.items() if isinstance(value, int | float) and name != "step"}
    nested = {name: value for name, value in row.items() if isinstance(value, dict)}
    return flat | {f"{name}/{key}": number for name, inner in nested.items() for key, number in inner.items()}
