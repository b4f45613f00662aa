"""The second engine: DeepSpeed's ZeRO-1, 2 and 3 (Rajbhandari et al. 2020), set up by its own JSON.

Its calls are those of engines.Engine. `optimizer/` of a checkpoint is DeepSpeed's own;
`model/` is as FSDP writes it, so that exports and all other readers do not know which engine trained.
"""

import io
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from deepspeed.utils import logger, safe_get_full_fp32_param, safe_set_full_fp32_param, safe_set_local_fp32_param
from transformers import PreTrainedModel

from pretrain.guard import Guard
from pretrain.loader import Batch
from pretrain.objective import Objective, evaluate_logits, evaluate_loss, parameter_groups, prepare_layers
from pretrain.recipe import Settings
from pretrain.zero_config import zero_config
from snakmodel.config import BadInput
from snakmodel.records import read_json, write_json

warnings.filterwarnings("ignore", module="torch.distributed.checkpoint")  # says that one process is one process

warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed.c10d_logger")  # at each message
QUIET = redirect_stdout(io.StringIO())  # DeepSpeed prints what it does, beside its log

TAG = "state"  # the folder within a DeepSpeed checkpoint
MASTER_WEIGHTS = {  # where each of DeepSpeed's optimisers keeps this rank's part of the float32 weights
    "DeepSpeedZeroOptimizer": "single_partition_of_fp32_groups",  # ZeRO-1 and 2
    "BF16_Optimizer": "fp32_groups_flat_partition",  # ZeRO-1 with bfloat16 weights and float32 gradients
    "DeepSpeedZeroOptimizer_Stage3": "fp32_partitioned_groups_flat",
}


