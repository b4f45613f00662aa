"""DeepSpeed's JSON, completed from the recipe.

All of it is DeepSpeed's own (https://www.deepspeed.ai/docs/config-json) and used as it is. What the recipe says as well
may be absent or "auto", as with Hugging Face, and is then the recipe's; where the two differ, it is refused.
"""

import json
from pathlib import Path
from typing import Any

from pretrain.recipe import Settings
from snakmodel.config import BadInput


def zero_config(s: Settings, ranks: int) -> dict[str, Any]:
    """The JSON that `pretrain.deepspeed` names, for so many ranks."""
    assert s.deepspeed is not None
    config = read_config(Path(s.deepspeed))
    if s.shard_ranks is not None:
        raise BadInput(
            f"pretrain.shard_ranks {s.shard_ranks} is of engine fsdp; DeepSpeed's is "
            f"zero_optimization.zero_hpz_partition_size of {s.deepspeed}"
        )
    refuse_others(config, s.deepspeed)
    settle(config, s.deepspeed, "train_batch_size", "global_batch", s.global_batch)
    settle(config, s.deepspeed, "train_micro_batch_size_per_gpu", "micro_batch", s.micro_batch)
    steps = s.global_batch // (s.micro_batch * ranks)
    settle(config, s.deepspeed, "gradient_accumulation_steps", f"global_batch / micro_batch / {ranks} ranks", steps)
    settle(config, s.deepspeed, "gradient_clipping", "gradient_clip", s.gradient_clip)
    settle(config, s.deepspeed, "bf16.enabled", "precision: bfloat16", s.precision == "bfloat16")
    if find(config, "fp16.enabled") not in (None, False, "auto"):
        raise BadInput(f"{s.deepspeed}: fp16.enabled: half precision here is bfloat16; take it out")
    config.pop("fp16", None)
    if "optimizer" in config and str(find(config, "optimizer.type")).lower().endswith(("adam", "adamw")):
        settle(config, s.deepspeed, "optimizer.params.lr", "learning_rate", s.learning_rate)
        settle(config, s.deepspeed, "optimizer.params.betas", "beta1, beta2", [s.beta1, s.beta2])
        settle(config, s.deepspeed, "optimizer.params.eps", "epsilon", s.epsilon)
        settle(config, s.deepspeed, "optimizer.params.weight_decay", "weight_decay", s.weight_decay)
    zero = config["zero_optimization"]
    # Hugging Face makes these of the model's width; without them DeepSpeed takes its own sizes
    config["zero_optimization"] = {key: value for key, value in zero.items() if value != "auto"}
    return config


def read_config(path: Path) -> dict[str, Any]:
    """A JSON file that holds settings."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"pretrain.deepspeed {path}: {error.strerror}; configs/deepspeed has some") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error})") from None
    if not isinstance(config, dict):
        raise BadInput(f"{path}: should hold DeepSpeed's settings, got {type(config).__name__}")
    return config


def refuse_others(config: dict[str, Any], where: str) -> None:
    """Refuses what this engine does not do, or the recipe does in its place."""
    stage = find(config, "zero_optimization.stage")
    if stage not in (1, 2, 3):
        raise BadInput(f"{where}: zero_optimization.stage should be 1, 2 or 3, got {stage!r}")
    if "scheduler" in config:
        raise BadInput(f"{where}: scheduler: the learning rate follows the recipe's pretrain.schedule; take it out")
    if find(config, "bf16.bf16_master_weights_and_grads"):
        raise BadInput(f"{where}: bf16.bf16_master_weights_and_grads true, but master weights are float32; take it out")
    if find(config, "zero_optimization.offload_optimizer.ratio") not in (None, 1):
        raise BadInput(f"{where}: zero_optimization.offload_optimizer.ratio: DeepSpeed keeps half the optimiser's rate")


def find(config: dict[str, Any], dotted: str) -> Any:
    """The value of "section.key"; None where there is none."""
    value: Any = config
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def settle(config: dict[str, Any], where: str, dotted: str, setting: str, value: Any) -> None:
    """Gives "section.key" the recipe's value, or refuses another one that stands there."""
    *sections, key = dotted.split(".")
    for name in sections:
        config = config.setdefault(name, {})
        if not isinstance(config, dict):
            raise BadInput(f"{where}: {name} should hold settings, got {config!r}")
    given = config.get(key, "auto")
    if given != "auto" and given != value:
        raise BadInput(
            f'{where}: {dotted} is {given!r}, the recipe has {setting} {value!r}; "auto" takes the recipe\'s'
        )
    config[key] = value
