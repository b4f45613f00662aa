"""The distributed engine: torch's FSDP2 (`fully_shard`) with torch.distributed.checkpoint.

The same code runs on one rank and many, on CPU (gloo) and GPU (nccl); a checkpoint written by N ranks loads on M.
The loop knows four calls: prepare (the constructor), step, save, load.
"""

import os
import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.functional import cross_entropy

from snakmodel.config import BadInput

if TYPE_CHECKING:
    from pretrain.train import Settings

warnings.filterwarnings("ignore", module="torch.distributed.checkpoint")  # says that gloo on CPU is gloo on CPU


def start_ranks() -> tuple[int, int, torch.device]:
    """Joins the process group that torchrun laid out, or makes a group of one. Returns rank, ranks, device."""
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if ranks == 1:  # started by plain python: a group of one needs no address
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    else:
        dist.init_process_group(backend)
    assert dist.get_world_size() == ranks and dist.get_rank() == rank
    return rank, ranks, device


class FsdpEngine:
    """A model sharded over all ranks with its AdamW; parameters, gradients and moments stay in float32."""

    def __init__(self, model: torch.nn.Module, device: torch.device, s: "Settings") -> None:
        self.device, self.gradient_clip = device, s.gradient_clip
        bfloat16 = s.precision == "bfloat16"
        if s.activation_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        mesh = init_device_mesh(device.type, (dist.get_world_size(),), mesh_dim_names=("data",))
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if bfloat16 else None, reduce_dtype=torch.float32 if bfloat16 else None
        )
        layers = [m for m in model.modules() if type(m).__name__ in (getattr(model, "_no_split_modules", None) or [])]
        assert layers, f"{type(model).__name__} names no layer to shard by"
        for layer in layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(model, mesh=mesh, mp_policy=policy)
        self.model = model.to(device)
        # norms and biases are not decayed, as in Llama's run
        decayed = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
        other = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": s.weight_decay},
            {"params": other, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(s.beta1, s.beta2), eps=s.epsilon, fused=True)

    def describe(self) -> str:
        """What was really built, to print at the start: ranks, sharded or not, dtype."""
        parameter = next(self.model.parameters())
        kind = f"{type(parameter).__name__} {getattr(parameter, 'placements', '')}"
        total = sum(p.numel() for p in self.model.parameters())
        where = f"{dist.get_world_size()} rank(s) on {self.device.type}"
        return f"FSDP2 over {where}: {total:,} parameters, {kind}, {parameter.dtype}"

    def step(self, batch_BT: torch.Tensor, micro_batch: int, rate: float) -> tuple[torch.Tensor, torch.Tensor]:
        """One optimiser step on this rank's part of the global batch, shape [batch, length + 1].

        Returns the loss (nats per token, this rank's mean) and the global gradient norm before clipping; both stay on
        the device, so that the host does not wait for them.
        """
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pieces = batch_BT.to(self.device, non_blocking=True).split(micro_batch)
        losses = []
        for piece in pieces:
            loss = self.loss(piece) / len(pieces)
            loss.backward()
            losses.append(loss.detach())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return torch.stack(losses).sum(), norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def loss(self, windows_BT: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the next token, nats, in float32. windows: [batch, length + 1]."""
        logits_BTV = self.model(input_ids=windows_BT[:, :-1], use_cache=False).logits
        return cross_entropy(logits_BTV.float().flatten(0, 1), windows_BT[:, 1:].flatten())

    @torch.no_grad()
    def logits(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Logits of the live model, float32 on the CPU, shape [batch, length, vocabulary]. Every rank must call it."""
        self.model.eval()
        return self.model(input_ids=tokens_BT.to(self.device), use_cache=False).logits.float().cpu()

    @torch.no_grad()
    def validation_loss(self, windows_BT: torch.Tensor, micro_batch: int) -> float:
        """Mean loss over this rank's validation windows, averaged over the ranks."""
        self.model.eval()
        losses = [self.loss(piece) for piece in windows_BT.to(self.device).split(micro_batch)]
        return self.average(torch.stack(losses).mean())

    def average(self, value: torch.Tensor) -> float:
        """The mean of a scalar over the ranks."""
        value = value.detach().clone()
        dist.all_reduce(value)
        return float(value) / dist.get_world_size()

    def save(self, folder: Path, with_optimizer: bool) -> None:
        """Writes every rank's shards beneath folder/model and folder/optimizer."""
        dcp.save({"model": get_model_state_dict(self.model)}, checkpoint_id=folder / "model")
        if with_optimizer:
            state = get_optimizer_state_dict(self.model, self.optimizer)
            dcp.save({"optimizer": state}, checkpoint_id=folder / "optimizer")

    def load(self, folder: Path) -> None:
        """Loads what save() wrote, whatever number of ranks wrote it."""
        model_state = {"model": get_model_state_dict(self.model)}
        optimizer_state = {"optimizer": get_optimizer_state_dict(self.model, self.optimizer)}
        try:
            dcp.load(model_state, checkpoint_id=folder / "model")
            dcp.load(optimizer_state, checkpoint_id=folder / "optimizer")
        except (dcp.api.CheckpointException, EOFError, pickle.UnpicklingError, RuntimeError) as error:
            raise BadInput(
                f"{folder}: unreadable checkpoint ({str(error).splitlines()[0]}); delete it to resume"
            ) from None
        set_model_state_dict(self.model, model_state["model"])
        set_optimizer_state_dict(self.model, self.optimizer, optim_state_dict=optimizer_state["optimizer"])
