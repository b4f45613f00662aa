"""Our training loop beside others, all in one run: the same model, tokens, batches and threads.

python benchmarks/train_loop.py [REPEATS]

ours: pretrain/train.py as a user runs it. sharded: the least loop that has the same fully_shard. bare: PyTorch alone.
trainer: Hugging Face's. Each in a process of its own, in turn; the clock runs from the fifth step, over blocks of five
steps with all that happens in and between them; of the blocks and of the repeats the medians count.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.made_run import TINY, make_run
from pretrain.recipe import Settings, total_steps
from snakmodel.config import read_command
from snakmodel.records import read_jsonl

ROOT = Path(__file__).resolve().parent.parent
LENGTH, BLOCK, STEPS = 128, 5, 30  # tokens; steps between two looks at the clock (log_every), and of all
SIZES = {4_096: 16, 8_192: 32}  # tokens of a step, the miniature's first: sequences of a micro-batch
OTHERS = ("sharded", "bare", "trainer")


def main() -> None:
    if len(sys.argv) > 2:
        print(json.dumps(run_other(sys.argv[1], Path(sys.argv[2]))))
        return
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print("tokens/step | ours, tokens/s | of sharded | of bare | of trainer | ours by its own log, without the rest")
    for tokens, micro_batch in SIZES.items():
        with tempfile.TemporaryDirectory() as name:
            base = Path(name)
            batch = {"sequence_length": LENGTH, "global_batch": tokens // LENGTH, "micro_batch": micro_batch}
            make_run(base, TINY, steps=STEPS, save_every=STEPS, log_every=BLOCK, learning_rate=1e-3, **batch)
            rounds = [measure_all(base, number) for number in range(repeats)]
        speed = {key: [tokens / seconds[key] for seconds in rounds] for key in rounds[0]}
        middle = {key: statistics.median(values) for key, values in speed.items()}
        ratios = [f"{middle['ours'] / middle[other]:.3f}" for other in OTHERS]
        print(" | ".join([f"{tokens:,}", f"{middle['ours']:,.0f}", *ratios, f"{middle['ours, log']:,.0f}"]), flush=True)
        for key, values in speed.items():
            print(f"    {key}: {', '.join(f'{value:,.0f}' for value in values)} tokens/s")


def measure_all(base: Path, number: int) -> dict[str, float]:
    """Seconds per step of every contestant; the ones with our batches must come to our loss."""
    seconds, losses = ours(base, base / f"ours-{number}")
    for name in OTHERS:
        command = [sys.executable, __file__, name, str(base)]
        said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        told = json.loads(said.splitlines()[-1])  # the Trainer has words of its own
        seconds[name] = told["seconds"]
        assert told["loss"] is None or abs(told["loss"] / losses[-1] - 1) < 1e-4, f"{name}: {told}, ours {losses[-1]}"
    return seconds


def ours(base: Path, run: Path) -> tuple[dict[str, float], list[float]]:
    """Seconds per step by when the lines of the log come, and by what the log says; the loss of every step."""
    run.mkdir()
    (run / "shards").symlink_to(base / "shards")
    command = [sys.executable, "pretrain/train.py", "--config", str(base / "recipe.yaml"), f"run_dir={run}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    clocks = [time.perf_counter() for line in process.stdout if line.startswith("step ")]
    assert process.wait() == 0 and len(clocks) == STEPS // BLOCK
    rows = read_jsonl(run / "checkpoints/log.jsonl")
    inside = statistics.median(row["seconds"] for row in rows[BLOCK:])
    return {"ours": median_step(clocks), "ours, log": inside}, [row["loss"] for row in rows]


def median_step(clocks: list[float]) -> float:
    """Seconds per step, from the times at which blocks of steps ended."""
    return statistics.median(late - early for early, late in zip(clocks, clocks[1:], strict=False)) / BLOCK


def run_other(name: str, base: Path) -> dict[str, float | None]:
    """Trains as one of the others does; its seconds per step and last loss (None: its batches are not ours)."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    s = read_command(Settings, "pretrain", None, ["--config", str(base / "recipe.yaml")]).settings
    clocks: list[float] = []

    def tick(step: int) -> None:
        if step % BLOCK == 0:
            clocks.append(time.perf_counter())

    loss = None
    if name == "trainer":
        trainer(s, base, tick)
    else:
        loss = plain_loop(s, base, tick, sharded=name == "sharded")
    return {"seconds": median_step(clocks), "loss": loss}


def plain_loop(s: Settings, base: Path, tick: Callable[[int], None], sharded: bool) -> float:
    """The least that trains: forward, backward, clip, AdamW. The batches are in memory before the clock starts."""
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from pretrain.loader import cut_batch
    from pretrain.mixture import make_pools
    from pretrain.models import build_model
    from pretrain.objective import parameter_groups
    from pretrain.schedule import learning_rate
    from snakmodel.shards import open_shards

    pools = make_pools(s, open_shards(base / "shards", "train"), [], base)
    batches = [cut_batch(step, s, pools, 0, 1) for step in range(1, total_steps(s) + 1)]
    model = build_model(s, None)
    if sharded:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        mesh = init_device_mesh("cpu", (1,))
        for layer in model.model.layers:
            if sum(parameter.numel() for parameter in layer.parameters()) >= s.shard_from:
                fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    groups = parameter_groups(model, s.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(s.beta1, s.beta2), eps=s.epsilon, fused=True)
    for step, batch in enumerate(batches, 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, s)
        total = 0.0
        for inputs_BT, targets_BT, _ in batch.pieces(s.micro_batch, torch.device("cpu")):
            logits_NV = model(input_ids=inputs_BT, use_cache=False).logits.flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits_NV, targets_BT.flatten())
            loss = loss * len(inputs_BT) / s.global_batch
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), s.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tick(step)
    return total


def trainer(s: Settings, base: Path, tick: Callable[[int], None]) -> None:
    """Hugging Face's Trainer, told to log and save nothing."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from pretrain.models import build_model
    from snakmodel.shards import TokenStream, open_shards

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            tick(state.global_step)

    stream = TokenStream(open_shards(base / "shards", "train"), s.sequence_length)
    examples = [{"input_ids": row, "labels": row} for row in stream.cut(range(len(stream)))[:, :-1]]
    arguments = TrainingArguments(
        str(base / "trainer"), max_steps=total_steps(s), use_cpu=True, learning_rate=s.learning_rate,
        per_device_train_batch_size=s.micro_batch, gradient_accumulation_steps=s.global_batch // s.micro_batch,
        weight_decay=s.weight_decay, max_grad_norm=s.gradient_clip, optim="adamw_torch_fused",
        save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip
    Trainer(build_model(s, None), arguments, train_dataset=examples, callbacks=[Clock()]).train()


if __name__ == "__main__":
    main()
