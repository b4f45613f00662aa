"""Tune steps of a tuned series on pairs of answers of which one is preferred. Writes one adapter a step.

python finetune/preferences.py --config configs/tiny.yaml [preferences.beta=0.3 preferences.variant=polite-b0.3]
python finetune/merge.py --config configs/tiny.yaml merge.variant=all-r8-chat-polite

DPO: Rafailov et al. 2023 (arXiv 2305.18290), by TRL. The reference is the tuned model itself: the adapter switched off.
An interrupted step resumes from its last saved state, with the same result.
"""

from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Literal

from finetune.pairs import Pairs, PreferenceSet, inputs_of, read_pairs
from finetune.variant import (
    RANK,
    check_batch,
    check_length,
    check_name,
    one_device,
    run_trainer,
    trainer_options,
    tune_once,
)
from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.paths import step_name
from snakmodel.records import write_jsonl
from snakmodel.series import Checkpoint, choose, read_series
from snakmodel.settings import share


@dataclass
class Settings:
    variant: str = knob(help="name of what is made, to be merged by: merge.variant")
    base: str = knob(help="the tuned series whose merged steps it starts from")
    sets: dict[str, PreferenceSet] = knob(help="name -> where it lies and which columns it has")
    steps: str = knob("all", "of that series: all, first, last, 0,500,1000:12000:1000", execution=True)
    part: str = knob("1/1", "of these, the share that this process tunes: 2/4 is every fourth", execution=True)
    validation_share: float = knob(0.05, "of the questions, held out by their hash", low=0, high=0.5)
    sequence_length: int = knob(1024, "tokens of question and answer; longer pairs are dropped and counted", low=8)
    # what is learnt
    loss_type: Literal["sigmoid", "ipo"] = knob("sigmoid", "DPO's; ipo: Azar et al. 2023, with beta as its tau")
    beta: float = knob(0.1, "how dear it is to leave the tuned model", above=0)
    targets: list[str] = knob(["all"], "names of the matrices that get an adapter, or all (seven: not lm_head)")
    rank: int = knob(128, "of the adapters", low=1)
    alpha: float = knob(128, "scale of the adapters: alpha / rank", above=0)
    dropout: float = knob(0.0, "on the adapters' input; the model's own is off", low=0, high=1)
    # how
    epochs: float = knob(1.0, "passes over the pairs", above=0)
    global_batch: int = knob(32, "pairs per optimiser step, over all ranks", low=1)
    micro_batch: int = knob(1, "pairs per rank at a time", low=1, execution=True)
    learning_rate: float = knob(5e-6, "peak", above=0)
    schedule: Literal["constant", "cosine"] = knob("cosine", "after the warm-up")
    warmup_steps: int = knob(0, "optimiser steps of linear warm-up", low=0)
    gradient_clip: float = knob(1.0, "global norm", above=0)
    precision: Literal["float32", "bfloat16"] = knob("float32", "of the frozen model and the computation")
    activation_checkpointing: bool = knob(False, "less memory, about a third slower", execution=True)
    seed: int = knob(42, "adapter weights, dropout and order of the pairs", low=0)
    save_every: int = knob(100, "optimiser steps between resumable states", low=1, execution=True)
    log_every: int = knob(10, "optimiser steps between printed lines", low=1, execution=True)


def main() -> None:
    command = read_command(Settings, "preferences", __doc__)
    s, run, where = command.settings, command.run, f"{command.config}: preferences"
    check(s, where)
    sets, known = inputs_of(s.sets), dict[str, Pairs]()
    for base in share(choose(read_series(run.series(s.base)), s.steps, f"{where}.steps"), s.part, where):
        folder = run.folder("preferences") / s.variant / step_name(base.step)
        tune_once(command, folder, {"model": base.source, **sets}, partial(tune, base, folder, command, known))


def check(s: Settings, where: str) -> None:
    """Refuses settings that contradict each other, before anything is read."""
    check_name(s.variant, where, f"{s.base}-dpo")
    if s.variant == s.base:
        raise BadInput(f"{where}.variant {s.variant!r} is the series it starts from; give it a name of its own")
    if "lm_head" in s.targets:
        raise BadInput(
            f"{where}.targets {','.join(s.targets)}: lm_head cannot have an adapter here, since TRL computes answers' "
            "probabilities from its base weights; leave it out"
        )
    check_batch(s.global_batch, s.micro_batch, where)