class DeepSpeedEngine:
    """A model with its optimiser, of which ZeRO-1 shards the moments and master weights over the ranks, ZeRO-2 the
    gradients too, and ZeRO-3 the weights too."""

    def __init__(self, model: PreTrainedModel, device: torch.device, s: Settings) -> None:
        self.model, self.device, self.settings = model, device, s
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        self.config = zero_config(s, self.ranks)
        self.stage = self.config["zero_optimization"]["stage"]
        originals = {parameter: parameter.data for parameter in model.parameters()}  # float32; on the first rank
        self.frozen = {p: original for p, original in originals.items() if not p.requires_grad}
        groups = parameter_groups(model, s.weight_decay)
        adamw = torch.optim.AdamW(groups, lr=0.0, betas=(s.beta1, s.beta2), eps=s.epsilon, fused=True)
        precision = torch.bfloat16 if s.precision == "bfloat16" else torch.float32
        self.engine, self.zero, *_ = initialize(
            list(originals) if self.stage == 3 else [],
            precision,
            model=Objective(model, s.cross_entropy, s.loss_chunk),
            optimizer=None if "optimizer" in self.config else adamw,
            model_parameters=groups,
            config=self.config,
            dist_init_required=False,
        )
        prepare_layers(model, s)  # after DeepSpeed has taken down the parameters' names, which this changes
        if s.precision == "bfloat16":  # DeepSpeed made the master weights of rounded ones
            for parameter, original in originals.items():
                if parameter.requires_grad:
                    self.set_master(parameter, original)
        self.engine.basic_optimizer.register_step_pre_hook(self.withhold)
        self.engine.basic_optimizer.register_step_post_hook(self.give_back)
        self.withheld: list[tuple[torch.nn.Parameter, torch.Tensor | None]] = []
        self.check()

    def set_master(self, parameter: torch.nn.Parameter, whole: torch.Tensor) -> None:
        """Sets a parameter's float32 weights to those of the first rank."""
        whole = whole.to(self.device)
        dist.broadcast(whole, 0)
        if self.stage < 3:
            safe_set_full_fp32_param(parameter, whole)
            return
        length = parameter.ds_tensor.ds_numel  # type: ignore[attr-defined]
        mine = whole.new_zeros(length)
        part = whole.flatten()[self.rank * length : (self.rank + 1) * length]
        mine[: len(part)] = part
        safe_set_local_fp32_param(parameter, mine)

    def masters(self) -> list[torch.Tensor]:
        """This rank's part of the float32 weights."""
        return list(getattr(self.zero, MASTER_WEIGHTS[type(self.zero).__name__]))

    def check(self) -> None:
        """Asserts that what was asked for is what was built: the ZeRO stage, over all ranks, float32 master weights."""
        assert self.engine.zero_optimization_stage() == self.stage, self.engine.zero_optimization_stage()
        assert self.engine.seq_dp_world_size == dist.get_world_size(), self.engine.seq_dp_world_size
        held, trained = sum(part.numel() for part in self.masters()), self.count(trained=True)
        assert all(part.dtype == torch.float32 for part in self.masters()), [part.dtype for part in self.masters()]
        # what is not even is filled up, at most to a multiple of twice the ranks in each group or parameter
        assert held * self.ranks < trained + 2 * self.ranks * len(list(self.model.parameters())), (held, trained)
        assert all(hasattr(p, "ds_id") == (self.stage == 3) for p in self.model.parameters())

    def count(self, trained: bool = False) -> int:
        """How many parameters there are, or are trained; ZeRO-3's are elsewhere, and look empty."""
        of = [p for p in self.model.parameters() if p.requires_grad or not trained]
        return sum(p.ds_numel if hasattr(p, "ds_numel") else p.numel() for p in of)

    def describe(self) -> str:
        """What was really built, to print at the start."""
        s, sharded = self.settings, ("moments and master weights", "gradients", "weights")[: self.stage]
        return (
            f"DeepSpeed {deepspeed.__version__} ZeRO-{self.stage} over {self.ranks} rank(s) on {self.device.type} "
            f"({s.deepspeed}): {self.count():,} parameters, {self.count(trained=True):,} trained, "
            f"{', '.join(sharded)} sharded, master weights {self.masters()[0].dtype}, "
            f"{type(self.engine.basic_optimizer).__name__}, {s.precision} computation, "
            f"checkpointing {s.activation_checkpointing}, {'compiled' if s.compile else 'not compiled'}, "
            f"{s.cross_entropy} loss, synchronous saving"
        )

    def step(self, batch: Batch, rate: float, guard: Guard) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One optimiser step; DeepSpeed's own steps wait for the device."""
        self.engine.train()
        for group in self.zero.param_groups:
            group["lr"] = rate
        self.guard, self.skipped = guard, torch.full((), torch.nan)  # not asked yet
        self.loss = torch.zeros((), device=self.device)
        for piece in batch.pieces(self.settings.micro_batch, self.device):
            part = self.engine(*piece) / batch.targets_BT.numel()
            self.engine.backward(part, scale_wrt_gas=False)
            self.loss += part.detach()
            if self.engine.is_gradient_accumulation_boundary():
                dist.all_reduce(self.loss)
                self.loss /= self.ranks
            self.engine.step()
        if self.skipped.isnan():  # DeepSpeed saw a gradient that is not finite, and left everything as it was
            assert self.zero.overflow
            self.ask()
        return self.loss, self.norm, self.skipped

    def ask(self) -> None:
        """Asks the guard about the step under way."""
        self.norm = torch.as_tensor(self.zero._global_grad_norm, dtype=torch.float32, device=self.device)
        self.skipped = self.guard.refuses(self.loss, self.norm)

    def withhold(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Before the optimiser's own step: takes the gradients away where the guard refuses.

        DeepSpeed has the gradient's norm by then, and an optimiser leaves alone what has no gradient. (It steps several
        times, a part of the weights each.)
        """
        if self.skipped.isnan():
            self.ask()
        if self.skipped:
            parts = [part for group in optimizer.param_groups for part in group["params"]]
            self.withheld = [(part, part.grad) for part in parts]
            for part in parts:
                part.grad = None

    def give_back(self, *_: Any) -> None:
        """After the optimiser's step: DeepSpeed wants its buffers back."""
        for part, gradient in self.withheld:
            part.grad = gradient
        self.withheld = []

    def summed_loss(self, batches: Iterable[Batch]) -> torch.Tensor:
        """The sum of the loss over all ranks' batches, nats. Every rank must bring as many."""
        return evaluate_loss(self.engine, batches, self.settings.micro_batch, self.device)

    def logits(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Logits of the live model, float32 on the CPU, shape [batch, length, vocabulary]. Every rank must call it."""
        return evaluate_logits(self.engine, tokens_BT, self.device)

    def checkpoint_bytes(self) -> int:
        """Bytes of one checkpoint: the float32 weights twice, the two moments, and the weights as they compute."""
        live = 2 if self.settings.precision == "bfloat16" else 4
        return 4 * self.count() + 12 * self.count(trained=True) + live * self.count()

    def save(self, folder: Path, with_optimizer: bool) -> list["Future[Any]"]:
        """Writes the whole weights beneath folder/model and DeepSpeed's checkpoint beneath folder/optimizer.

        All is written when it returns: there is nothing to wait for.
        """
        weights = self.whole_weights()
        if self.rank == 0:
            dcp.save({"model": weights}, checkpoint_id=folder / "model", no_dist=True)
        del weights
        if with_optimizer:
            self.engine.save_checkpoint(str(folder / "optimizer"), tag=TAG)
            if self.rank == 0:
                write_json(folder / "optimizer/deepspeed.json", self.origin())
        return []

    def origin(self) -> dict[str, Any]:
        """What a DeepSpeed checkpoint depends on."""
        kind = type(self.engine.basic_optimizer).__name__
        return {"ranks": self.ranks, "stage": self.stage, "kind": type(self.zero).__name__, "optimizer": kind}

    @torch.no_grad()
    def whole_weights(self) -> dict[str, torch.Tensor]:
        """The float32 weights on the first rank's CPU, by the model's own names; gathered one after the other."""
        weights = {}
        for name, live in self.model.state_dict(keep_vars=True).items():
            if live.requires_grad:
                whole = safe_get_full_fp32_param(live)
            else:  # a buffer, or frozen: as it came
                whole = self.frozen.get(live, live)
            if self.rank == 0:
                weights[name] = whole.detach().cpu()
        return weights

    def load(self, folder: Path) -> None:
        """Loads what save() wrote; DeepSpeed's own converter is needed where another number of ranks wrote it."""
        origin = read_json(folder / "optimizer/deepspeed.json")
        if {**origin, "ranks": self.ranks} != self.origin():
            raise BadInput(
                f"{folder} was written by ZeRO-{origin['stage']} ({origin['kind']}, {origin['optimizer']}) over "
                f"{origin['ranks']} ranks, {self.settings.deepspeed} makes ZeRO-{self.stage} ({self.origin()['kind']}, "
                f"{self.origin()['optimizer']}): resume with that one, or branch from its export"
            )
        hyperparameters = [{k: v for k, v in g.items() if k != "params"} for g in self.zero.param_groups]
        try:
            if origin["ranks"] == self.ranks:
                with QUIET:
                    self.engine.load_checkpoint(str(folder / "optimizer"), tag=TAG)
            else:
                self.load_converted(folder, origin["ranks"])
            self.load_frozen(folder)
        except (EOFError, pickle.UnpicklingError, RuntimeError, AssertionError, dcp.api.CheckpointException) as error:
            raise BadInput(f"{folder}: unreadable checkpoint ({str(error).splitlines()[0]}); delete it") from None
        # ZeRO-3 gives what was converted the first group's hyperparameters, and one step counter for all parts
        for group, known in zip(self.zero.param_groups, hyperparameters, strict=True):
            group.update(known)
        for state in self.zero.state.values():
            state.update({k: v.clone() for k, v in state.items() if k == "step" and torch.is_tensor(v)})

    def load_converted(self, folder: Path, ranks: int) -> None:
        """Loads a checkpoint of another number of ranks, by way of DeepSpeed's universal form (Lian et al. 2024)."""
        beside = folder.with_name(f"{folder.name}.universal.tmp")  # what is called .tmp goes at the next save
        if self.rank == 0:
            print(f"{folder}: {ranks} ranks wrote it, {self.ranks} read it: converting", flush=True)
            shutil.rmtree(beside, ignore_errors=True)
            command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
            command += ["--input_folder", str(folder / "optimizer" / TAG), "--output_folder", str(beside / TAG)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(done.stdout, done.stderr, file=sys.stderr)
        dist.barrier()
        if not (beside / "latest_universal").is_file():
            raise BadInput(f"{folder}: DeepSpeed cannot convert it; resume over the {ranks} ranks that wrote it")
        logger.setLevel("ERROR")  # else it warns that it knows of no tensor parallelism
        self.engine._config.load_universal_checkpoint = True
        with QUIET:
            self.engine.load_checkpoint(str(beside), tag=TAG)
        self.engine._config.load_universal_checkpoint = False
        logger.setLevel("WARNING")
        dist.barrier()
        if self.rank == 0:
            shutil.rmtree(beside)

    @torch.no_grad()
    def load_frozen(self, folder: Path) -> None:
        """Frozen parameters from the whole weights, which have them in float32."""
        if not self.frozen:
            return
        named = {name: p for name, p in self.model.state_dict(keep_vars=True).items() if p in self.frozen}
        state = {name: self.frozen[parameter] for name, parameter in named.items()}
        dcp.load({"model": state}, checkpoint_id=folder / "model", no_dist=True)
        for name, parameter in named.items():
            with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0, enabled=self.stage == 3):
                parameter.data.copy_(state[name])


def shard_weights(parameters: list[torch.nn.Parameter], config: dict[str, Any], dtype: torch.dtype) -> None:
    """Takes the weights from the first rank and cuts them, one after the other: no rank ever holds all of them.

    DeepSpeed, when it is given a whole model, first copies all of it to each device.
    """
    for parameter in parameters:
        parameter.data = parameter.data.to(dtype)
        if parameter is parameters[0]:
            deepspeed.zero.Init(torch.nn.ParameterList([parameter]), config_dict_or_path=config, dtype=dtype)
        else:
            parameters[0].convert_to_zero_parameters(param_list=[parameter])  # type: ignore[attr-defined]


def initialize(sharded: list[torch.nn.Parameter], precision: torch.dtype, **what: Any) -> tuple[Any, ...]:
    """deepspeed.initialize(), after ZeRO-3's cut of these weights; one line for settings that DeepSpeed refuses."""
    os.environ.setdefault("LOCAL_RANK", "0")  # it asks for that, of a process started by plain python too
    try:
        with QUIET:
            deepspeed.init_distributed(dist_init_required=False)  # takes over the processes' group that there is
            shard_weights(sharded, what["config"], precision)
            return deepspeed.initialize(**what)
    except (ValueError, AssertionError, TypeError) as error:
        raise BadInput(f"DeepSpeed refuses its JSON: {' '.join(str(error).split())}") from error
