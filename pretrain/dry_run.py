"""A few steps of the real training loop, on random weights and tokens, in a folder that is thrown away afterwards."""

import statistics
import subprocess
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pretrain.machines import Machine, device_facts
from pretrain.memory import GIB, MASTER, MOMENT
from pretrain.plan import Study, time_and_energy
from pretrain.recipe import Settings as Recipe
from snakmodel.config import BadInput
from snakmodel.paths import step_name
from snakmodel.records import read_json, read_jsonl, write_json, write_text
from snakmodel.shards import ShardWriter

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = 1_000  # tokens of a made document
SEED = 8446
# what a config says of its tokens and its maker: the loop takes the former from the tokenizer
NOT_SHAPE = (
    "architectures",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "dtype",
    "torch_dtype",
    "transformers_version",
)


def check_devices(machine: Machine) -> None:
    """Refuses to try a plan on another machine than it is for."""
    import torch

    here = torch.cuda.device_count()
    if machine.device.memory_gib is not None and here < machine.devices:
        raise BadInput(
            f"dry_run=true is for the machine itself: {machine.name} has {machine.devices} devices, here are {here}; "
            "try it there, or name the machine that this is"
        )


def train_briefly(study: Study, ranks: int, steps: int, folder: Path) -> dict[str, Any]:
    """Trains `steps` steps with the recipe's own settings, on the disk of `folder`; what was measured."""
    log = folder / "dry-run.log"
    with tempfile.TemporaryDirectory(dir=folder, prefix="dry-run-") as name:
        run = Path(name)
        write_tokens(run, study, steps)
        recipe = {"run_dir": name, "pretrain": changed(short_recipe(study, steps, run))}
        write_text(run / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
        command = ["bash", "runs/pretrain.sh", str(run / "recipe.yaml"), str(ranks)]
        print(f"\ndry run: {steps} steps on {ranks} rank(s), see {log}", flush=True)
        with log.open("w") as file:
            status = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT).returncode
        if status != 0:
            raise BadInput(f"the dry run failed, {reason(log.read_text())}; all it said is in {log}")
        rows = read_jsonl(run / "checkpoints/log.jsonl")
        files = read_json(run / "checkpoints" / step_name(steps) / "run.json")["files"]
    timed = rows[1:]  # the first one compiles, and allocates
    return {
        "steps": steps,
        "ranks": ranks,
        "tokens per second": statistics.median(row["tokens_per_second"] for row in timed),
        "allocated": max((row["memory_gib"] * GIB for row in rows if "memory_gib" in row), default=None),
        "checkpoint bytes": sum(file["bytes"] for file in files.values()),
    }


def reason(output: str) -> str:
    """Why training failed, in a few words."""
    if "out of memory" in output.lower():
        return "out of memory: the plan says which settings need less"
    lines = [line for line in output.splitlines() if "rror" in line] or output.splitlines() or ["with no word"]
    return lines[-1].removeprefix("error: ")


def short_recipe(study: Study, steps: int, run: Path) -> Recipe:
    """The recipe with the same computation, from random weights, on made tokens, and nothing to watch."""
    shape = {key: value for key, value in study.config.to_diff_dict().items() if key not in NOT_SHAPE}
    return replace(
        study.recipe,
        init_from=None, branch_from=None, config={},
        architecture={"model_type": study.config.model_type, **shape, "vocab_size": study.config.vocab_size},
        tokenizer=str(run / "tokenizer"),
        steps=steps, tokens=None, shares={}, replay=None, max_epochs=None,
        schedule="cosine", warmup_steps=0, anneal_steps=0,
        save_every=steps, validate_every=0, validation={}, log_every=1,
        profile_step=0, tensorboard=False, wandb=None,
    )  # fmt: skip


def changed(recipe: Recipe) -> dict[str, Any]:
    """The settings that differ from their defaults."""
    values = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    plain = Recipe(tokenizer=recipe.tokenizer)
    return {name: value for name, value in values.items() if name == "tokenizer" or value != getattr(plain, name)}


def write_tokens(run: Path, study: Study, steps: int) -> None:
    """Shards of random tokens, as many as the steps read, and a tokenizer that stands for the model's."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(run / "tokenizer")
    r, random = study.recipe, np.random.default_rng(SEED)
    lengths = {"train": r.global_batch * r.sequence_length * steps + 1, "validation": 2 * r.sequence_length + 1}
    for name, length in lengths.items():
        with ShardWriter(run / "shards/made" / name, study.config.vocab_size) as writer:
            for start in range(0, length, DOCUMENT):
                writer.write(random.integers(3, study.config.vocab_size, min(DOCUMENT, length - start)).tolist())
            writer.finish()
    write_json(run / "shards/run.json", {"made": "random tokens"})


def correct(plan: dict[str, Any], machine: Machine, measured: dict[str, Any]) -> dict[str, Any]:
    """Prediction and measurement side by side, and hours and energy by what was measured."""
    import torch  # only now: the ranks needed the whole device

    model, rate = plan["model"], measured["tokens per second"] / measured["ranks"]
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    facts = device_facts(name)
    return {
        "steps": measured["steps"],
        "ranks": measured["ranks"],
        "device": facts["name"] if facts else name,
        "planned device": machine.device.name,
        "compared": {
            "tokens per second and device": {
                "predicted": plan["speed"]["tokens per second and device"],
                "measured": rate,
            },
            "allocated, GiB": {
                "predicted": plan["memory"]["allocated"] / GIB,
                "measured": measured["allocated"] / GIB if measured["allocated"] else None,
            },
            "a checkpoint, GB": {
                "predicted": (MASTER * model["parameters"] + MOMENT * model["trained"]) / 1e9,
                "measured": measured["checkpoint bytes"] / 1e9,
            },
        },
        "corrected": time_and_energy(plan["run"]["tokens"], rate, machine, plan["time"]["kg CO2eq per kWh"]),
    }
