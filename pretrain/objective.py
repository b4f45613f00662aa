"""A causal language model with its training loss: the module that an engine shards, compiles and steps.

Shapes: B sequences, T tokens, D width of the model, N = B x T, V vocabulary.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from transformers import PreTrainedModel

from pretrain.loader import Batch
from pretrain.recipe import Settings
from snakmodel.config import BadInput

IGNORED = -100  # a target that counts nothing: padding, or context that is read and not scored
DEAR = {  # what selective checkpointing keeps: dear to compute again, while the rest is cheap
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
}


class Objective(torch.nn.Module):
    """Next-token cross-entropy of `model`, summed over the targets, in nats and float32.

    Chunked: the logits of `chunk` tokens at a time are made, reduced and thrown away, and made again for their
    gradient; for 32,000 tokens of vocabulary that is 0.6 % more arithmetic and a fraction of the memory.
    """

    def __init__(self, model: PreTrainedModel, kind: str, chunk: int) -> None:
        super().__init__()
        self.model, self.kind, self.chunk = model, kind, chunk
        self.fused = liger_loss() if kind == "liger" else None

    def forward(
        self, inputs_BT: torch.Tensor, targets_BT: torch.Tensor | None, positions_BT: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The sum of -log p(target) over all targets but IGNORED ones; without targets, the model's logits [B, T, V].

        positions: where each token stands in its own document; where they restart, attention is cut (None: one text).
        """
        read: dict[str, Any] = {"input_ids": inputs_BT, "use_cache": False}
        if positions_BT is not None:
            read["position_ids"] = positions_BT
        if targets_BT is None:
            return self.model(**read).logits
        if self.kind == "whole" and self.training:  # the model's own: with a mixture of experts' balancing term
            mean = self.model(**read, labels=targets_BT, shift_labels=targets_BT).loss
            return mean.float() * (targets_BT != IGNORED).sum()
        if self.kind == "whole":
            return summed_loss(self.model(**read).logits.flatten(0, 1), targets_BT.flatten())
        hidden_ND = self.model.base_model(**read).last_hidden_state.flatten(0, 1)
        targets_N, head = targets_BT.flatten(), self.model.get_output_embeddings()
        if self.fused is not None:
            return self.fused(head.weight, hidden_ND, targets_N, head.bias)
        if len(targets_N) <= self.chunk:
            return summed_loss(head(hidden_ND), targets_N)
        chunks = zip(hidden_ND.split(self.chunk), targets_N.split(self.chunk), strict=True)
        loss_of = partial(checkpoint, lambda x_ND, y_N: summed_loss(head(x_ND), y_N), use_reentrant=False)
        return torch.stack([loss_of(x_ND, y_N) for x_ND, y_N in chunks]).sum()


class SummedLoss(torch.autograd.Function):
    """Sum of the cross-entropy, nats; the softmax is float32 whatever the logits are.

    Between the passes torch's own keeps the log-probabilities, and in the backward pass makes two more tensors of that
    size; this keeps the logits and a number a token, and makes the gradient of float32 logits in their own memory.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        exact_NV = logits_NV.float()
        # the logarithm of the softmax's denominator; torch.logsumexp takes longer
        normaliser_N = exact_NV[:, 0] - exact_NV.log_softmax(-1)[:, 0]
        own_N = exact_NV.gather(1, targets_N.clamp(min=0)[:, None])[:, 0]
        ctx.save_for_backward(logits_NV, targets_N, normaliser_N)
        return torch.where(targets_N == IGNORED, 0, normaliser_N - own_N).sum()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Softmax less one at the target, of every target that counts."""
        logits_NV, targets_N, normaliser_N = ctx.saved_tensors
        gradient_NV = logits_NV.detach().float().sub_(normaliser_N[:, None]).exp_()
        gradient_NV.scatter_add_(1, targets_N.clamp(min=0)[:, None], normaliser_N.new_full((len(targets_N), 1), -1))
        gradient_NV.mul_(torch.where(targets_N == IGNORED, 0, gradient)[:, None])
        return gradient_NV.to(logits_NV.dtype), None


def summed_loss(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropy over the targets that are not IGNORED, nats."""
    return SummedLoss.apply(logits_NV, targets_N)


@torch.no_grad()
@torch.compiler.set_stance("force_eager")  # other shapes than training's: not worth a compilation each
def evaluate_loss(
    objective: torch.nn.Module, batches: Iterable[Batch], micro_batch: int, device: torch.device
) -> torch.Tensor:
    """The sum of the loss over all ranks' batches, nats. objective: an Objective, or an engine's own wrapping of it."""
    objective.eval()
    total = torch.zeros((), device=device, dtype=torch.float64)
    for batch in batches:
        for piece in batch.pieces(micro_batch, device):
            total += objective(*piece)
    dist.all_reduce(total)
    return total


@torch.no_grad()
@torch.compiler.set_stance("force_eager")
def evaluate_logits(objective: torch.nn.Module, tokens_BT: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Logits, float32 on the CPU, shape [batch, length, vocabulary]. Every rank must call it."""
    objective.eval()
    return objective(tokens_BT.to(device), None).float().cpu()


def recomputation(mode: Literal["selective", "full"]) -> dict[str, Any]:
    """What torch's checkpoint is told: make a whole layer again, or all of it but what is dear."""
    return (
        {"context_fn": partial(create_selective_checkpoint_contexts, selective_policy)} if mode == "selective" else {}
    )


def liger_loss() -> Any:
    """Liger's fused head and cross-entropy (Hsu et al. 2024), a Triton kernel."""
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError:
        raise BadInput("cross_entropy: liger needs a GPU and `pip install liger-kernel`; or take chunked") from None
    return LigerFusedLinearCrossEntropyLoss(ignore_index=IGNORED, reduction="sum")


def prepare_layers(model: PreTrainedModel, s: Settings) -> list[torch.nn.Module]:
    """Checkpoints and compiles every layer as the recipe says; the layers, which are also the units to shard by."""
    layers = []
    for parent, name, layer in find_layers(model):
        if s.activation_checkpointing != "none":
            layer = checkpoint_wrapper(layer, **recomputation(s.activation_checkpointing))
        if s.compile:
            # a layer at a time: one short compilation serves them all; every micro-batch has the same shape
            layer.compile(dynamic=False)
        setattr(parent, name, layer)
        layers.append(layer)
    return layers


def find_layers(model: PreTrainedModel) -> Iterator[tuple[torch.nn.Module, str, torch.nn.Module]]:
    """(parent, name, layer) of every layer, as the architecture names what must not be split."""
    kinds = getattr(model, "_no_split_modules", None) or ()
    found = [(path, module) for path, module in model.named_modules() if type(module).__name__ in kinds]
    assert found, f"{type(model).__name__} names no layer to shard by"
    for path, module in found:
        parent, _, name = path.rpartition(".")
        yield model.get_submodule(parent), name, module


def selective_policy(_context: Any, operation: Any, *_args: Any, **_options: Any) -> CheckpointPolicy:
    """Keep what is dear, make everything else again."""
    return CheckpointPolicy.MUST_SAVE if operation in DEAR else CheckpointPolicy.PREFER_RECOMPUTE


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trained parameters for AdamW: matrices decay, norms and biases do not, as in Llama's run."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
