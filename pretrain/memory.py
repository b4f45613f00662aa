"""The memory of one rank while it trains, by part and moment. Pure arithmetic: no torch, no files."""

import math
from dataclasses import dataclass
from typing import Any

GIB = 2**30
MOMENT, MASTER = 8, 4  # bytes a parameter: AdamW's two moments, and what is kept in float32


@dataclass(frozen=True)
class Shape:
    """A model's parameters."""

    model_type: str
    parameters: int
    shapes: list[tuple[int, ...]]
    trained_shapes: list[tuple[int, ...]]
    layers: int
    largest_layer: int
    outside: int  # of the layers: embedding, last norm, head
    trained_outside: int
    trained_head: int
    vocabulary: int
    width: int

    @property
    def trained(self) -> int:
        return sum(math.prod(shape) for shape in self.trained_shapes)


@dataclass(frozen=True)
class Activations:
    """Bytes of one layer and one micro-batch."""

    kept: int  # from its forward to its backward pass, its output among them
    working: int  # more, at most, during its backward pass, its gradients among them


def shard_dimension(shape: tuple[int, ...], ranks: int) -> int:
    """The dimension that FSDP2 is told to cut: the first; of few experts over many ranks the second, where it fits."""
    return 1 if len(shape) > 2 and shape[0] % ranks and shape[1] % ranks == 0 else 0


