"""GGUF files, read by the format's own library (test_release.py: by transformers): pytest tests/test_gguf.py"""

import gguf
import numpy as np
import pytest
from conftest import LLAMA_TOKENS as VOCABULARY
from conftest import SENTENCES, small_model
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, MistralConfig

from finetune.gguf_check import as_sentencepiece
from finetune.gguf_file import add_architecture, write_gguf
from snakmodel.config import BadInput
from snakmodel.prompts import prompt_ids, set_format

HEADS, KEY_HEADS, HIDDEN = 4, 2, 64
TEXTS = (
    "Rødgrød på Ærø",
    "to  mellemrum   og tre",
    "første linje\nanden linje\n\nfjerde",
    "🦔 pindsvin og 漢字",
    "12 345 kroner",
)
SPACE_FIRST = " begynder med et mellemrum"  # llama.cpp, as SentencePiece, puts another one before it; transformers not


def save_model(folder, tokenizer, **changes):
    """A Llama folder with fewer heads of keys than of queries, and two rows more than its tokenizer has tokens."""
    sizes = {"vocab_size": VOCABULARY + 2, "hidden_size": HIDDEN, "intermediate_size": 96, "num_attention_heads": HEADS}
    small_model(7, **sizes, num_key_value_heads=KEY_HEADS, bos_token_id=1, eos_token_id=2, **changes).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, llama_tokenizer):
    return save_model(tmp_path_factory.mktemp("model"), llama_tokenizer)


def read(path):
    """Metadata, and tensors as name -> type and values in float32, by the format's own library."""
    reader = gguf.GGUFReader(path)
    tensors = {t.name: (t.tensor_type.name, gguf.dequantize(t.data, t.tensor_type)) for t in reader.tensors}
    return {key: field.contents() for key, field in reader.fields.items()}, tensors


