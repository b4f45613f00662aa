"""What happens beside the steps of a tuning: the log, losses on held-out text, adapters kept on the way."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from finetune.examples import collate
from finetune.packing import Rows
from finetune.variant import check_loss
from snakmodel.paths import step_name
from snakmodel.prompts import IGNORED
from snakmodel.records import remove_folder, temporary_path, write_jsonl


def kept_steps(keep: str, rows: Rows) -> dict[int, int]:
    """Optimiser step -> what its adapter is called by: the epoch that it ends, or the step itself."""
    if keep == "epoch":
        return {rows.steps_per_epoch * n: n for n in range(1, rows.steps // rows.steps_per_epoch + 1)}
    if keep == "last":
        return {}
    return {step: step for step in [*range(int(keep), rows.steps, int(keep)), rows.steps]}


@torch.no_grad()
def held_out_loss(model: Any, rows: list[Any], micro_batch: int, rank: int, ranks: int) -> float:
    """Cross-entropy of the answers' tokens, mean over all of them, nats; each rank reads its share of the rows."""
    was_training = model.training
    model.eval()
    total = torch.zeros(2, dtype=torch.float64 if model.device.type == "cpu" else torch.float32, device=model.device)
    for begin in range(rank * micro_batch, len(rows), ranks * micro_batch):
        batch = {name: each.to(model.device) for name, each in collate(rows[begin : begin + micro_batch]).items()}
        targets_BT = batch.pop("labels")[:, 1:]
        logits_BTV = model(**batch, use_cache=False).logits[:, :-1].float()
        lost = cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORED, reduction="sum")
        total += torch.stack([lost, (targets_BT != IGNORED).sum()]).to(total)
    if ranks > 1:
        dist.all_reduce(total)
    model.train(was_training)
    return float(total[0] / total[1])


class Progress(TrainerCallback):
    """What the Trainer tells of its steps, put into log.jsonl and printed; what it does not do, done here.

    save: writes a model's adapter to a folder.
    """

    def __init__(
        self, s: Any, rows: Rows, held_out: list[Any], folder: Path, label: str, save: Callable[[Any, Path], None]
    ) -> None:
        self.settings, self.rows, self.held_out = s, rows, held_out
        self.folder, self.label, self.save = folder, label, save
        self.kept = kept_steps(s.keep, rows)
        self.last: dict[str, Any] = {}  # row of the log
        self.news: dict[str, float] = {}  # for the next one

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.last = state.log_history[-1] if state.log_history else {}  # what a state that was resumed has told
        if self.held_out and not state.global_step:
            first = {"step": 0, "epoch": 0.0, "held_out_loss": self.measure(model, args)}
            state.log_history.append(first)
        for unfinished in (self.folder / "kept").glob(".*") if args.process_index == 0 else ():
            shutil.rmtree(unfinished)  # an interrupted run was about to keep it
        self.mark = time.perf_counter(), state.global_step

    def measure(self, model: Any, args: Any) -> float:
        return held_out_loss(model, self.held_out, self.settings.micro_batch, args.process_index, args.world_size)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        step, every, begun = state.global_step, self.settings.validate_every, time.perf_counter()
        last = step == self.rows.steps
        if self.held_out and (step % every == 0 or last):
            self.news["held_out_loss"] = self.measure(model, args)
        control.should_log |= last or bool(self.news)
        if step in self.kept and args.process_index == 0:
            place = self.folder / "kept" / step_name(self.kept[step])
            remove_folder(place)  # of a run that was interrupted after it; first, as it uses the same hidden name
            self.save(model, temporary_path(place))
            temporary_path(place).rename(place)
        self.mark = self.mark[0] + time.perf_counter() - begun, self.mark[1]  # which is no time of training

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        told = state.log_history.pop()  # ours takes its place, and so is part of what is resumed from
        if "loss" not in told:
            return  # the Trainer's last words
        step, (clock, before) = state.global_step, self.mark
        check_loss(told["loss"], self.label, step)
        tokens, learnt = self.rows.counted(step)
        seconds = time.perf_counter() - clock
        speed = (tokens - self.rows.counted(before)[0]) / seconds
        self.last = {"step": step, "epoch": round(step / self.rows.steps_per_epoch, 4), "loss": told["loss"]}
        self.last |= self.news | {name: told[name] for name in ("learning_rate", "grad_norm")}
        self.last |= {"tokens": tokens, "learnt_tokens": learnt, "tokens_per_second": round(speed, 1)}
        state.log_history.append(self.last)
        held_out = f" | held-out {self.news['held_out_loss']:.3f}" if self.news else ""
        self.news = {}
        self.mark = time.perf_counter(), step
        if args.process_index == 0:
            write_jsonl(self.folder / "log.jsonl", state.log_history)
            print(
                f"{self.label}: {step:>5}/{self.rows.steps} | loss {told['loss']:.3f}{held_out} | "
                f"lr {told['learning_rate']:.1e} | {speed:,.0f} tokens/s",
                flush=True,
            )
