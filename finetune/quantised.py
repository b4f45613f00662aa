"""A model whose matrices are int8 or int4, by torchao, as a folder that transformers loads.

Weights only. int8: of each output a scale, and its row in whole numbers. int4: a scale and a zero for 128 of a row's
numbers, packed for CUDA (on a CPU torchao 0.18 would take eight bits for each four). Embeddings and the output layer
stay as they are.
"""

import importlib.util
from pathlib import Path
from typing import Literal

import torch

from snakmodel.config import BadInput
from snakmodel.models import load_model, load_tokenizer
from snakmodel.older_keys import add_older_keys


def write_torchao(source: Path, folder: Path, form: Literal["int8", "int4"]) -> None:
    """Writes such a form of the model in `source`. Safetensors, in which torchao's tensors are plain ones.

    torchao is none of the requirements: once installed it speaks up in every script that imports transformers.
    """
    if form == "int4" and not torch.cuda.is_available():
        raise BadInput("release.forms: int4 is packed for CUDA, and there is no CUDA device; take gguf-q4_0")
    if importlib.util.find_spec("torchao") is None:
        raise BadInput(f"release.forms: {form} needs torchao; pip install torchao==0.18.0, or leave it out")
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    if form == "int8":
        model = load_model(source, quantization_config=TorchAoConfig(Int8WeightOnlyConfig()))
    else:
        packed = TorchAoConfig(Int4WeightOnlyConfig(group_size=128, int4_packing_format="tile_packed_to_4d"))
        model = load_model(source, quantization_config=packed, device_map="auto", dtype=torch.bfloat16)
    model.save_pretrained(folder)
    load_tokenizer(source).save_pretrained(folder)
    add_older_keys(folder)
