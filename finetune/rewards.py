"""What preference tuning has done to a model: the log of its steps, and its answers to held-out questions.

The reward of an answer y to x is beta log(p(y|x) / p0(y|x)), p0 being the model before: Rafailov et al. 2023
(arXiv 2305.18290), section 4. Shapes: B pairs, first their chosen answers, then the rejected; T tokens, V vocabulary.
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from finetune.variant import check_loss
from snakmodel.records import write_jsonl


@torch.no_grad()
def answer_log_probs(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Log-probability of each answer, the sum over its tokens, nats: [2B], float32."""
    ids_BT = batch["input_ids"]
    logits_BTV = model(input_ids=ids_BT, attention_mask=batch["attention_mask"], use_cache=False).logits
    lost_BT = cross_entropy(logits_BTV[:, :-1].float().transpose(1, 2), ids_BT[:, 1:], reduction="none")
    return -(lost_BT * batch["completion_mask"][:, 1:]).sum(1)


def judge(trainer: Any, pairs: list[Any], micro_batch: int, beta: float) -> dict[str, float]:
    """How the tuned model judges held-out pairs; every rank reads its share of them.

    reward_accuracy, reward_margin: of its answers' rewards. chosen_likelier: share of pairs whose better answer has the
    higher probability, with the adapter and `_before`, without it.
    """
    model, accelerator = trainer.accelerator.unwrap_model(trainer.model).eval(), trainer.accelerator
    rank, ranks = accelerator.process_index, accelerator.num_processes
    totals = torch.zeros(5, device=accelerator.device)
    for begin in range(rank * micro_batch, len(pairs), ranks * micro_batch):
        rows = [{name: ids.tolist() for name, ids in pair.items()} for pair in pairs[begin : begin + micro_batch]]
        batch = {name: tensor.to(accelerator.device) for name, tensor in trainer.data_collator(rows).items()}
        chosen_B, rejected_B = answer_log_probs(model, batch).chunk(2)
        after_B = chosen_B - rejected_B
        with model.disable_adapter():
            chosen_B, rejected_B = answer_log_probs(model, batch).chunk(2)
        before_B = chosen_B - rejected_B
        margin_B = beta * (after_B - before_B)
        told = [torch.ones_like(margin_B), margin_B > 0, margin_B, after_B > 0, before_B > 0]
        totals += torch.stack([each.float().sum() for each in told])
    count, *sums = accelerator.reduce(totals, "sum").tolist()
    names = ("reward_accuracy", "reward_margin", "chosen_likelier", "chosen_likelier_before")
    return {"pairs": int(count)} | {name: total / count for name, total in zip(names, sums, strict=True)}


def describe(held_out: dict[str, float]) -> str:
    """What `judge` has found, in a line."""
    return (
        f"of {held_out['pairs']:,} held-out pairs {held_out['reward_accuracy']:.1%} rewarded rightly, margin "
        f"{held_out['reward_margin']:.2f}; the chosen answer is likelier in {held_out['chosen_likelier']:.1%}, before "
        f"in {held_out['chosen_likelier_before']:.1%}"
    )


class RewardLog(TrainerCallback):
    """Puts what TRL tells of the steps into log.jsonl, and prints it."""

    def __init__(self, folder: Path, label: str, steps_per_epoch: float) -> None:
        self.path, self.label, self.steps_per_epoch = folder / "log.jsonl", label, steps_per_epoch

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log |= state.global_step == state.max_steps

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        told = state.log_history.pop()  # ours takes its place, and so is part of what is resumed from
        if "loss" not in told:
            return  # the Trainer's last words
        step = state.global_step
        check_loss(told["loss"], self.label, step)
        row = {"step": step, "epoch": round(step / self.steps_per_epoch, 4), "loss": told["loss"]}
        row |= {"reward_accuracy": told["rewards/accuracies"], "reward_margin": told["rewards/margins"]}
        row |= {"chosen_reward": told["rewards/chosen"], "rejected_reward": told["rewards/rejected"]}
        row |= {name: told[name] for name in ("learning_rate", "grad_norm")}
        state.log_history.append(row)
        if args.process_index == 0:
            write_jsonl(self.path, state.log_history)
            print(
                f"{self.label}: {step:>5}/{state.max_steps} | loss {row['loss']:.3f} | accuracy "
                f"{row['reward_accuracy']:.2f} | margin {row['reward_margin']:.2f} | lr {row['learning_rate']:.1e}",
                flush=True,
            )
