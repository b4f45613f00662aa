"""A Hugging Face folder of the Llama or Mistral kind as one GGUF file, which llama.cpp and what is built on it read.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Written one tensor at a time: memory holds the
largest one, not the model.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors import safe_open
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from snakmodel.config import BadInput
from snakmodel.models import load, load_tokenizer
from snakmodel.records import write_beside

Kind = Literal["gguf-f16", "gguf-q8_0", "gguf-q4_0"]
KINDS = {  # how matrices are stored: their type, and the number that llama.cpp knows such a file by
    "gguf-f16": (Type.F16, gguf.LlamaFileType.MOSTLY_F16),
    "gguf-q8_0": (Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "gguf-q4_0": (Type.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
BLOCK = 32  # numbers of a row that share a scale, in Q8_0 and Q4_0
# llama.cpp cuts text by its own code, under the name of a tokenizer that does the same
PRE_TOKENIZERS = {
    None: "gpt-2",  # the one that is built into the ByteLevel of `tokenizers`
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"  # Llama 3's
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "llama-bpe",
}


def write_gguf(folder: Path, path: Path, kind: Kind, name: str) -> dict[str, int]:
    """Writes `path`; returns how many tensors have each type. Raises BadInput for what llama.cpp would read wrongly.

    Matrices are stored as `kind`, or as F16 where a row is no multiple of a block; vectors as F32.
    """
    config, tokenizer = load(AutoConfig, folder), load_tokenizer(folder)
    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    add_architecture(writer, config, str(folder))
    add_tokenizer(writer, tokenizer, config.vocab_size)
    writer.add_name(name)
    writer.add_file_type(KINDS[kind][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    types: dict[str, Type] = {}
    for tensor, shape in tensor_shapes(folder, config).items():
        types[tensor] = type_of(shape, kind)
        stored = gguf.quant_shape_to_byte_shape(shape, types[tensor])
        size = int(np.prod(stored))
        writer.add_tensor_info(tensor, stored, np.dtype(np.uint8), size, raw_dtype=types[tensor])
    with write_beside(path) as temporary:
        writer.write_header_to_file(temporary)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor, values in read_tensors(folder, config):
            writer.write_tensor_data(store(values, types[tensor], f"{folder}: {tensor}"))
        writer.close()
    return {each.name: list(types.values()).count(each) for each in sorted(set(types.values()))}


def type_of(shape: list[int], kind: Kind) -> Type:
    """How a tensor of this shape is stored."""
    if len(shape) == 1:
        return Type.F32
    return Type.F16 if shape[-1] % BLOCK else KINDS[kind][0]


def store(values: np.ndarray, type: Type, name: str) -> np.ndarray:
    """A float32 tensor in a type, as bytes; refuses one that the type cannot hold."""
    with np.errstate(over="ignore"):
        stored = gguf.quantize(values, type)
        if not np.isfinite(stored if type in (Type.F16, Type.F32) else values).all():
            raise BadInput(
                f"{name} reaches {np.abs(values).max():.3g}, more than {type.name} can hold; leave the form out"
            )
    return stored.view(np.uint8)


def add_architecture(writer: gguf.GGUFWriter, config: Any, name: str) -> None:
    """What llama.cpp builds the model by. Mistral is to it a Llama."""
    if config.model_type not in ("llama", "mistral"):
        raise BadInput(f"{name}: GGUF is written for llama and mistral, not {config.model_type}; leave its forms out")
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False) or config.hidden_act != "silu":
        raise BadInput(
            f"{name}: GGUF is written for models without biases and with hidden_act silu; leave its forms out"
        )
    rope = config.rope_parameters
    if rope["rope_type"] not in ("default", "llama3"):  # llama3: factors in a tensor, see read_tensors
        raise BadInput(f"{name}: GGUF is written for rope_type default and llama3, not {rope['rope_type']}")
    # llama.cpp's Llama attends to all that came before: where Mistral's window ends, so does what it computes alike
    writer.add_context_length(getattr(config, "sliding_window", None) or config.max_position_embeddings)
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head_size(config))
    writer.add_key_length(head_size(config))
    writer.add_value_length(head_size(config))
    writer.add_rope_freq_base(rope["rope_theta"])


def head_size(config: Any) -> int:
    """Numbers in a head's queries."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def tensor_shapes(folder: Path, config: Any) -> dict[str, list[int]]:
    """llama.cpp's name -> shape, in the order of read_tensors."""
    shapes = {}
    for tensor, file, name in placed(folder, config):
        with safe_open(file, framework="pt") as weights:
            shapes[tensor] = weights.get_slice(name).get_shape()
    if config.rope_parameters["rope_type"] == "llama3":
        shapes["rope_freqs.weight"] = [head_size(config) // 2]
    return shapes


def read_tensors(folder: Path, config: Any) -> Iterator[tuple[str, np.ndarray]]:
    """llama.cpp's name and its values in float32, one tensor after the other."""
    for tensor, file, name in placed(folder, config):
        with safe_open(file, framework="pt") as weights:
            values = weights.get_tensor(name).float().numpy()
        if name.endswith("q_proj.weight"):
            values = interleave(values, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            values = interleave(values, config.num_key_value_heads)
        yield tensor, values
    if config.rope_parameters["rope_type"] == "llama3":
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        size = head_size(config)
        plain = config.rope_parameters["rope_theta"] ** -(torch.arange(0, size, 2).double() / size)
        yield "rope_freqs.weight", (plain / scaled).float().numpy()


def placed(folder: Path, config: Any) -> list[tuple[str, Path, str]]:
    """llama.cpp's name, file and own name of every tensor; refuses one that llama.cpp does not know."""
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    out = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            names = sorted(weights.keys())
        for name in names:
            tensor = known.get_name(name, try_suffixes=(".weight",))
            if tensor is None:
                raise BadInput(f"{file}: llama.cpp's Llama has no tensor like {name}; leave the GGUF forms out")
            out.append((tensor, file, name))
    return out


def interleave(rows: np.ndarray, heads: int) -> np.ndarray:
    """The rows of queries or keys [heads * size, inputs] as llama.cpp rotates them.

    It turns neighbours (0 and 1, 2 and 3, ...) by one angle (Su et al. 2021, RoFormer), transformers number i of a
    head's first half and number i of its second.
    """
    size, inputs = rows.shape[0] // heads, rows.shape[1]
    return rows.reshape(heads, 2, size // 2, inputs).swapaxes(1, 2).reshape(rows.shape)


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, rows: int) -> None:
    """The vocabulary and the chat template. Of `rows` tokens those that the tokenizer lacks are marked unused."""
    library = json.loads(tokenizer.backend_tokenizer.to_str())
    model = library["model"]
    added = {token["id"]: token for token in library["added_tokens"]}
    names = {id: name for name, id in tokenizer.get_vocab().items()}
    if len(names) > rows or model["type"] != "BPE":
        raise BadInput(
            f"{tokenizer.name_or_path}: GGUF is written for BPE tokenizers of at most the model's {rows:,} tokens, "
            f"not for {model['type']} with {len(names):,}; leave its forms out"
        )
    tokens = [names.get(id, f"[unused {id}]") for id in range(rows)]
    types = [token_type(id, names.get(id), added.get(id), tokenizer) for id in range(rows)]
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    if model["byte_fallback"]:  # SentencePiece's, as Llama-2's
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        # it joins the two neighbours that make the piece with the highest score: the one whose merge comes first
        scores: dict[str, float] = {}
        for place, (left, right) in enumerate(merges):
            scores.setdefault(left + right, -float(place))
        writer.add_token_list(tokens)
        writer.add_token_scores([scores.get(token, -float(len(merges))) for token in tokens])
        writer.add_token_types(types)
        writer.add_add_space_prefix(opens_with_space(tokenizer))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre_tokenizer_name(library["pre_tokenizer"], tokenizer.name_or_path))
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    for token, add in (
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if token is not None:
            add(token)
    writer.add_add_bos_token(True)  # every text begins with it: in training, prompting and scoring
    writer.add_add_eos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def token_type(id: int, name: str | None, added: dict[str, Any] | None, tokenizer: Any) -> gguf.TokenType:
    """What llama.cpp takes a token for."""
    if name is None:
        return gguf.TokenType.UNUSED
    if id == tokenizer.unk_token_id:
        return gguf.TokenType.UNKNOWN
    if added is not None:
        return gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    is_byte = len(name) == 6 and name.startswith("<0x") and name.endswith(">")
    return gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL


def opens_with_space(tokenizer: Any) -> bool:
    """Whether a text's first word gets a space before it; in a chat, whether what follows a special token does.

    llama.cpp knows only both or neither, tokenizers may do one of them: then what the model is for decides.
    """
    text = f"{tokenizer.bos_token}a" if tokenizer.chat_template else "a"
    return "▁" in "".join(tokenizer.tokenize(text, add_special_tokens=False))


def pre_tokenizer_name(pre_tokenizer: dict[str, Any] | None, name: str) -> str:
    """llama.cpp's name for how a byte-level tokenizer cuts text before merging."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    patterns = [step["pattern"].get("Regex") for step in steps if step and step["type"] == "Split"]
    byte_level = [step for step in steps if step and step["type"] == "ByteLevel"]
    pattern = patterns[0] if patterns else None
    if len(byte_level) != 1 or len(steps) != len(patterns) + 1 or pattern not in PRE_TOKENIZERS:
        raise BadInput(
            f"{name}: llama.cpp has no name, that we know of, for how this tokenizer cuts text; leave GGUF out"
        )
    return PRE_TOKENIZERS[pattern]
