"""Tune chosen steps of the series on the instructions. Writes one adapter a step.

python finetune/train.py --config configs/tiny.yaml [finetune.steps=0,200] [finetune.rank=64 finetune.variant=all-r64]
torchrun --nproc-per-node 4 finetune/train.py --config ...     # every step over four GPUs
bash runs/tune.sh configs/tiny.yaml 4                          # each of four GPUs its share of the steps; then merged

LoRA: Hu et al. 2021. An interrupted step resumes from its last saved state, with the same result.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from finetune.variant import (
    RANK,
    check_batch,
    check_length,
    check_name,
    device,
    one_device,
    run_trainer,
    trainer_options,
    tune_once,
)
from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.documents import evenly
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.prompts import Format
from snakmodel.records import identity
from snakmodel.series import Checkpoint, choose, read_series, resolve_model
from snakmodel.settings import share


@dataclass
class Settings:
    variant: str = knob(help="name of this set of tuning settings, and of the tuned series")
    steps: str = knob("all", "of the pre-trained series: all, first, last, 0,500,1000:12000:1000", execution=True)
    also_tune: dict[str, str] = knob(
        {}, "name -> model folder, run or Hub id outside the series; tuned as VARIANT+NAME", execution=True
    )
    part: str = knob("1/1", "of these models, the share that this process tunes: 2/4 is every fourth", execution=True)
    # what is learnt
    format: Format = knob("chat", "of questions and answers; own: the tokenizer's template")
    sequence_length: int = knob(4096, "tokens of a row; longer conversations are dropped and counted", low=8)
    packing: Literal["isolated", "plain", "none"] = knob(
        "isolated", "conversations share a row unseen by each other; plain: cut from one stream, as the paper's"
    )
    loss_on: Literal["answer", "all"] = knob("answer", "tokens that carry the loss; the paper trained on all")
    # which weights
    method: Literal["lora", "qlora", "full"] = knob("lora", "qlora: on a 4-bit base, needs CUDA; full: all weights")
    targets: list[str] = knob(["all"], "names of the matrices that get an adapter, or all (SnakModel's eight)")
    rank: int = knob(128, "of the adapters", low=1)
    alpha: float = knob(16, "scale of the adapters: alpha / rank", above=0)
    dropout: float = knob(0.05, "on the adapters' input", low=0, high=1)
    # how
    epochs: float = knob(1.0, "passes over the instructions", above=0)
    global_batch: int = knob(64, "rows per optimiser step, over all ranks", low=1)
    micro_batch: int = knob(1, "rows per rank at a time; another one draws other dropout", low=1, execution=True)
    learning_rate: float = knob(2e-4, "peak", above=0)
    schedule: Literal["constant", "cosine"] = knob("constant", "after the warm-up (the paper: constant)")
    warmup_steps: int = knob(0, "optimiser steps of linear warm-up", low=0)
    gradient_clip: float = knob(0.3, "global norm", above=0)
    weight_decay: float = knob(0.001, "AdamW", low=0)
    precision: Literal["float32", "bfloat16"] = knob("float32", "of the frozen base and the computation")
    activation_checkpointing: bool = knob(False, "less memory, about a third slower", execution=True)
    seed: int = knob(42, "adapter weights, dropout, packing and order of the rows", low=0)
    workers: int = knob(1, "processes that tokenise, once for all steps", low=1, execution=True)
    # what is kept and told
    keep: str = knob("last", "adapters to keep: last, epoch (one each), or one every so many optimiser steps")
    save_every: int = knob(100, "optimiser steps between resumable states", low=1, execution=True)
    validate_every: int = knob(0, "optimiser steps between losses on held-out conversations; 0: never", execution=True)
    validation_conversations: int = knob(1_000, "most of them, spread over the file", low=1, execution=True)
    log_every: int = knob(10, "optimiser steps between printed lines", low=1, execution=True)


def main() -> None:
    command = read_command(Settings, "finetune", __doc__)
    s, run, data = command.settings, command.run, command.run.folder("instructions")
    check(s, command.config)
    known: dict[str, Any] = {}
    for variant, base in share(bases(command), s.part, f"{command.config}: finetune"):
        folder = run.folder("finetune") / variant / step_name(base.step)
        inputs = {"model": base.source, "instructions": data}
        tune_once(command, folder, inputs, partial(tune, base, data, folder, command, known))


def check(s: Settings, config: Path) -> None:
    """Refuses settings that contradict each other, before anything is read."""
    where = f"{config}: finetune"
    for name in (s.variant, *s.also_tune):
        check_name(name, where, f"all-r{s.rank}-chat")
    check_batch(s.global_batch, s.micro_batch, where)
    if s.keep not in ("last", "epoch") and not re.fullmatch("[1-9][0-9]*", s.keep):
        raise BadInput(f"{where}.keep should be last, epoch or a number of optimiser steps, got {s.keep!r}")
    if s.keep == "epoch" and s.epochs < 1:
        raise BadInput(f"{where}.keep: epoch keeps nothing of {s.epochs:g} epochs; take last, or a number of steps")


def bases(command: Command[Settings]) -> list[tuple[str, Checkpoint]]:
    """What is tuned: variant and base of each."""
    s, where = command.settings, f"{command.config}: finetune"
    chosen = choose(read_series(command.run.series(PRETRAINED)), s.steps, f"{where}.steps")
    found = [(s.variant, checkpoint) for checkpoint in chosen]
    for name, location in s.also_tune.items():
        found.append((f"{s.variant}+{name}", Checkpoint(0, pinned(resolve_model(location)), {"tokens": None})))
    return found


def pinned(location: str) -> str:
    """A model of the Hub at the commit that it is at now, so that it is merged with the weights it was tuned on."""
    if Path(location).is_dir():
        return location
    from snakmodel.hub import commit_of  # late: most runs have no such model

    return f"{location.partition('@')[0]}@{commit_of(location)}"


def tune(
    base: Checkpoint, data: Path, folder: Path, command: Command[Settings], known: dict[str, Any]
) -> dict[str, Any]:
    """Tunes one model and writes its adapter to `folder`. Returns the facts for its record.

    known: what was read for the models before; steps of a series have one tokenizer, and it takes long.
    """
    one_device()
    import torch  # late: a finished stage says so at once
    from transformers import Trainer, TrainingArguments

    from finetune.adapters import add_adapters, check_isolation, load_base, project_learnt, save
    from finetune.examples import collate
    from finetune.progress import Progress
    from snakmodel.models import load_tokenizer
    from snakmodel.prompts import check_contract, set_format

    s, where, label = command.settings, f"{command.config}: finetune", f"finetune {folder.parent.name} {folder.name}"
    tokenizer = load_tokenizer(base.location)
    set_format(tokenizer, s.format)
    check_contract(tokenizer, f"{where}.format {s.format}")
    torch.manual_seed(s.seed)
    model = load_base(base.location, s.method, s.precision, where)
    check_length(model, s.sequence_length, where)
    if s.method != "full":
        model = add_adapters(model, s.targets, s.rank, s.alpha, s.dropout, where)
    rows, counts, held_out = read_rows(data, tokenizer, command, known, label)
    if s.packing == "isolated":
        if s.method != "qlora":  # which lies there already
            model.to(device())  # where it is trained: devices have attentions of their own
        check_isolation(model, rows, where)
    project_learnt(model)
    arguments = TrainingArguments(
        **trainer_options(s, folder, rows.steps),
        remove_unused_columns=False,
        weight_decay=s.weight_decay,
        activation_checkpointing=s.activation_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if s.activation_checkpointing else None,
    )
    progress = Progress(s, rows, held_out, folder, label, lambda model, place: save(model, tokenizer, place, s.method))
    trainer = Trainer(model, arguments, collate, train_dataset=rows, callbacks=[progress])
    run_trainer(trainer, s, folder, label)
    if RANK == 0:
        save(model, tokenizer, folder, s.method)
        print(f"{label}: loss {progress.last['loss']:.3f} at step {progress.last['step']}", flush=True)
    return {
        "step": base.step,
        "base_tokens": base.row.get("tokens"),
        **counts,
        "optimiser_steps": rows.steps,
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "axis": "epochs" if s.keep == "epoch" else "tuning steps",
        **{name: progress.last.get(name) for name in ("tokens", "learnt_tokens", "loss", "held_out_loss")},
    }


def read_rows(
    data: Path, tokenizer: Any, command: Command[Settings], known: dict[str, Any], label: str
) -> tuple[Any, dict[str, Any], list[Any]]:
    """Rows to learn, counts of conversations kept and dropped, held-out rows; says what they are like."""
    from finetune.examples import open_examples, spell_out
    from finetune.packing import Rows, pack

    s, where, kept = command.settings, f"{command.config}: finetune", command.run.folder("finetune") / ".tokens"
    key = json.dumps([tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template, tokenizer.special_tokens_map])
    if key in known:
        return known[key]

    def read(file: str, loss_on: Literal["answer", "all"], longest: int | None) -> tuple[Any, dict[str, int]]:
        made_from = json.dumps([key, identity(data), file, loss_on, longest])
        place = kept / hashlib.sha256(made_from.encode()).hexdigest()[:16]
        return open_examples(place, data / file, tokenizer, loss_on, longest, s.workers, RANK > 0)

    longest = None if s.packing == "plain" else s.sequence_length  # what is cut anew may be of any length
    examples, dropped = read("train.parquet", s.loss_on, longest)
    if not len(examples):
        raise BadInput(
            f"{where}.sequence_length {s.sequence_length}: no conversation of {data} can be learnt: {dropped}"
        )
    rows = Rows(*pack(examples, s.sequence_length, s.packing, s.seed), s.global_batch, s.epochs, s.seed)
    counts = {"examples": len(examples), "dropped": dropped, "rows": len(rows.rows), "rows_left_out": rows.left_out}
    held_out = []
    if s.validate_every:
        answers, _ = read("validation.parquet", "answer", s.sequence_length)
        if not len(answers):
            raise BadInput(
                f"{where}.validate_every {s.validate_every}, but {data}/validation.parquet holds no conversation to "
                "measure; set instructions.validation_share, or validate_every=0"
            )
        held_out = [[answers.get(number)] for number in evenly(range(len(answers)), s.validation_conversations)]
    if RANK == 0:
        ids, labels = examples.get(0)
        print(f"{label}: {spell_out(ids, labels, tokenizer)}")
        every = len(examples) + sum(dropped.values())
        left_out = "".join(f"; dropped {count:,} of {every:,}: {reason}" for reason, count in dropped.items())
        print(f"{label}: {rows.describe(s.sequence_length)}, {rows.steps:,} steps{left_out}", flush=True)
    known[key] = rows, counts, held_out
    return known[key]


if __name__ == "__main__":
    run_script(main)
