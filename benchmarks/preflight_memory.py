"""Preflight's memory beside what is really there: bytes of the engine's tensors, torch's simulator, a GPU's peak.

python benchmarks/preflight_memory.py
torchrun --nproc-per-node 2 benchmarks/preflight_memory.py states      # only the engine's tensors, on two ranks
"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
import yaml
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import AutoModelForCausalLM

from pretrain.engine_fsdp import FsdpEngine
from pretrain.guard import Guard
from pretrain.loader import Batch
from pretrain.machines import device_facts, read_machine
from pretrain.memory import GIB, fsdp_states
from pretrain.objective import Objective, prepare_layers
from pretrain.plan import memory_of
from pretrain.preflight import study_model
from pretrain.ranks import Ranks
from pretrain.recipe import Settings
from snakmodel.config import run_script
from snakmodel.records import read_json

ROOT = Path(__file__).resolve().parent.parent
LLAMA = {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32_000}  # the rest is Llama-2-7B's
TOY = {
    "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2,
    "num_attention_heads": 4,
}  # fmt: skip
SEVEN_BILLION = Settings(
    tokenizer="none", architecture=LLAMA, sequence_length=4096, global_batch=8, steps=3, precision="bfloat16"
)
CASES: list[tuple[Literal["none", "selective", "full"], int, Literal["whole", "chunked"]]] = [
    # activation checkpointing, micro-batch, cross-entropy
    ("none", 1, "whole"),
    ("none", 1, "chunked"),
    ("selective", 1, "chunked"),
    ("full", 1, "chunked"),
    ("full", 2, "chunked"),
]


def main() -> None:
    parts = {"states": states, "simulated": simulated, "measured": measured}
    print(f"{'':<62}{'predicted':>16}{'found':>16}{'ratio':>9}")
    for part in sys.argv[1:] or parts:
        parts[part]()


def show(what: str, predicted: float, found: float, unit: str = "") -> None:
    """One line of the table."""
    if int(dist.get_rank() if dist.is_initialized() else 0) == 0:
        form = ",.0f" if not unit else ",.2f"
        print(f"{what:<62}{predicted:>16{form}}{found:>16{form}}{predicted / found:>9.4f} {unit}".rstrip(), flush=True)


def states() -> None:
    """Bytes of weights, gradients and moments of the real engine after a step, on the first rank."""
    s = Settings(
        tokenizer="none", architecture=TOY, sequence_length=32, global_batch=2, steps=1, asynchronous_saving=False
    )
    ranks = Ranks(hang_minutes=5)
    study = study_model(s, {}, "the toy")
    engine = FsdpEngine(AutoModelForCausalLM.from_config(study.config, dtype=torch.float32), ranks.device, s)
    tokens_BT = torch.zeros(1, 32, dtype=torch.long)
    gradients: list[int] = []
    for parameter in engine.model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: gradients.append(local_bytes(p.grad)))
    engine.step(Batch(tokens_BT, tokens_BT, None), 1e-3, Guard(None, [], ranks.device))
    moments = [
        local_bytes(state[key]) for state in engine.optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")
    ]
    weights = [local_bytes(parameter) for parameter in engine.model.parameters()]
    found = {"weights": sum(weights), "gradients": sum(gradients), "AdamW's moments": sum(moments)}
    for name, predicted in fsdp_states(study.shape, ranks.count).items():
        show(f"toy on {ranks.count} rank(s) of {ranks.device.type}: {name}, bytes", predicted, found[name])
    dist.destroy_process_group()


def local_bytes(tensor: torch.Tensor) -> int:
    """What a rank holds of a sharded tensor."""
    assert isinstance(tensor, DTensor), type(tensor)
    return tensor.to_local().nbytes


def simulated() -> None:
    """Peak of a rank of four at 7B, by torch's own simulator: the engine's modules on fake tensors and fake ranks."""
    machine = read_machine("4xA100-40GB", 1)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    for checkpointing, micro_batch, loss in CASES:
        s = replace(SEVEN_BILLION, activation_checkpointing=checkpointing, micro_batch=micro_batch, cross_entropy=loss)
        study = study_model(s, {}, "7B")
        predicted = sum(memory_of(study, machine)[1].values())
        what = f"7B on 4 simulated ranks: {checkpointing}, batch {micro_batch}, {loss} loss"
        show(what, predicted / GIB, simulate(s, study.config) / GIB, "GiB")
    dist.destroy_process_group()


def simulate(s: Settings, config: object) -> int:
    """Bytes at the peak of the second step's forward and backward pass, gradients of the first being there."""
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    with FakeTensorMode():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for layer in prepare_layers(model, s):
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        objective = Objective(model, s.cross_entropy, s.loss_chunk)
        fully_shard(objective, mesh=mesh, mp_policy=policy)
        optimizer = torch.optim.AdamW(objective.parameters(), fused=True)
        tokens_BT = torch.zeros(s.micro_batch, s.sequence_length, dtype=torch.long)
        objective.train()
        objective(tokens_BT, tokens_BT).backward()
        optimizer.step()
        tracker = FSDPMemTracker(objective, optimizer)
        with tracker:
            objective(tokens_BT, tokens_BT).backward()
    (snapshot,) = tracker.get_tracker_snapshot("peak").values()
    return snapshot["Total"]


def measured() -> None:
    """Peak of a GPU at 7B, by a dry run of the loop."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    facts = device_facts(name) if name else None
    if facts is None or facts["memory_gib"] < 110:
        print(f"7B on one GPU, after 3 steps: not run: {'no GPU' if name is None else f'{name} is too small'}")
        return
    for checkpointing, micro_batch, loss in CASES:
        with tempfile.TemporaryDirectory() as folder:
            s: dict[str, Any] = {"architecture": LLAMA, "tokenizer": "none", "precision": "bfloat16"}
            s |= {"sequence_length": 4096, "global_batch": 8, "steps": 100, "warmup_steps": 0}
            s |= {"activation_checkpointing": checkpointing, "micro_batch": micro_batch, "cross_entropy": loss}
            recipe = {"run_dir": folder, "pretrain": s, "preflight": {"machine": "1xH200", "dry_run": True}}
            Path(folder, "recipe.yaml").write_text(yaml.safe_dump(recipe))
            command = [sys.executable, "pretrain/preflight.py", "--config", f"{folder}/recipe.yaml"]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            found = read_json(Path(folder) / "preflight/plan.json")["dry run"]["compared"]["allocated, GiB"]
        what = f"7B on {name}: {checkpointing}, batch {micro_batch}, {loss} loss"
        show(what, found["predicted"], found["measured"], "GiB")


if __name__ == "__main__":
    run_script(main)
