"""The default engine: torch's FSDP2 (`fully_shard`) with torch.distributed.checkpoint.

The same code runs on one rank and many, on CPU (gloo) and GPU (nccl); a checkpoint written by N ranks loads on M.
Its calls are those of engines.Engine.
"""

import pickle
import warnings
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard
from transformers import PreTrainedModel

from pretrain.guard import Guard
from pretrain.loader import Batch
from pretrain.memory import shard_dimension
from pretrain.objective import Objective, evaluate_logits, evaluate_loss, parameter_groups, prepare_layers
from pretrain.recipe import Settings
from snakmodel.config import BadInput

warnings.filterwarnings("ignore", module="torch.distributed.checkpoint")  # says that gloo on CPU is gloo on CPU


class FsdpEngine:
    """A model sharded over the ranks with its AdamW; parameters, gradients and moments stay in float32."""

    def __init__(self, model: PreTrainedModel, device: torch.device, s: Settings) -> None:
        self.model, self.device, self.settings = model, device, s
        bfloat16 = s.precision == "bfloat16"
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if bfloat16 else None, reduce_dtype=torch.float32 if bfloat16 else None
        )
        self.mesh = make_mesh(device.type, s.shard_ranks)
        weights = model.state_dict() if dist.get_rank() == 0 else {}  # the other ranks have only their shape
        sharing = self.mesh.size(-1)
        options: dict[str, Any] = {"mesh": self.mesh, "mp_policy": policy}
        options["shard_placement_fn"] = lambda parameter: Shard(shard_dimension(tuple(parameter.shape), sharing))
        layers = [layer for layer in prepare_layers(model, s) if count(layer) >= s.shard_from]
        for layer in layers:
            fully_shard(layer, **options)
        self.objective: Any = Objective(model, s.cross_entropy, s.loss_chunk)
        fully_shard(self.objective, **options)  # embedding, last norm and head, and small layers: one group
        self.groups = len(layers) + 1
        self.objective.to(device)
        if dist.get_world_size() > 1:
            from_first = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
            set_model_state_dict(model, weights, options=from_first)
        groups = parameter_groups(model, s.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(s.beta1, s.beta2), eps=s.epsilon, fused=True)
        # a save must not wait for, nor mix with, the messages of a step: each half of it has a group of its own
        self.saving = [dist.new_group(backend="gloo") for _ in range(2)] if s.asynchronous_saving else []
        self.check()

    def check(self) -> None:
        """Asserts that what was asked for is what was built: sharded parameters, in float32, over all ranks."""
        for name, parameter in self.model.named_parameters():
            assert isinstance(parameter, DTensor) and parameter.dtype == torch.float32, f"{name}: {type(parameter)}"
            assert parameter.device_mesh.size() == dist.get_world_size(), f"{name}: {parameter.device_mesh}"

    def describe(self) -> str:
        """What was really built, to print at the start."""
        s, parameter = self.settings, next(self.model.parameters())
        assert isinstance(parameter, DTensor)
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        where = " x ".join(
            f"{size} {name}" for size, name in zip(self.mesh.shape, self.mesh.mesh_dim_names or (), strict=True)
        )
        return (
            f"FSDP2 over {dist.get_world_size()} rank(s) on {self.device.type} ({where}): {count(self.model):,} "
            f"parameters in {self.groups} group(s), {trained:,} trained, {type(parameter).__name__} "
            f"{parameter.dtype}, {s.precision} computation, checkpointing {s.activation_checkpointing}, "
            f"{'compiled' if s.compile else 'not compiled'}, {s.cross_entropy} loss, "
            f"{'asynchronous' if self.saving else 'synchronous'} saving"
        )

    def step(self, batch: Batch, rate: float, guard: Guard) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One optimiser step; its results stay on the device, so that the host does not wait for them."""
        s = self.settings
        self.objective.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = torch.zeros((), device=self.device)
        pieces = len(batch.inputs_BT) // s.micro_batch
        for number, piece in enumerate(batch.pieces(s.micro_batch, self.device), 1):
            self.objective.set_requires_all_reduce(number == pieces)  # hybrid: copies exchange gradients once a step
            part = self.objective(*piece) / batch.targets_BT.numel()
            part.backward()
            loss += part.detach()
        dist.all_reduce(loss)
        loss /= dist.get_world_size()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.gradient_clip)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        skipped = guard.refuses(loss, norm)
        # what GradScaler uses to have AdamW leave everything as it is, without asking the device
        self.optimizer.grad_scale, self.optimizer.found_inf = None, skipped  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm, skipped

    def summed_loss(self, batches: Iterable[Batch]) -> torch.Tensor:
        """The sum of the loss over all ranks' batches, nats. Every rank must bring as many."""
        total = evaluate_loss(self.objective, batches, self.settings.micro_batch, self.device)
        self.objective.reshard()  # the outermost group stays gathered otherwise, for a backward pass
        return total

    def logits(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Logits of the live model, float32 on the CPU, shape [batch, length, vocabulary]. Every rank must call it."""
        logits_BTV = evaluate_logits(self.objective, tokens_BT, self.device)
        self.objective.reshard()
        return logits_BTV

    def checkpoint_bytes(self) -> int:
        """Bytes that all ranks together write for one checkpoint: the weights and AdamW's two moments."""
        return sum(p.numel() * 4 * (3 if p.requires_grad else 1) for p in self.model.parameters())

    def save(self, folder: Path, with_optimizer: bool) -> list["Future[Any]"]:
        """Writes every rank's shards beneath folder/model and folder/optimizer; what to wait for, if anything.

        An asynchronous save has copied everything when it returns: training may go on.
        """
        parts: dict[str, dict[str, Any]] = {"model": get_model_state_dict(self.model)}
        if with_optimizer:
            parts["optimizer"] = get_optimizer_state_dict(self.model, self.optimizer)
        if not self.saving:
            for name, state in parts.items():
                dcp.save({name: state}, checkpoint_id=folder / name)
            return []
        return [
            dcp.async_save({name: state}, checkpoint_id=folder / name, process_group=group)  # type: ignore[misc]
            for (name, state), group in zip(parts.items(), self.saving, strict=False)
        ]

    def load(self, folder: Path) -> None:
        """Loads what save() wrote, whatever number of ranks wrote it."""
        model_state = {"model": get_model_state_dict(self.model)}
        optimizer_state = {"optimizer": get_optimizer_state_dict(self.model, self.optimizer)}
        try:
            dcp.load(model_state, checkpoint_id=folder / "model")
            dcp.load(optimizer_state, checkpoint_id=folder / "optimizer")
        except (dcp.api.CheckpointException, EOFError, pickle.UnpicklingError, RuntimeError, ValueError) as error:
            raise BadInput(
                f"{folder}: unreadable checkpoint ({str(error).splitlines()[0]}); delete it to resume"
            ) from None
        set_model_state_dict(self.model, model_state["model"])
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        set_optimizer_state_dict(self.model, self.optimizer, optim_state_dict=optimizer_state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(own)  # a branch has settings of its own


def count(module: torch.nn.Module) -> int:
    """How many parameters a module has."""
    return sum(parameter.numel() for parameter in module.parameters())


def make_mesh(device: str, shard_ranks: int | None) -> DeviceMesh:
    """All ranks share one copy of the model; hybrid: groups of `shard_ranks` hold a copy each (Zhao et al. 2023)."""
    ranks = dist.get_world_size()
    if shard_ranks is None or shard_ranks == ranks:
        return init_device_mesh(device, (ranks,), mesh_dim_names=("sharding",))
    if ranks % shard_ranks:
        raise BadInput(f"pretrain.shard_ranks {shard_ranks} does not divide the {ranks} ranks; a node's are usual")
    return init_device_mesh(device, (ranks // shard_ranks, shard_ranks), mesh_dim_names=("copies", "sharding"))
