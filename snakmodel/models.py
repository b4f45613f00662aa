"""Models and tokenizers from a folder or the Hub; what cannot be loaded is one line.

Scripts import this late, after they know that there is something to do: it imports torch.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from snakmodel.config import BadInput
from snakmodel.hub import refusal
from snakmodel.series import check_weights, split_revision

logging.disable_progress_bar()  # a series of small models would fill the screen with them
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # about its own next version


def load_model(location: str | Path, **options: Any) -> Any:
    """A causal language model in evaluation mode; safetensors only, and whole."""
    if (Path(location) / "config.json").is_file():
        check_weights(Path(location))
    return load_whole(AutoModelForCausalLM, location, **options)


def load_whole(cls: Any, location: str | Path, **options: Any) -> Any:
    """A model in evaluation mode, all of whose weights were there: transformers makes up what is not, at random."""
    model, told = load(cls, location, use_safetensors=True, output_loading_info=True, **options)
    if absent := sorted(told["missing_keys"]):
        first, count = absent[0], len(absent)
        raise BadInput(f"{location}: its weights lack {first}{f' and {count - 1} more tensors' if count > 1 else ''}")
    return model.eval()


def load_tokenizer(location: str | Path) -> Any:
    """A tokenizer that knows where a text begins and ends."""
    if (Path(location) / "config.json").is_file() and not any(Path(location).glob("tokenizer.*")):
        raise BadInput(f"{location} has no tokenizer.json; delete it and run its stage again")  # else: an empty one
    tokenizer = load(AutoTokenizer, location)
    for name in ("bos_token_id", "eos_token_id"):
        if getattr(tokenizer, name) is None:
            raise BadInput(f"tokenizer {location} has no {name}; documents could not be told apart")
    return tokenizer


def load_scorer(location: str | Path) -> tuple[Any, Any]:
    """Model and tokenizer to score texts with: bfloat16 on a GPU where there is one, else float32 on the CPU."""
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    return load_model(location, dtype=dtype).to(device), load_tokenizer(location)


def typical_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Root mean square of two models' logit differences, in standard deviations of `other`; NaN where one has NaN."""
    return float((one - other).square().mean().sqrt() / other.std())


def logit_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest absolute difference of two models' logits, in standard deviations of `other`; NaN where one has NaN."""
    return float((one - other).abs().max() / other.std())


def load(cls: Any, location: str | Path, **options: Any) -> Any:
    """cls.from_pretrained, with one line for a folder or Hub id (ORG/NAME@REVISION) that cannot be loaded."""
    name, revision = split_revision(location)
    try:
        return cls.from_pretrained(name, **options, **({"revision": revision} if revision else {}))
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(refusal(str(location), error) or f"{location}: cannot be loaded ({reason})") from error


def last_state(folder: Path) -> str | None:
    """The newest whole state of the Trainer, which writes trainer_state.json last; cut-off ones are removed."""
    for state in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            json.loads((state / "trainer_state.json").read_text(encoding="utf-8"))
            return str(state)
        except (FileNotFoundError, ValueError):
            shutil.rmtree(state)
    return None