def test_the_metadata_is_the_configs(folder, tmp_path):
    counts = write_gguf(folder, tmp_path / "model.gguf", "gguf-f16", "min model")
    facts, tensors = read(tmp_path / "model.gguf")
    expected = {
        "general.architecture": "llama",
        "general.name": "min model",
        "general.file_type": 1,
        "llama.block_count": 2,
        "llama.context_length": 64,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": 96,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KEY_HEADS,
        "llama.rope.dimension_count": HIDDEN // HEADS,
        "llama.rope.freq_base": 10_000.0,
        "llama.vocab_size": VOCABULARY + 2,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
    }
    assert {key: facts[key] for key in expected} == expected
    assert facts["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)
    assert len(tensors) == 2 * 9 + 3 and counts == {"F16": 2 * 7 + 2, "F32": 2 * 2 + 1}


def rows_apart(rows, heads):
    """Rows as llama.cpp has them (pairs of neighbours turn together) as transformers has them (halves do)."""
    out = np.empty_like(rows)
    size = len(rows) // heads
    for head in range(heads):
        for place in range(size // 2):
            out[head * size + place] = rows[head * size + 2 * place]
            out[head * size + size // 2 + place] = rows[head * size + 2 * place + 1]
    return out


@pytest.mark.parametrize(
    "kind, matrix, tolerance",
    [("gguf-f16", "F16", 2**-11), ("gguf-q8_0", "Q8_0", 0.5 / 127 + 2**-11), ("gguf-q4_0", "Q4_0", 0.126)],
)
def test_every_tensor_has_the_models_values_to_the_rounding_of_its_type(folder, tmp_path, kind, matrix, tolerance):
    write_gguf(folder, tmp_path / "model.gguf", kind, "x")
    _, tensors = read(tmp_path / "model.gguf")
    parts = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj"}
    parts |= {"attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    parts |= {f"ffn_{name}": f"mlp.{name}_proj" for name in ("gate", "up", "down")}
    names = {f"blk.{n}.{mine}": f"model.layers.{n}.{theirs}" for n in range(2) for mine, theirs in parts.items()}
    names |= {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}
    weights = load_file(folder / "model.safetensors")
    assert len(names) == len(weights) == len(tensors)
    for mine, theirs in names.items():
        expected = weights[f"{theirs}.weight"].numpy()
        type, values = tensors[f"{mine}.weight"]
        if mine.endswith(("attn_q", "attn_k")):
            values = rows_apart(values, HEADS if "attn_q" in mine else KEY_HEADS)
        assert type == ("F32" if expected.ndim == 1 else matrix) and values.shape == expected.shape
        most = 0 if expected.ndim == 1 else tolerance * np.abs(expected).max()
        assert np.abs(values - expected).max() <= most, mine


def test_the_vocabulary_cuts_texts_as_the_tokenizer_does(folder, tmp_path, llama_tokenizer):
    write_gguf(folder, tmp_path / "model.gguf", "gguf-f16", "x")
    facts, _ = read(tmp_path / "model.gguf")
    pieces = as_sentencepiece(facts)
    for text in (*TEXTS, *SENTENCES):
        assert [1, *pieces.encode(text)] == llama_tokenizer(text).input_ids, text
    assert facts["tokenizer.ggml.tokens"][VOCABULARY:] == ["[unused 400]", "[unused 401]"]
    assert facts["tokenizer.ggml.token_type"][:4] == [2, 3, 3, 6] and facts["tokenizer.ggml.token_type"][-1] == 5


def test_in_a_chat_what_follows_a_special_token_is_cut_as_in_training(folder, tmp_path, llama_tokenizer):
    set_format(llama_tokenizer, "chat")
    chat = save_model(tmp_path / "chat", llama_tokenizer)
    llama_tokenizer.chat_template = None
    write_gguf(chat, tmp_path / "chat.gguf", "gguf-q8_0", "x")
    facts, _ = read(tmp_path / "chat.gguf")
    tokenizer = AutoTokenizer.from_pretrained(chat)
    assert facts["tokenizer.chat_template"] == tokenizer.chat_template
    pieces = as_sentencepiece(facts)
    for text in (*TEXTS, SPACE_FIRST):
        assert [1, *pieces.encode(f"[INST] {text} [/INST]")] == prompt_ids(
            tokenizer, [{"role": "user", "content": text}]
        )


def test_what_differs_between_kinds_of_llama_is_in_the_file(tmp_path, llama_tokenizer):
    scaling = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0}
    scaling |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    folder = save_model(tmp_path / "tied", llama_tokenizer, tie_word_embeddings=True, rope_parameters=scaling)
    write_gguf(folder, tmp_path / "tied.gguf", "gguf-q8_0", "x")
    facts, tensors = read(tmp_path / "tied.gguf")
    assert "output.weight" not in tensors and facts["llama.rope.freq_base"] == 500_000
    type, factors = tensors["rope_freqs.weight"]
    # waves longer than 32 positions turn 8 times slower, those shorter than 8 as before; the others lie between
    waves = 2 * np.pi * 500_000 ** (np.arange(0, 16, 2) / 16)
    assert type == "F32" and np.allclose(factors[waves > 32], 8) and np.allclose(factors[waves < 8], 1)
    writer = gguf.GGUFWriter(None, "llama")
    add_architecture(writer, MistralConfig(sliding_window=128, max_position_embeddings=512), "x")
    assert writer.kv_data[0]["llama.context_length"].value == 128


def test_a_matrix_whose_rows_are_no_blocks_of_q8_0_is_stored_as_f16(tmp_path, llama_tokenizer):
    folder = save_model(tmp_path / "narrow", llama_tokenizer)
    narrow = small_model(0, vocab_size=VOCABULARY, hidden_size=64, intermediate_size=40)
    narrow.save_pretrained(folder)
    assert write_gguf(folder, tmp_path / "x.gguf", "gguf-q8_0", "x") == {"F32": 5, "F16": 2, "Q8_0": 14}


def test_what_llama_cpp_would_read_wrongly_is_refused(tmp_path, tokenizer, llama_tokenizer):
    folder = save_model(tmp_path / "model", llama_tokenizer)
    large = small_model(0, vocab_size=VOCABULARY, hidden_size=HIDDEN)
    large.lm_head.weight.data[3, 4] = 70_000
    large.save_pretrained(folder)
    with pytest.raises(BadInput, match=r"output.weight reaches 7e\+04, more than F16 can hold"):
        write_gguf(folder, tmp_path / "x.gguf", "gguf-f16", "x")
    tokenizer.save_pretrained(folder)
    with pytest.raises(BadInput, match="BPE tokenizers .* not for WordLevel"):
        write_gguf(folder, tmp_path / "x.gguf", "gguf-f16", "x")
    assert not list(tmp_path.glob("*gguf*"))
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
    for config, message in (
        (LlamaConfig(attention_bias=True), "without biases"),
        (LlamaConfig(hidden_act="gelu"), "with hidden_act silu"),
        (LlamaConfig(rope_parameters=yarn), "rope_type default and llama3, not yarn"),
        (type("Config", (), {"model_type": "gpt2"}), "for llama and mistral, not gpt2"),
    ):
        with pytest.raises(BadInput, match=message):
            add_architecture(gguf.GGUFWriter(None, "llama"), config, "x")


def test_a_byte_level_vocabulary_names_how_text_is_cut_first(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    def made(cut):
        library = Tokenizer(models.BPE())
        library.pre_tokenizer = cut
        special = ["<s>", "</s>"]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet)
        library.train_from_iterator(SENTENCES, trainer)
        return PreTrainedTokenizerFast(tokenizer_object=library, bos_token="<s>", eos_token="</s>")

    write_gguf(
        save_model(tmp_path / "bytes", made(pre_tokenizers.ByteLevel(add_prefix_space=False))),
        tmp_path / "x",
        "gguf-f16",
        "x",
    )
    facts, _ = read(tmp_path / "x")
    assert (facts["tokenizer.ggml.model"], facts["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert "Ġ o" in facts["tokenizer.ggml.merges"] and facts["tokenizer.ggml.tokens"][:2] == ["<s>", "</s>"]
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    with pytest.raises(BadInput, match="how this tokenizer cuts text"):
        write_gguf(save_model(tmp_path / "digits", made(digits)), tmp_path / "y", "gguf-f16", "x")