def shard(shapes: list[tuple[int, ...]], ranks: int) -> int:
    """Elements on the first rank; where a dimension does not divide, the first ranks get more."""
    cut = [(shape, shape[shard_dimension(shape, ranks)]) for shape in shapes]
    return sum(math.ceil(size / ranks) * math.prod(shape) // size for shape, size in cut)


def loss_bytes(shape: Shape, tokens: int, element: int, cross_entropy: str, chunk: int) -> int:
    """Bytes of the logits of `tokens` and what the loss makes of them, at most at once.

    A logit is there in the computation's type, in float32 (for bfloat16), and as a log-probability or a gradient.
    """
    logit = element + (4 if element < 4 else 0) + 4
    hidden = tokens * shape.width * element
    if cross_entropy == "whole":
        return tokens * shape.vocabulary * logit
    if cross_entropy == "chunked":
        return min(tokens, chunk) * shape.vocabulary * logit + hidden  # and the gradient of what goes into the head
    # Liger: chunks of about width / vocabulary of the tokens, whose gradient replaces the logits (its
    # ops/fused_linear_cross_entropy.py); gradients of the input and the head's weights are there from the start
    parts = math.ceil(shape.vocabulary / shape.width)
    rows = min(tokens, 2 ** math.ceil(math.log2(max(1, math.ceil(tokens / parts)))))
    return rows * shape.vocabulary * (element + 4) + hidden


def fsdp_states(shape: Shape, shard_ranks: int) -> dict[str, int]:
    """Bytes of a rank between two micro-batches: FSDP2 shards float32 weights, gradients and moments alike."""
    trained = shard(shape.trained_shapes, shard_ranks)
    return {
        "weights": MASTER * shard(shape.shapes, shard_ranks),
        "gradients": MASTER * trained,
        "AdamW's moments": MOMENT * trained,
    }


def fsdp_memory(shape: Shape, layer: Activations, loss: int, ranks: int, element: int) -> dict[str, dict[str, int]]:
    """Bytes of a rank by part, at each of the moments that may be the fullest.

    ranks: that share one copy of the model; element: bytes of a number of the computation. After
    torch/distributed/fsdp/_fully_shard: what is outside the layers stays gathered from the forward to the end of the
    backward pass; there one layer is gathered and the next is on its way, while the float32 gradients of the layer
    before are being reduced. Gradients of earlier micro-batches are there.
    """
    states, head = fsdp_states(shape, ranks), element * shape.trained_head
    in_backward = element * (shape.outside + (2 if ranks > 1 else 1) * shape.largest_layer)  # one rank gathers nothing

    def reduced(parameters: int) -> int:
        return MASTER * (parameters + parameters // ranks)  # what goes in, and this rank's part of what comes out

    return {
        "the loss": {
            **states,
            "gathered weights": element * (shape.outside + shape.largest_layer),
            "gradients on their way": head,
            "activations kept": shape.layers * layer.kept,
            "logits and loss": loss,
        },
        "the last layer's backward pass": {
            **states,
            "gathered weights": in_backward,
            "gradients on their way": head,
            "activations kept": shape.layers * layer.kept,
            "activations of that layer": layer.working,
        },
        "another layer's backward pass": {
            **states,
            "gathered weights": in_backward,
            "gradients on their way": head + reduced(shape.largest_layer),
            "activations kept": (shape.layers - 1) * layer.kept,
            "activations of that layer": layer.working,
        },
        "the last reduction": {
            **states,
            "gathered weights": element * shape.outside,
            "gradients on their way": element * shape.trained_outside + reduced(shape.trained_outside),
        },
    }


@dataclass(frozen=True)
class Zero:
    """What of DeepSpeed's JSON decides about memory."""

    stage: int
    gradient: int  # bytes of a gradient that is being summed up
    bucket: int  # elements that are reduced at once
    buckets: int  # so many at a time
    live: int  # stage 3: gathered elements at once, at most
    group: int  # stage 3: elements that are updated at once
    offload: bool  # the optimiser's states are in the host's memory


def read_zero(content: dict[str, Any], element: int) -> Zero:
    """The settings of a DeepSpeed JSON; what it does not say, or leaves to "auto", is DeepSpeed's default."""
    zero = content.get("zero_optimization", {})

    def number(key: str, default: float) -> int:
        value = zero.get(key, default)
        return int(default if value == "auto" else value)

    stage = number("stage", 0)
    summed = (content.get("data_types") or {}).get("grad_accum_dtype")
    return Zero(
        stage=stage,
        gradient=4 if summed == "fp32" else element,
        bucket=number("reduce_bucket_size", 5e8),
        buckets=2 if zero.get("overlap_comm", stage == 3) else 1,
        live=number("stage3_max_live_parameters", 1e9),
        group=number("sub_group_size", 1e9),
        offload=(zero.get("offload_optimizer") or {}).get("device", "none") != "none",
    )


def zero_memory(
    shape: Shape, layer: Activations, loss: int, ranks: int, element: int, zero: Zero
) -> dict[str, dict[str, int]]:
    """The same for DeepSpeed's ZeRO: stage 1 shards the optimiser, 2 the gradients too, 3 the weights too.

    After deepspeed/runtime/zero/{stage_1_and_2,stage3}.py: weights and gradients in the computation's type, and the
    optimiser's float32 copy of the weights, moments and (while it works) gradients of this rank's part.
    """
    part = shape.trained // ranks + 1
    in_type = shape.parameters // ranks + 1 if zero.stage == 3 else shape.parameters
    summed = part if zero.stage >= 2 else shape.trained
    on_device = 0 if zero.offload else 1
    states = {
        "weights": element * in_type + on_device * MASTER * (part if zero.stage else shape.trained),
        "gradients": zero.gradient * summed,
        "AdamW's moments": on_device * MOMENT * (part if zero.stage else shape.trained),
    }
    gathered = element * min(zero.live, shape.parameters) if zero.stage == 3 else 0
    buckets = zero.buckets * element * min(zero.bucket, shape.trained)
    passing = {**states, "gathered weights": gathered, "gradients on their way": buckets}
    kept = {"activations kept": shape.layers * layer.kept}
    return {
        "the loss": {**passing, **kept, "logits and loss": loss},
        "a layer's backward pass": {**passing, **kept, "activations of that layer": layer.working},
        "the optimiser's step": {
            **states,
            "float32 gradients": on_device * MASTER * (min(part, zero.group) if zero.stage == 3 else part),
        },
    }


def fullest(moments: dict[str, dict[str, int]]) -> tuple[str, dict[str, int]]:
    """The moment that takes most, and its parts."""
    name = max(moments, key=lambda moment: sum(moments[moment].values()))
    return name, moments[name]
