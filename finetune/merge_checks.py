"""Is a merged model its base plus its adapter, and does it say what they said?

W + s B A, with s = alpha / rank: Hu et al. 2021 (arXiv 2106.09685), section 4.1. Shapes: P positions, V vocabulary.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import kl_div, log_softmax

from snakmodel.adapters import adapted_weights, read_factors
from snakmodel.config import BadInput
from snakmodel.documents import read_documents
from snakmodel.models import logit_difference
from snakmodel.prompts import prompt_ids, set_format

MOST = 256  # tokens of a question

Weights = dict[str, torch.Tensor]


class Questions:
    """The first questions of the instructions, which models are compared on."""

    def __init__(self, tokenizer: Any, format: Any, path: Path, count: int, new_tokens: int) -> None:
        set_format(tokenizer, format)
        self.end, self.new_tokens = tokenizer.eos_token_id, new_tokens
        turns = (json.loads(row["turns"]) for row in islice(read_documents(path, ["turns"]), count))
        asked = [each[: [turn["role"] for turn in each].index("assistant")] for each in turns]
        self.ids = [torch.tensor([prompt_ids(tokenizer, each)[:MOST]]) for each in asked]

    @torch.no_grad()
    def logits(self, model: Any) -> torch.Tensor:
        """Every position of every question, one under the other: [P, V], float32."""
        return torch.cat([model(input_ids=ids).logits[0].float() for ids in self.ids])

    def answers(self, model: Any) -> list[list[int]]:
        """The greedy answers' tokens."""
        how = {"max_new_tokens": self.new_tokens, "do_sample": False, "pad_token_id": self.end}
        return [
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)[0, ids.shape[1] :].tolist()
            for ids in self.ids
        ]

    def same(self, model: Any, said: list[list[int]]) -> int:
        """How many of the model's answers are these."""
        return sum(one == other for one, other in zip(self.answers(model), said, strict=True))


class Changes(Mapping[str, torch.Tensor]):
    """Name of each tuned weight -> the change that an adapter's file means, float32; read without peft.

    A change is computed where it is asked for: all of them together are as large as the model.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.names = folder, adapted_weights(folder)

    def __getitem__(self, weight: str) -> torch.Tensor:
        if weight not in self.names:
            raise KeyError(weight)
        up, down = read_factors(self.folder, weight)
        return up @ down

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def untie(model: Any) -> None:
    """Gives the output layer weights of its own: merged into shared ones, its adapter would change the input too."""
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    model.config.tie_word_embeddings = False


def check_matrices(before: Weights, after: Weights, changes: Mapping[str, torch.Tensor], name: str) -> None:
    """Refuses a merge in which a weight is not the base's plus its change, to float32's rounding."""
    if absent := sorted(changes.keys() - before.keys()):
        raise BadInput(f"{name}: the adapter changes {absent[0]}, which the base does not have")
    eps = torch.finfo(torch.float32).eps
    for weight in before:
        expected = before[weight].float()
        rounding = 4 * eps * expected.abs().max()
        if weight in changes:
            change = changes[weight]
            expected = expected + change
            rounding = rounding + 1e-5 * change.abs().max()
        error = (after[weight].float() - expected).abs().max()
        if not error <= rounding:  # not <=: a NaN is refused too
            what = "the base's plus alpha/rank B A" if weight in changes else "the base's, and has no adapter"
            raise BadInput(
                f"{name}: {weight} is not {what}: off by {error:.2e}, rounding is {rounding:.2e}: not written"
            )


def unchanged(before: Weights, after: Weights, names: Iterable[str], dtype: torch.dtype) -> dict[str, float]:
    """Share of these matrices' weights that are the base's once both are cast to `dtype`, by kind of matrix."""
    same: dict[str, int] = {}
    count: dict[str, int] = {}
    for weight in names:
        equal = int((before[weight].to(dtype) == after[weight].to(dtype)).sum())
        for kind in ("all", weight.split(".")[-2]):
            same[kind] = same.get(kind, 0) + equal
            count[kind] = count.get(kind, 0) + before[weight].numel()
    return {kind: same[kind] / count[kind] for kind in sorted(count)}


def difference_from_base(tuned_PV: torch.Tensor, base_PV: torch.Tensor, name: str) -> float:
    """Largest logit difference, in standard deviations of the base's; refuses a model that says what its base says."""
    difference = logit_difference(tuned_PV, base_PV)
    if not difference > 0:
        raise BadInput(f"{name}: the merged model equals its base: the adapter is empty; tune it again")
    return difference


def compare(
    base_PV: torch.Tensor, adapter_PV: torch.Tensor, merged_PV: torch.Tensor, tolerance: float, name: str
) -> dict[str, Any]:
    """Holds the merged model's logits against the adapter's and the base's: standard deviations, and nats."""
    difference = logit_difference(merged_PV, adapter_PV)
    if not difference <= tolerance:
        raise BadInput(
            f"{name}: merged logits are {difference:.3g} standard deviations from the adapter's, "
            f"more than merge.tolerance {tolerance}: not written"
        )
    log_p_PV, log_q_PV = log_softmax(adapter_PV, -1), log_softmax(merged_PV, -1)
    return {
        "adapter_difference": difference,
        "adapter_divergence": float(kl_div(log_q_PV, log_p_PV, log_target=True, reduction="batchmean")),
        "base_difference": difference_from_base(merged_PV, base_PV, name),
    }


def check_written(merged: Any, written: Any, name: str) -> None:
    """Refuses files whose weights are not the model's that they were written from."""
    found = written.state_dict()
    for weight, tensor in merged.state_dict().items():
        if weight not in found or not torch.equal(found[weight], tensor):
            raise BadInput(f"{name}: {weight} was not written as it was merged; delete {name} and merge again")
