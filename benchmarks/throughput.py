"""Speed and memory of a 7B model on a GPU, each switch of the recipe turned on in turn, beside other trainers.

python benchmarks/throughput.py [RUNG ...] [--ranks N] [--profile]   # without a name: all rungs, in order
python benchmarks/throughput.py --toy [RUNG ...]                     # a toy's shape; without a GPU it is always that

Llama-2-7B's shape with random weights and tokens, length 4096, bfloat16 computation, full AdamW with float32 master
weights, by the engine of pretrain/train.py. Every rung is a process of its own: three steps to warm up, then eight
that are timed while the host waits for none. MFU: 6 N + 12 L H T operations a token (pretrain/costs.py) over the peak
of configs/machines.yaml. Memory: preflight's prediction, and torch's maximum. Waits: of the host, within one step.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.costs import flops_per_token
from pretrain.machines import Device, Machine, device_facts
from pretrain.memory import GIB
from pretrain.plan import memory_of
from pretrain.recipe import Settings
from snakmodel.config import run_script

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ROOT = Path(__file__).resolve().parent.parent
LLAMA_2_7B = {
    "model_type": "llama",
    "vocab_size": 32_000,
    "hidden_size": 4_096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4_096,
    "tie_word_embeddings": False,
}
TOY = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2}
TOY |= {"num_attention_heads": 4, "num_key_value_heads": 4}
PLAIN = {"cross_entropy": "whole", "activation_checkpointing": "full", "micro_batch": 1}
FASTEST = {"compile": True, "activation_checkpointing": "selective"}
RUNGS: dict[str, dict[str, Any]] = {  # what differs from the recipe's defaults
    "plain": PLAIN,
    "chunked-loss": PLAIN | {"cross_entropy": "chunked"},
    "compiled": PLAIN | {"cross_entropy": "chunked", "compile": True},
    "selective": FASTEST,
    "micro-batch-2": FASTEST | {"micro_batch": 2},
    "micro-batch-4": FASTEST | {"micro_batch": 4},
    "micro-batch-4-full": {"compile": True, "activation_checkpointing": "full", "micro_batch": 4},
    "no-recomputation": {"compile": True, "activation_checkpointing": "none"},
    "liger": FASTEST | {"micro_batch": 2, "cross_entropy": "liger"},
    "isolated-documents": FASTEST | {"micro_batch": 2, "isolate_documents": True},
}
TRAINERS: dict[str, dict[str, Any]] = {  # Hugging Face's, by its own names
    "trainer": {"per_device_train_batch_size": 1},
    "trainer-micro-batch-4": {"per_device_train_batch_size": 4},
    "trainer-compiled": {"per_device_train_batch_size": 4, "torch_compile": True},
    "trainer-liger": {"per_device_train_batch_size": 4, "use_liger_kernel": True},
}
SEQUENCES = 8  # of a rank and step
WARM_UP, TIMED = 3, 8
DOCUMENT = 600  # tokens, of isolated documents
ROW = "| {:22} | {:>9} | {:>6} | {:>13} | {:>12} | {:>5} | {}"
HEAD = ("rung", "tokens/s", "MFU", "predicted GiB", "measured GiB", "waits", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rungs", nargs="*", metavar="RUNG", help=f"of {', '.join([*RUNGS, *TRAINERS])}")
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--ranks", type=int, default=1, help="processes, each with a GPU")
    parser.add_argument("--peak-tflops", type=float, help="of a device, where the catalogue lacks it")
    parser.add_argument("--profile", action="store_true", help="list what one more step spends its time on")
    parser.add_argument("--alone", help=argparse.SUPPRESS)  # the rung of this process
    arguments = parser.parse_args()
    if unknown := set(arguments.rungs) - {*RUNGS, *TRAINERS}:
        parser.error(f"no rung {', '.join(sorted(unknown))}; there are {', '.join([*RUNGS, *TRAINERS])}")
    if arguments.alone:
        climb(arguments.alone, arguments)
        return
    print(ROW.format(*HEAD), flush=True)
    for rung in arguments.rungs or [*RUNGS, *TRAINERS]:
        print(ROW.format(rung, *run_alone(rung, arguments)), flush=True)


def run_alone(rung: str, arguments: argparse.Namespace) -> list[str]:
    """The cells of a rung's row, measured in a process of its own, which may fail without harm to the others."""
    if arguments.ranks > 1 and rung in TRAINERS:
        return [*"-----", "is compared on one rank"]
    start = ["-m", "torch.distributed.run", "--nproc-per-node", str(arguments.ranks)] if arguments.ranks > 1 else []
    done = subprocess.run(
        [sys.executable, *start, __file__, *sys.argv[1:], "--alone", rung], cwd=ROOT, capture_output=True, text=True
    )
    told: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        if line.startswith('{"'):
            told |= json.loads(line)
        elif arguments.profile:
            print(line)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["with no word"]
        told["note"] = "out of memory" if "out of memory" in done.stderr.lower() else said[-1][:160]
    formats = {"speed": ",.0f", "mfu": ".1%", "predicted": ".2f", "measured": ".2f", "waits": "d", "note": ""}
    return [format(told[key], form) if told.get(key) is not None else "-" for key, form in formats.items()]


