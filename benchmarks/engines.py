"""Both engines on the same model, weights and batches, in float32 on the CPU: how far apart they are after some steps.

python benchmarks/engines.py
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from transformers import LlamaConfig, LlamaForCausalLM

from pretrain.engine_deepspeed import DeepSpeedEngine
from pretrain.engine_fsdp import FsdpEngine
from pretrain.guard import Guard
from pretrain.loader import Batch
from pretrain.models import assemble_model
from pretrain.recipe import Settings
from pretrain.schedule import learning_rate
from snakmodel.config import run_script
from snakmodel.records import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
STEPS = 20
LENGTH, BATCH, MICRO_BATCH, VOCABULARY = 64, 8, 2, 2_048


def main() -> None:
    torch.set_num_threads(1)
    print("| AdamW's epsilon | ranks | beside FSDP2 | losses | weights |\n|--|--|--|--|--|", flush=True)
    for epsilon in (1e-8, 1e-6):  # below and above what rounding leaves of a gradient that should be 0
        for ranks in (1, 2):
            for name, (losses, weights) in compare(ranks, STEPS, epsilon=epsilon).items():
                print(f"| {epsilon:.0e} | {ranks} | {name} | {losses:.1e} | {weights:.1e} |", flush=True)


def compare(ranks: int, steps: int, width: int = 128, **changes: Any) -> dict[str, tuple[float, float]]:
    """For ZeRO-1, 2 and 3: largest relative difference from FSDP2 of a step's loss, and of the final weights.

    Of the weights it is |ours - theirs| / |theirs| by the 2-norm, of the tensor where it is largest.
    """
    with tempfile.TemporaryDirectory() as folder:
        processes.spawn(train_each, (ranks, steps, width, folder, changes), nprocs=ranks)
        config = Path(folder, "config")
        found = {name: read_json(Path(folder, f"{name}.json")) for name in ("FSDP2", "ZeRO-1", "ZeRO-2", "ZeRO-3")}
        weights = {name: assemble_model(Path(folder, name), config).state_dict() for name in found}
    losses, expected = found.pop("FSDP2"), weights.pop("FSDP2")
    return {
        name: (
            max(abs(ours - theirs) / theirs for ours, theirs in zip(found[name], losses, strict=True)),
            max(float((weights[name][key] - whole).norm() / whole.norm()) for key, whole in expected.items()),
        )
        for name in found
    }


def train_each(rank: int, ranks: int, steps: int, width: int, folder: str, changes: dict[str, Any]) -> None:
    """One rank: trains the same model with every engine; the first rank writes the losses."""
    store = dist.FileStore(f"{folder}/store", ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    shape: dict[str, Any] = {"tokenizer": "", "steps": steps, "sequence_length": LENGTH, "global_batch": BATCH}
    shape |= {"micro_batch": MICRO_BATCH, "learning_rate": 3e-3, "warmup_steps": 4, "asynchronous_saving": False}
    shape |= {"shard_from": 0}  # every layer by itself, as those of large models are
    for name in ("FSDP2", "ZeRO-1", "ZeRO-2", "ZeRO-3"):
        s = Settings(**shape | changes)
        if name != "FSDP2":
            s.engine, s.deepspeed = "deepspeed", str(ROOT / f"configs/deepspeed/zero{name[-1]}.json")
        model = small_model(width)
        engine = (FsdpEngine if name == "FSDP2" else DeepSpeedEngine)(model, torch.device("cpu"), s)
        losses = [train_step(engine, step, rank, ranks, s) for step in range(1, steps + 1)]
        for future in engine.save(Path(folder, name), with_optimizer=False):
            future.result()
        if rank == 0:
            model.config.save_pretrained(Path(folder, "config"))
            write_json(Path(folder, f"{name}.json"), losses)
    dist.barrier()
    dist.destroy_process_group()


def small_model(width: int) -> LlamaForCausalLM:
    """A Llama of four layers; 1.3 million parameters at a width of 128."""
    torch.manual_seed(8446)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=11 * width // 4, num_hidden_layers=4,
        num_attention_heads=4, max_position_embeddings=LENGTH,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def train_step(engine: FsdpEngine | DeepSpeedEngine, step: int, rank: int, ranks: int, s: Settings) -> float:
    """The loss of a step."""
    generator = torch.Generator().manual_seed(step)
    tokens_BT = torch.randint(VOCABULARY, (BATCH, LENGTH + 1), generator=generator).chunk(ranks)[rank]
    batch = Batch(tokens_BT[:, :-1].contiguous(), tokens_BT[:, 1:].contiguous(), None)
    return float(engine.step(batch, learning_rate(step, s), Guard(None, [], torch.device("cpu")))[0])


if __name__ == "__main__":
    run_script(main)
