"""What samples.py and prompt.py share: a model with its tokenizer, and one answer from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, knob


@dataclass
class Sampling:
    """How an answer is drawn. The same prompt and seed give the same answer, whatever was asked before."""

    new_tokens: int = knob(40, "longest answer, in tokens", low=1)
    temperature: float = knob(0.8, "divides the logits before sampling; 0 takes the likeliest token", low=0)
    top_p: float = knob(0.95, "sample among the likeliest tokens that hold this much probability", above=0, high=1)
    seed: int = knob(8446, "of the sampling, set anew for every answer", low=0)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder."""
    # transformers takes seconds to import, and a finished stage need not wait for it
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder}: no tokenizer that loads ({str(error).splitlines()[0]}); export it again") from None


def load_model(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a folder, on the accelerator if there is one, in the type that it is stored in."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", local_files_only=True, output_loading_info=True
    )
    model, facts = loaded
    if facts["missing_keys"]:  # transformers has put random numbers in their place
        raise BadInput(f"{folder}: lacks the weights {', '.join(sorted(facts['missing_keys'])[:3])}; export it again")
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    return model.to(device).eval(), load_tokenizer(folder)


def longest_prompt(model: Any, sampling: Sampling) -> int:
    """How many tokens a prompt may have if the answer is to fit into the model's positions too."""
    positions = model.config.max_position_embeddings
    if sampling.new_tokens >= positions:
        raise BadInput(
            f"new_tokens {sampling.new_tokens} leaves no room for a prompt: the model has {positions} positions"
        )
    return positions - sampling.new_tokens


def answer(model: Any, tokenizer: Any, ids: list[int], sampling: Sampling, streamer: Any = None) -> str:
    """The model's continuation of these tokens, without special tokens; a TextStreamer shows it as it comes."""
    import torch

    torch.manual_seed(sampling.seed)
    # top_k 0: the library would otherwise cut at 50 tokens without being asked
    drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    ids_BT = torch.tensor([ids], device=model.device)
    output_BT = model.generate(
        ids_BT,
        attention_mask=torch.ones_like(ids_BT),
        max_new_tokens=sampling.new_tokens,
        pad_token_id=tokenizer.eos_token_id,
        streamer=streamer,
        **(drawn if sampling.temperature > 0 else {"do_sample": False}),
    )
    return tokenizer.decode(output_BT[0, len(ids) :], skip_special_tokens=True)
