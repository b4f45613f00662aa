"""What many prompts have in common is read once: few-shot examples by all questions, a question by all its options.

Keys and values of the common tokens are kept and stand before every row of a batch. Sums are those of reading each
option by itself, to rounding (about 1e-5 in float32). Shapes: B questions of a batch, Q tokens of a row, P of the
prefix, K rows of the mask's keys (P + Q), V vocabulary, N scored tokens.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

from snakmodel.config import BadInput

Choice = tuple[list[int], list[list[int]]]  # tokens of a question, and of each option after it
SHORTEST = 16  # tokens: a shorter prefix is not worth keeping


def common_length(sequences: Sequence[list[int]]) -> int:
    """How many tokens all sequences begin with, leaving each at least one of its own; 0 where too few to be kept."""
    first, last = min(sequences), max(sequences)  # between these two in order, all others share what they share
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    shared = min(shared, min(map(len, sequences)) - 1)
    return shared if shared >= SHORTEST and len(sequences) > 1 else 0


@torch.inference_mode()
def read_prefix(model: PreTrainedModel, ids: list[int]) -> DynamicCache:
    """Keys and values of a prefix, which may be empty."""
    cache = DynamicCache()
    if ids:
        model(input_ids=torch.tensor([ids], device=model.device), past_key_values=cache, logits_to_keep=1)
    return cache


def for_rows(prefix: DynamicCache, rows: int) -> DynamicCache:
    """A cache that begins with the prefix in each of `rows` rows; the prefix itself stays as it is."""
    cache = DynamicCache()
    layers: list[Any] = prefix.layers
    for number, layer in enumerate(layers):
        keys, values = (states.expand(rows, -1, -1, -1) for states in (layer.keys, layer.values))
        cache.update(keys, values, number)
    return cache


def longest_input(model: PreTrainedModel) -> int:
    """The most tokens that a model can read at once."""
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is None:  # as of Bloom, whose positions are no embeddings
        kind = model.config.model_type
        raise BadInput(f"config.json of this {kind} has no max_position_embeddings; add what it was trained at")
    return int(longest)


def check_length(model: PreTrainedModel, tokens: int) -> None:
    """Refuses what is longer than a model can read."""
    longest = longest_input(model)
    if tokens > longest:
        told = f"{tokens:,} tokens are more than the model's {longest:,} positions"
        raise BadInput(f"{told}; shorten text, or the window")


def check_finite(numbers: torch.Tensor) -> None:
    """Refuses what a broken model says."""
    if not numbers.isfinite().all():
        raise BadInput("the model's output is not finite (its training diverged, or its weights are damaged)")


def option_sums(model: PreTrainedModel, choices: Sequence[Choice], batch_tokens: int) -> list[list[float]]:
    """Sum of log p(option's tokens | question), in nats, for each option of each question.

    A question is one row: its own tokens, then those of each option, which see the question and themselves.
    batch_tokens: most tokens in a batch, prefix and padding included, or one question. Raises BadInput where one is
    longer than the model can read, or its output is not finite.
    """
    assert all(context and all(options) for context, options in choices), "a sum over no token would win"
    if not choices:
        return []
    check_length(model, max(len(context) + max(map(len, options)) for context, options in choices))
    shared = common_length([context for context, _ in choices])
    prefix = read_prefix(model, choices[0][0][:shared])
    widths = [len(context) - shared + sum(len(ids) - 1 for ids in options) for context, options in choices]
    order = sorted(range(len(choices)), key=lambda index: -widths[index])
    sums: list[list[float]] = [[] for _ in choices]
    while order:
        rows = order[: max(1, batch_tokens // (shared + widths[order[0]]))]
        for index, found in zip(rows, batch_sums(model, prefix, shared, [choices[i] for i in rows]), strict=True):
            sums[index] = found
        order = order[len(rows) :]
    return sums


@torch.inference_mode()
def batch_sums(model: PreTrainedModel, prefix: DynamicCache, shared: int, batch: Sequence[Choice]) -> list[list[float]]:
    """option_sums of one batch, whose questions all begin with the prefix of `shared` tokens."""
    tokens, positions, branches = [], [], []  # of each row; branch 0 is the question, 1 ... its options
    rows, places, targets, owners = [], [], [], []  # of each scored token: where its logits are, and whose it is
    for row, (context, options) in enumerate(batch):
        ids, end = context[shared:], len(context)
        place, branch = list(range(shared, end)), [0] * len(ids)
        for number, option in enumerate(options, start=1):
            places += [end - shared - 1, *range(len(ids), len(ids) + len(option) - 1)]
            targets += option
            rows += [row] * len(option)
            owners += [(row, number - 1)] * len(option)
            ids = ids + option[:-1]
            place += range(end, end + len(option) - 1)
            branch += [number] * (len(option) - 1)
        tokens.append(torch.tensor(ids))
        positions.append(torch.tensor(place))
        branches.append(torch.tensor(branch))
    tokens_BQ = pad_sequence(tokens, batch_first=True).to(model.device)
    positions_BQ = pad_sequence(positions, batch_first=True).to(model.device)
    branches_BQ = pad_sequence(branches, batch_first=True, padding_value=-1).to(model.device)
    logits_BQV = model(
        input_ids=tokens_BQ,
        position_ids=positions_BQ,
        attention_mask=branching_mask(branches_BQ, shared, model.dtype),
        past_key_values=for_rows(prefix, len(batch)),
    ).logits
    scored_NV = logits_BQV[rows, places].float()  # only these become float32
    log_p_N = -cross_entropy(scored_NV, torch.tensor(targets, device=model.device), reduction="none").double().cpu()
    check_finite(log_p_N)
    sums = [[0.0] * len(options) for _, options in batch]
    for (row, number), log_p in zip(owners, log_p_N.tolist(), strict=True):
        sums[row][number] += log_p
    return sums


def branching_mask(branches_BQ: torch.Tensor, shared: int, dtype: torch.dtype) -> torch.Tensor:
    """What each token may see [B, 1, Q, P + Q], to be added to attention: the prefix, the question, its own branch."""
    batch, width = branches_BQ.shape
    earlier_QQ = torch.ones(width, width, dtype=torch.bool, device=branches_BQ.device).tril()
    own_BQQ = branches_BQ[:, :, None] == branches_BQ[:, None, :]
    seen_BQQ = earlier_QQ & (own_BQQ | (branches_BQ == 0)[:, None, :])
    prefix_BQP = torch.ones(batch, width, shared, dtype=torch.bool, device=branches_BQ.device)
    seen_BQK = torch.cat([prefix_BQP, seen_BQQ], dim=-1)
    mask_BQK = torch.zeros(seen_BQK.shape, dtype=dtype, device=branches_BQ.device)
    return mask_BQK.masked_fill(~seen_BQK, torch.finfo(dtype).min)[:, None]
