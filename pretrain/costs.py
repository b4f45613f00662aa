"""What a training run costs: operations, traffic, hours, energy and disk. Pure arithmetic: no torch, no files."""

from typing import Any

from pretrain.machines import Machine
from pretrain.memory import MASTER, MOMENT, Zero


def inactive_parameters(config: Any) -> int:
    """Of a mixture of experts, the parameters that a token does not use; config: transformers', Mixtral's names."""
    experts = getattr(config, "num_local_experts", None)
    if not experts:
        return 0
    expert = 3 * config.hidden_size * config.intermediate_size  # gate, up, down
    return config.num_hidden_layers * (experts - config.num_experts_per_tok) * expert


def flops_per_token(config: Any, parameters: int, sequence_length: int) -> float:
    """Floating-point operations per token of a forward and a backward pass: 6 N + 12 L H T.

    llm-foundry's convention (scripts/train/benchmarking/README.md), so that MFU compares with its table: N is every
    parameter that a token uses, the embedding table included although looking up is no product; attention is counted
    over the whole window, causal or not; what is recomputed is not counted. config: transformers' own, of the model;
    parameters: all of it; of a mixture of experts the inactive ones are taken off here.
    """
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    attention = 12 * config.num_hidden_layers * width * sequence_length
    return 6 * (parameters - inactive_parameters(config)) + attention


def traffic_bytes(parameters: int, trained: int, ranks: int, element: int, zero: Zero | None) -> float:
    """Bytes that a rank receives for one micro-batch: weights gathered twice, gradients reduced (rings)."""
    others = (ranks - 1) / ranks
    if zero is None:
        return others * (2 * element * parameters + MASTER * trained)
    if zero.stage == 3:
        return others * (2 * element * parameters + element * trained)
    return others * element * trained * (1 if zero.stage == 2 else 0)  # stage 1 reduces once a step


def disk_bytes(
    parameters: int, trained: int, checkpoints: int, resumable: int, free_space: bool, export_element: int
) -> dict[str, int]:
    """Bytes of the series on disk, and the most there is at once.

    Every checkpoint keeps its weights in float32, the newest `resumable` the moments too. With export.free_space,
    exporting frees the weights of the others.
    """
    resumable = min(resumable, checkpoints)
    weights, states = MASTER * parameters * checkpoints, MOMENT * trained * resumable
    one_more, exports = MASTER * parameters + MOMENT * trained, export_element * parameters * checkpoints
    freed = MASTER * parameters * (checkpoints - resumable) if free_space else 0
    return {
        "weights of all checkpoints": weights,
        "optimiser of the resumable ones": states,
        "one more while it is written": one_more,
        "exports": exports,
        "freed by exporting": freed,
        "at most": max(weights + states + one_more, weights + states + exports - freed),
        "when all is exported": weights + states + exports - freed,
    }


def communication_seconds(
    machine: Machine, shard_ranks: int, parameters: int, trained: int, element: int, zero: Zero | None
) -> float:
    """Seconds that one micro-batch's traffic takes at the links' nominal speed; 0 on one rank, or if none is known.

    A ring is as fast as its slowest link: a node's network where a copy of the model spans nodes. Under hybrid
    sharding within a node, nodes exchange their float32 gradients only.
    """
    within, across = machine.link_gb_s, machine.network_gb_s
    spans_nodes = shard_ranks > machine.devices
    slowest = min(link for link in (within, across) if link) if spans_nodes and across else within
    traffic = traffic_bytes(parameters, trained, shard_ranks, element, zero)
    seconds = traffic / (slowest * 1e9) if slowest else 0.0
    if machine.nodes > 1 and not spans_nodes and across:
        copies = machine.ranks // shard_ranks
        seconds += 2 * MASTER * trained * (copies - 1) / copies / (across * 1e9)
    return seconds