def climb(rung: str, arguments: argparse.Namespace) -> None:
    """Measures a rung."""
    import torch

    gpu, name = torch.cuda.is_available(), torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    toy = arguments.toy or not gpu
    s = Settings(
        "made", architecture=LLAMA_2_7B | TOY if toy else LLAMA_2_7B, sequence_length=128 if toy else 4_096,
        global_batch=SEQUENCES * arguments.ranks, steps=WARM_UP + TIMED, warmup_steps=0, precision="bfloat16",
        asynchronous_saving=False, **RUNGS.get(rung, {}),
    )  # fmt: skip
    tell(note=f"{'toy shape, ' if toy else ''}{arguments.ranks} x {name}, torch {torch.__version__}")
    seconds, operations = time_trainer(s, TRAINERS[rung]) if rung in TRAINERS else time_engine(s, arguments)
    facts = device_facts(name)
    peak = arguments.peak_tflops or (facts["tflops"] if facts else None)
    speed = s.global_batch * s.sequence_length / seconds
    tell(speed=speed, mfu=operations * speed / (peak * 1e12 * arguments.ranks) if peak else None)
    if gpu:
        tell(measured=torch.cuda.max_memory_allocated() / GIB)


def tell(**facts: Any) -> None:
    """Prints what is known as soon as it is: a rung may end for lack of memory."""
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(facts), flush=True)


def time_engine(s: Settings, arguments: argparse.Namespace) -> tuple[float, float]:
    """Seconds of a step by our engine, and operations per token."""
    import torch

    from pretrain.engine_fsdp import FsdpEngine
    from pretrain.guard import Guard
    from pretrain.loader import Batch
    from pretrain.monitor import Mark
    from pretrain.preflight import study_model
    from pretrain.ranks import Ranks

    study = study_model(s, {}, "throughput")
    here = Machine("here", Device("here", *[None] * 5), arguments.ranks, 1, "", None, None, None)
    tell(predicted=sum(memory_of(study, here)[1].values()) / GIB)
    ranks = Ranks(s.hang_minutes)
    model = make_model(s, ranks.device)
    engine, guard = FsdpEngine(model, ranks.device, s), Guard(None, [], ranks.device)
    tokens_BT = torch.randint(study.config.vocab_size, (SEQUENCES, s.sequence_length + 1))
    positions_BT = torch.arange(s.sequence_length).expand(SEQUENCES, -1) % DOCUMENT if s.isolate_documents else None
    batch = Batch(tokens_BT[:, :-1].contiguous(), tokens_BT[:, 1:].contiguous(), positions_BT)
    if ranks.device.type == "cuda":
        batch = batch.each(torch.Tensor.pin_memory)

    def step() -> torch.Tensor:
        return engine.step(batch, s.learning_rate, guard)[0]

    for _ in range(WARM_UP - 1):
        step()
    if ranks.device.type == "cuda":
        tell(waits=count_waits(step))
        torch.cuda.reset_peak_memory_stats()
    else:
        step()
    begun = Mark(ranks.device)
    for _ in range(TIMED):
        loss = step()
    seconds = Mark(ranks.device).since(begun) / TIMED
    assert loss.isfinite(), loss
    if arguments.profile:
        with torch.profiler.profile() as profile:
            step()
        print(profile.key_averages().table(sort_by=f"self_{ranks.device.type}_time_total", row_limit=25))
    torch.distributed.destroy_process_group()
    return seconds, flops_per_token(study.config, study.shape.parameters, s.sequence_length)


def make_model(s: Settings, device: "torch.device") -> "PreTrainedModel":
    """The model with random float32 weights, made where they are to be: on a CPU 7B would take minutes."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    assert s.architecture is not None
    torch.manual_seed(s.seed)
    with device:
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**s.architecture), dtype=torch.float32)


def count_waits(step: Callable[[], Any]) -> int:
    """How often the host waits for the GPU within a step."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        step()
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def time_trainer(s: Settings, options: dict[str, Any]) -> tuple[float, float]:
    """Seconds of a step by Hugging Face's Trainer with mixed precision and its gradient checkpointing."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from pretrain.monitor import Mark

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    marks: list[Mark] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == WARM_UP and device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            if state.global_step in (WARM_UP, WARM_UP + TIMED):
                marks.append(Mark(device))

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=WARM_UP + TIMED, bf16=True, gradient_checkpointing=True, optim="adamw_torch_fused",
            gradient_accumulation_steps=SEQUENCES // options["per_device_train_batch_size"],
            use_cpu=device.type == "cpu", save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
            **options,
        )  # fmt: skip
        model = make_model(s, device)
        tokens_BT = torch.randint(model.config.vocab_size, (SEQUENCES * (WARM_UP + TIMED), s.sequence_length))
        examples = [{"input_ids": row, "labels": row} for row in tokens_BT]
        parameters = sum(p.numel() for p in model.parameters())
        Trainer(model, arguments, train_dataset=examples, callbacks=[Clock()]).train()
    return marks[1].since(marks[0]) / TIMED, flops_per_token(model.config, parameters, s.sequence_length)


if __name__ == "__main__":
    run_script(main)