def tune(base: Checkpoint, folder: Path, command: Command[Settings], known: dict[str, Pairs]) -> dict[str, Any]:
    """Tunes one model and writes its adapter to `folder`. Returns the facts for its record.

    known: the pairs that were read for the models before; steps of a series have one tokenizer.
    """
    one_device()
    # late: a finished stage says so at once
    from finetune.adapters import ALL, load_base, lora, save
    from finetune.rewards import RewardLog, describe, judge
    from snakmodel.models import load_tokenizer
    from snakmodel.prompts import check_contract, set_format

    s, where = command.settings, f"{command.config}: preferences"
    label = f"preferences {folder.parent.name} {folder.name}"
    tokenizer = load_tokenizer(base.location)
    if not tokenizer.chat_template:
        raise BadInput(f"{where}.base {s.base}: its models have no chat template; take a tuned series, merged")
    set_format(tokenizer, "own")  # which tuning has left there
    check_contract(tokenizer, f"{where}.base {s.base}")
    key = tokenizer.backend_tokenizer.to_str() + tokenizer.chat_template
    if key not in known:
        known[key] = read_pairs(s.sets, tokenizer, s.sequence_length, s.validation_share)
    pairs = known[key]
    steps = max(1, round(s.epochs * len(pairs.train) / s.global_batch))
    if RANK == 0:
        write_jsonl(folder / "rejects.jsonl", pairs.rejects)
        told = "".join(f"; {n:,} {reason}" for each in pairs.counts.values() for reason, n in each["dropped"].items())
        print(
            f"{label}: {len(pairs.train):,} pairs, {len(pairs.held_out):,} held out, {steps:,} steps{told}", flush=True
        )
    model = load_base(base.location, "lora", s.precision, where)
    check_length(model, s.sequence_length, where)
    targets = [name for name in ALL if name != "lm_head"] if s.targets == ["all"] else s.targets
    adapters = lora(model, targets, s.rank, s.alpha, s.dropout, where)
    trainer = make_trainer(model, adapters, tokenizer, pairs, steps, folder, s)
    trainer.add_callback(RewardLog(folder, label, len(pairs.train) / s.global_batch))
    run_trainer(trainer, s, folder, label)
    history = trainer.state.log_history
    facts = {name: history[-1][name] for name in ("loss", "reward_accuracy", "reward_margin")}
    held_out = judge(trainer, pairs.held_out, s.micro_batch, s.beta) if pairs.held_out else None
    if RANK == 0:
        save(trainer.accelerator.unwrap_model(trainer.model), tokenizer, folder, "lora")
        if held_out:
            row = {"step": steps} | {f"held_out_{name}": value for name, value in held_out.items()}
            write_jsonl(folder / "log.jsonl", [*history, row])
            print(f"{label}: {describe(held_out)}", flush=True)
    return {
        "step": base.step,
        "base_tokens": base.row.get("tokens"),
        "counts": pairs.counts,
        "revisions": pairs.revisions,
        "examples": len(pairs.train),
        "optimiser_steps": steps,
        "trained_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        **facts,
        "held_out": held_out,
    }


def make_trainer(model: Any, adapters: Any, tokenizer: Any, pairs: Pairs, steps: int, folder: Path, s: Settings) -> Any:
    """TRL's DPOTrainer over the pairs in the order in which they are learnt."""
    import numpy as np
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.utils import disable_dropout_in_model

    from finetune.packing import shuffled

    class Trainer(DPOTrainer):
        """With our tokens, whose contract is checked, in place of its own."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    count = steps * s.global_batch
    epochs = [shuffled(len(pairs.train), s.seed, 1 + epoch) for epoch in range(ceil(count / len(pairs.train)))]
    rows = Dataset.from_list(pairs.train).select(np.concatenate(epochs)[:count])
    disable_dropout_in_model(model)
    arguments = DPOConfig(
        **trainer_options(s, folder, steps),
        loss_type=[s.loss_type],
        beta=s.beta,
        max_length=None,  # what is too long was dropped
        disable_dropout=False,  # of the adapters
        gradient_checkpointing=s.activation_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if s.activation_checkpointing else None,
    )
    return Trainer(model, args=arguments, train_dataset=rows, processing_class=tokenizer, peft_config=adapters)


if __name__ == "__main__":
    run_script(main)
