"""The model that is tuned: its adapters, or all of it.

LoRA: Hu et al. 2021 (arXiv 2106.09685). QLoRA: Dettmers et al. 2023 (arXiv 2305.14314).
"""

import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import BitsAndBytesConfig

from finetune.examples import collate
from finetune.packing import Rows
from snakmodel.config import BadInput
from snakmodel.models import load_model
from snakmodel.older_keys import add_older_keys
from snakmodel.prompts import IGNORED

Method = Literal["lora", "qlora", "full"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]  # SnakModel's eight

warnings.filterwarnings("ignore", module="peft")  # saves no embeddings, whatever it says; tied ones are merge.py's


def load_base(location: str, method: Method, precision: str, where: str) -> Any:
    """The model before it is tuned: frozen for adapters, which stay in float32; whole float32 weights for `full`."""
    if method == "full":
        return load_model(location, dtype=torch.float32)
    if method == "lora":
        return load_model(location, dtype=getattr(torch, precision))
    if not torch.cuda.is_available():
        raise BadInput(f"{where}.method: qlora needs a CUDA device, there is none; take lora")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadInput(f"{where}.method: qlora needs bitsandbytes: pip install bitsandbytes, or take lora")
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    device = {"": int(os.environ.get("LOCAL_RANK", 0))}
    model = load_model(location, quantization_config=four_bits, device_map=device)
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)  # the Trainer sees to that


def lora(base: Any, targets: list[str], rank: int, alpha: float, dropout: float, where: str) -> LoraConfig:
    """LoRA on the matrices of these names, which the base must have."""
    names = ALL if targets == ["all"] else targets
    modules = dict(base.named_modules())
    there = {path.rpartition(".")[2] for path in modules}
    if absent := [name for name in names if name not in there]:
        kinds = {
            p.rpartition(".")[2]: None for p, m in modules.items() if getattr(m, "weight", torch.empty(0)).ndim == 2
        }
        raise BadInput(f"{where}.targets: this model has no {', '.join(absent)}; its matrices are {', '.join(kinds)}")
    return LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names, task_type="CAUSAL_LM")  # type: ignore[arg-type]


def add_adapters(base: Any, targets: list[str], rank: int, alpha: float, dropout: float, where: str) -> Any:
    """The base with new LoRA adapters on the matrices of these names."""
    config = lora(base, targets, rank, alpha, dropout, where)
    try:
        return get_peft_model(base, config)
    except ValueError as error:  # a matrix that no adapter fits on
        raise BadInput(f"{where}.targets {', '.join(targets)}: {str(error).splitlines()[0]}") from None


def project_learnt(model: Any) -> None:
    """From now on the model, given labels, computes logits only at the positions from which one is learnt.

    The output layer is most of a small model's work, and most of a large one's memory beside its weights. Without
    labels nothing changes.
    """
    keep_BT: list[torch.Tensor] = []  # of the batch under way

    def choose(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        keep_BT.clear()
        if kwargs.get("labels") is not None:
            next_BT = kwargs["labels"][:, 1:]
            keep_BT.append(next_BT != IGNORED)
            kwargs["shift_labels"] = next_BT[keep_BT[0]]
        return args, kwargs

    def select(_: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (args[0][:, :-1][keep_BT[0]],) if keep_BT else args

    model.register_forward_pre_hook(choose, with_kwargs=True)
    model.get_output_embeddings().register_forward_pre_hook(select)


@torch.no_grad()
def check_isolation(model: Any, rows: Rows, where: str) -> None:
    """Refuses a model whose conversations see those before them in their row, where they should not."""
    row = next((rows.row(number) for number, members in enumerate(rows.rows) if len(members) > 1), None)
    if row is None:
        return
    first, second = ((ids[:64], labels[:64]) for ids, labels in row[:2])

    def logits(batch: dict[str, Any]) -> torch.Tensor:
        on_device = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "labels"}
        return model(**on_device, use_cache=False).logits[0, -len(second[0]) :].float()

    packed = collate([[first, second]])
    alone, isolated = logits(collate([[second]])), logits(packed)
    seen = logits({"input_ids": packed["input_ids"]})
    if (isolated - alone).abs().max() > 0.1 * (seen - alone).abs().max():  # rounding is far below, sight far above
        raise BadInput(f"{where}.packing: isolated does not isolate conversations in this architecture; take none")


def save(model: Any, tokenizer: Any, folder: Path, method: Method) -> None:
    """Writes the adapters alone (of a model that has them), or the whole model with its tokenizer."""
    if method == "full":
        model.config.use_cache = True  # which training has switched off
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        add_older_keys(folder)
        model.config.use_cache = False
    else:
        model.save_pretrained(folder, save_embedding_layers=False)  # an adapter on lm_head is no reason to copy it
