"""What llama.cpp makes of a GGUF file, as far as it can be told without it: by readers that others wrote."""

import io
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import torch
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from snakmodel.config import BadInput
from snakmodel.models import load

PROTOCOL: Any = sentencepiece_model_pb2  # its classes are made while it is imported


def load_gguf(path: Path, source: Path) -> Any:
    """The model of a GGUF file by transformers' reader, its numbers as float32. source: the folder it was made of."""
    config = load(AutoConfig, path.parent, gguf_file=path.name)
    rope = load(AutoConfig, source).rope_parameters
    if rope["rope_type"] != "default":  # the reader does not know the tensor of llama3's factors
        config.rope_parameters = rope
    options = {"gguf_file": path.name, "config": config, "dtype": torch.float32, "device_map": "auto"}
    with redirect_stderr(io.StringIO()):  # the reader draws a bar, also into logs
        return load(AutoModelForCausalLM, path.parent, **options).eval()


def check_vocabulary(path: Path, tokenizer: Any, texts: list[str]) -> None:
    """Refuses a GGUF file that cuts one of the texts otherwise than the model's tokenizer does."""
    facts = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}
    if facts["tokenizer.ggml.model"] == "llama":
        cut = as_sentencepiece(facts).encode
    else:
        cut = partial(load(AutoTokenizer, path.parent, gguf_file=path.name).encode, add_special_tokens=False)
    opening = tokenizer.bos_token if tokenizer.chat_template else ""  # as in write_gguf: what it is for decides
    for text in (text.strip() for text in texts):  # before a space, llama.cpp puts another one, transformers none
        if any(token in text for token in tokenizer.all_special_tokens):
            continue
        expected = tokenizer.encode(opening + text, add_special_tokens=False)[len(opening) > 0 :]
        if (found := cut(text)) != expected:
            raise BadInput(
                f"{path}: cuts {text[:40]!r} into {len(found)} tokens, the model's tokenizer into {len(expected)}, "
                "or other ones: llama.cpp could not do as it does; leave the GGUF forms out of release.forms"
            )


def as_sentencepiece(facts: dict[str, Any]) -> SentencePieceProcessor:
    """A vocabulary of the kind "llama" as a model of SentencePiece, whose tokenizer llama.cpp imitates."""
    columns = (facts[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type"))
    model = PROTOCOL.ModelProto()
    kinds = model.SentencePiece
    for piece, score, type in zip(*columns, strict=True):
        model.pieces.add(piece=piece, score=score, type=getattr(kinds, gguf.TokenType(type).name))
    model.trainer_spec.model_type = PROTOCOL.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = facts["tokenizer.ggml.add_space_prefix"]
    model.normalizer_spec.remove_extra_whitespaces = False
    return SentencePieceProcessor(model_proto=model.SerializeToString())
