"""The model that training starts from, and the model of a checkpoint."""

import fnmatch
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PretrainedConfig, PreTrainedModel

from pretrain.recipe import Settings
from snakmodel.config import BadInput
from snakmodel.models import load, load_model, load_tokenizer
from snakmodel.settings import nearest

warnings.filterwarnings("ignore", module="torch.distributed.checkpoint")  # says that one process is one process


def build_model(s: Settings, parent: str | None) -> PreTrainedModel:
    """A float32 causal language model on the CPU: `parent`, its vocabulary lengthened, or a new one, seeded."""
    if parent is None:
        model = new_model(s)
    else:
        check_names("config", s.config, load(AutoConfig, parent).to_dict())
        model = load_model(parent, dtype=torch.float32, **s.config)
        lengthen_vocabulary(model, s, parent)
    freeze(model, s.frozen)
    return model


def share_model(s: Settings, parent: str | None, resumed: Path | None) -> PreTrainedModel:
    """build_model() on the first rank; on the others its shape, with weights that the engine fetches from the first.

    So a machine's memory holds the whole model once. resumed: folder of the config of a run that goes on; then all
    ranks have the shape only, and the engine loads a checkpoint.
    """
    shared: list[Any] = [None]
    model = None
    if dist.get_rank() == 0:
        try:
            if resumed is None:
                model = build_model(s, parent)
            shared = [model.config if model else AutoConfig.from_pretrained(str(resumed))]
        except BadInput as error:
            shared = [error]
    dist.broadcast_object_list(shared)
    if isinstance(shared[0], BadInput):
        raise shared[0]
    return model or empty_model(shared[0], s.frozen)


def empty_model(config: PretrainedConfig, frozen: list[str]) -> PreTrainedModel:
    """A float32 model on the CPU whose buffers are right and whose weights mean nothing.

    Memory that is never written is never taken.
    """
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model._apply(lambda tensor: torch.empty_like(tensor, device="cpu") if tensor.is_meta else tensor)
    model.tie_weights()
    freeze(model, frozen)
    return model


def new_model(s: Settings) -> PreTrainedModel:
    """A model from scratch, of the recipe's architecture, with the architecture's own initial weights."""
    assert s.architecture is not None
    tokenizer = load_tokenizer(s.tokenizer)
    known = AutoConfig.for_model(s.architecture.get("model_type", "llama")).to_dict() | {"rope_theta": None}
    check_names("architecture", s.architecture, known)
    given = {"vocab_size": size_of(tokenizer), **s.architecture}
    if given["vocab_size"] < size_of(tokenizer):
        raise BadInput(
            f"pretrain.architecture.vocab_size {given['vocab_size']:,} is less than the {size_of(tokenizer):,} tokens "
            f"of {s.tokenizer}; without it, the model has as many rows as the tokenizer tokens"
        )
    try:
        config = AutoConfig.for_model(
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=None, **given
        )
        torch.manual_seed(s.seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise BadInput(f"pretrain.architecture {s.architecture}: {' '.join(str(error).split())}") from None


def check_names(setting: str, given: dict[str, Any], known: dict[str, Any]) -> None:
    """Refuses what is no attribute of a transformers config."""
    for key in given:
        if key not in known:
            raise BadInput(f"pretrain.{setting}.{key} is not a setting; {nearest(key, tuple(known))}")


def lengthen_vocabulary(model: PreTrainedModel, s: Settings, parent: str) -> None:
    """Gives the model an embedding (and a row of the output) for each token that its parent lacks.

    "mean" is Hewitt 2021 (https://nlp.stanford.edu/~johnhew/vocab-expansion.html) without its noise; the mean of the
    parts is Gee et al. 2022 (https://aclanthology.org/2022.emnlp-industry.41). The rows of old tokens stay as they are.
    """
    tokenizer = load_tokenizer(s.tokenizer)
    embeddings: Any = model.get_input_embeddings()
    size, rows = size_of(tokenizer), embeddings.weight.shape[0]
    if size <= rows:
        return
    old = load_tokenizer(parent)
    names, first = tokenizer.get_vocab(), min(rows, size_of(old))  # rows after `first` are padding, and belong to none
    for token, number in sorted(old.get_vocab().items(), key=lambda item: item[1]):
        if names.get(token, number) != number:
            raise BadInput(
                f"pretrain.tokenizer {s.tokenizer}: {token!r} is token {names[token]}, in {parent} it is {number}; "
                "lengthen the parent's own tokenizer (train_tokenizer.extend)"
            )
    torch.manual_seed(s.seed)
    model.resize_token_embeddings(size, mean_resizing=False)
    if s.new_embeddings == "random":
        return
    spelt = {}
    if s.new_embeddings == "parts":
        spell = old.backend_tokenizer.model.tokenize
        spelt = {number: [part.id for part in spell(token)] for token, number in names.items() if number >= first}
    with torch.no_grad():
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            for values in module.parameters():
                values[first:] = values[:first].mean(dim=0)
                for number, parts in spelt.items():
                    if parts:
                        values[number] = values[parts].mean(dim=0)


def size_of(tokenizer: Any) -> int:
    """Rows that a tokenizer's model needs: one more than the largest token."""
    return 1 + max(tokenizer.get_vocab().values())


def freeze(model: PreTrainedModel, patterns: list[str]) -> None:
    """Takes the parameters whose names match out of training; weights that are tied are one parameter of two names."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for pattern in patterns:
        names = fnmatch.filter(parameters, pattern)
        if not names:
            kinds = dict.fromkeys(re.sub(r"\.\d+\.", ".*.", name) for name in parameters)
            raise BadInput(f"pretrain.frozen: no parameter is called {pattern}; {nearest(pattern, tuple(kinds))}")
        for name in names:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise BadInput(f"pretrain.frozen {patterns} leaves no parameter to train; take a pattern out")


def assemble_model(checkpoint: Path, config: Path) -> PreTrainedModel:
    """The model of a checkpoint, whole and in float32 on the CPU, whatever number of ranks wrote it."""
    with torch.device("meta"):  # no time is spent on random weights
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config), dtype=torch.float32)
    state = {name: torch.empty_like(tensor, device="cpu") for name, tensor in model.state_dict().items()}
    try:
        dcp.load({"model": state}, checkpoint_id=checkpoint / "model", no_dist=True)
    except (dcp.api.CheckpointException, EOFError, pickle.UnpicklingError, RuntimeError) as error:
        raise BadInput(f"{checkpoint}: unreadable checkpoint ({str(error).splitlines()[0]})") from None
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    if (config / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(config)  # the parent's own
    return model
