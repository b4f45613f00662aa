"""What a model is, counted on transformers' own class with fake tensors: no weights, no memory, no GPU.

Parameters are exact. Activations are those of one layer's forward and backward pass as PyTorch would run it without
compiling: every tensor that lives is counted, so no architecture needs a formula of its own.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import StrictDataclassError
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from pretrain.memory import Activations, Shape
from pretrain.models import freeze, size_of
from pretrain.objective import find_layers, recomputation
from pretrain.recipe import Settings as Recipe
from snakmodel.config import BadInput
from snakmodel.models import load_tokenizer
from snakmodel.records import missing
from snakmodel.series import parse_branch, resolve_model


@dataclass
class FakeModel:
    """A model whose tensors have shapes and types but no content."""

    model: Any
    mode: FakeTensorMode
    config: PretrainedConfig


def build_fake(config: PretrainedConfig, dtype: torch.dtype, frozen: list[str]) -> FakeModel:
    """The model of a config, with the parameters of `frozen` taken out of training."""
    if getattr(config, "num_local_experts", None):
        config._experts_implementation = "grouped_mm"  # the loop over experts depends on the tokens' values
    mode = FakeTensorMode()
    with mode:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    freeze(model, frozen)
    return FakeModel(model.train(), mode, config)


def measure_shape(fake: FakeModel) -> Shape:
    """Counts a model's parameters."""
    layers = [list(layer.parameters()) for _, _, layer in find_layers(fake.model)]
    in_layers = {id(p) for layer in layers for p in layer}
    outside = [p for p in fake.model.parameters() if id(p) not in in_layers]
    head = fake.model.get_output_embeddings().weight

    everything = list(fake.model.parameters())
    return Shape(
        model_type=fake.config.model_type,
        parameters=sum(p.numel() for p in everything),
        shapes=[tuple(p.shape) for p in everything],
        trained_shapes=[tuple(p.shape) for p in everything if p.requires_grad],
        layers=len(layers),
        largest_layer=max(sum(p.numel() for p in layer) for layer in layers),
        outside=sum(p.numel() for p in outside),
        trained_outside=sum(p.numel() for p in outside if p.requires_grad),
        trained_head=head.numel() if head.requires_grad else 0,
        vocabulary=head.shape[0],
        width=head.shape[1],
    )


def measure_activations(fake: FakeModel, micro_batch: int, length: int, checkpointing: str) -> Activations:
    """Bytes that a layer keeps until its backward pass, and those that its backward pass needs besides.

    The latter hold the layer's unsharded gradients, as they are before they are reduced. Attention is to the whole
    window: the mask of isolated documents, length x length bytes a sequence, is not counted.
    """
    layer, (hidden, *others), options = call_of_first_layer(fake, micro_batch, length)
    run = checkpointed(partial(layer, **options), checkpointing)

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        out = run(hidden, *others)
        return out[0] if isinstance(out, tuple) else out

    with fake.mode, LiveBytes([*layer.parameters(), *tree_leaves((hidden, others, options))]) as live:
        one = forward(hidden.detach().requires_grad_())
        before = live.now
        two = forward(one)  # a second layer, since what the first gives may or may not be kept by the next
        backward_peak = []
        one.register_hook(lambda _: backward_peak.append(live.peak))
        del one
        after = live.peak = live.now
        two.backward(torch.empty_like(two))
    for parameter in layer.parameters():
        parameter.grad = None
    return Activations(kept=after - before, working=backward_peak[0] - after)


def checkpointed(layer: Callable[..., Any], mode: Any) -> Callable[..., Any]:
    """A layer's forward pass under none, selective or full activation checkpointing."""
    if mode == "none":
        return layer
    return partial(checkpoint, layer, use_reentrant=False, preserve_rng_state=False, **recomputation(mode))


class Reached(Exception):
    """The first layer was called."""


def call_of_first_layer(fake: FakeModel, micro_batch: int, length: int) -> tuple[torch.nn.Module, Any, Any]:
    """The first layer, and the arguments that the model calls it with."""
    (_, _, layer), calls = next(find_layers(fake.model)), []

    def remember(_: Any, arguments: Any, options: Any) -> None:
        calls.append((arguments, options))
        raise Reached

    handle = layer.register_forward_pre_hook(remember, with_kwargs=True)
    try:
        with fake.mode, torch.no_grad():
            fake.model(input_ids=torch.zeros(micro_batch, length, dtype=torch.long), use_cache=False)
    except Reached:
        pass
    finally:
        handle.remove()
    return layer, *calls[0]


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors that live, and the most that did, not counting those that were there before."""

    def __init__(self, before: list[Any]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known = WeakIdKeyDictionary()
        for tensor in before:
            if isinstance(tensor, torch.Tensor):
                self.known[tensor.untyped_storage()] = True

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in self.known:
                storage = tensor.untyped_storage()
                self.known[storage] = True
                self.add(storage.nbytes())
                weakref.finalize(storage, self.add, -storage.nbytes())
        return out

    def add(self, count: int) -> None:
        self.now += count
        self.peak = max(self.peak, self.now)


def find_config(recipe: Recipe, changes: dict[str, Any], where: str) -> PretrainedConfig:
    """The model's config: of the recipe's architecture, or of the parent if that is on this machine.

    `changes` are values that win, for what is not here yet; with model_type they stand for a parent that is not here.
    """
    parent = None if recipe.architecture else find_parent(recipe, "model_type" in changes)
    try:
        if parent is not None:
            config = AutoConfig.from_pretrained(parent, **recipe.config)
        elif recipe.architecture or "model_type" in changes:
            config = AutoConfig.for_model(**(recipe.architecture or {}) | recipe.config | changes)
        else:
            raise BadInput(
                f"{where}: the shape of {recipe.init_from} is not known, as it is not on this machine; give it as "
                "preflight: {architecture: {model_type: llama, ...}}, or fetch the model by pretrain/prefetch.py"
            )
        config.update(changes)
    except (KeyError, TypeError, StrictDataclassError) as error:
        raise BadInput(f"{where}: architecture {changes}: {' '.join(str(error).split())}") from None
    if "vocab_size" in changes or "vocab_size" in (recipe.architecture or {}):
        return config
    if (Path(recipe.tokenizer) / "tokenizer.json").is_file():
        rows = size_of(load_tokenizer(recipe.tokenizer))
        config.vocab_size = rows if recipe.architecture else max(rows, config.vocab_size)  # as build_model does
    elif recipe.architecture:
        raise BadInput(
            f"{where}: tokenizer {recipe.tokenizer} is not here, so the vocabulary is not known; "
            "give preflight: {architecture: {vocab_size: ...}}"
        )
    return config


def find_parent(recipe: Recipe, may_lack: bool) -> Path | None:
    """The folder with the parent's config.json; None: it is not on this machine."""
    if recipe.branch_from is not None:
        folder = parse_branch(recipe.branch_from)[0] / "checkpoints/config"
        if not (folder / "config.json").is_file() and not may_lack:
            raise BadInput(f"pretrain.branch_from {recipe.branch_from}: {missing(folder.parent / 'run.json')}")
        return folder if (folder / "config.json").is_file() else None
    assert recipe.init_from is not None
    try:
        location = resolve_model(recipe.init_from)
    except BadInput:
        if may_lack:
            return None
        raise
    if (Path(location) / "config.json").is_file():
        return Path(location)
    cached = try_to_load_from_cache(location, "config.json")
    return Path(cached).parent if isinstance(cached, str) else None
