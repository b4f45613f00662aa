"""A model whose matrices are int8, by torchao, as a folder that transformers loads.

Weights only: of each output a scale, and its row in whole numbers. Embeddings and the output layer stay as they are.
Four bits of torchao 0.18 need CUDA to be packed, and on a CPU take eight each: gguf-q4_0 is the form of four bits here.
"""

import importlib.util
from pathlib import Path

from snakmodel.config import BadInput
from snakmodel.models import add_older_keys, load_model, load_tokenizer


def write_int8(source: Path, folder: Path) -> None:
    """Writes the int8 form of the model in `source`. Safetensors, in which torchao's tensors are plain ones.

    torchao is none of the requirements: once installed it speaks up in every script that imports transformers.
    """
    if importlib.util.find_spec("torchao") is None:
        raise BadInput("release.forms: int8 needs torchao; pip install torchao==0.18.0, or leave it out")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    load_model(source, quantization_config=TorchAoConfig(Int8WeightOnlyConfig())).save_pretrained(folder)
    load_tokenizer(source).save_pretrained(folder)
    add_older_keys(folder)
