"""Log-likelihoods against a loop that reads one token at a time, without batches or padding.

pytest tests/test_likelihood.py
"""

import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from snakmodel.config import BadInput
from snakmodel.likelihood import (
    batches_by_length,
    document_bits,
    encode,
    encode_options,
    option_log_likelihoods,
    windows,
)

QUESTIONS = [
    ("", ["Huset er rødt.", "Huset rødt er."]),
    ("Hvad drikker en ko?", [" vand", " sten og grus", " æbler"]),
    ("Katten sov hele dagen, og om natten fangede den mus.", [" godt", " skidt"]),
    ("Ja", ["!", "?"]),
]
TEXTS = ["En ganske kort tekst.", "Æblerne på træet blev røde, " * 4, "Å"]


def small_tokenizer(merges: tuple[tuple[str, str], ...] = (), byte_tokens: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer, a token a byte but for the merges; it opens every text with <s> by itself."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet()) if byte_tokens else list("abc")
    words = ["<unk>", "<s>", "</s>", *alphabet, *("".join(pair) for pair in merges)]
    bpe = models.BPE({word: i for i, word in enumerate(words)}, list(merges), unk_token="<unk>")
    backend = Tokenizer(bpe)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", add_bos_token=True
    )


def small_model(vocabulary: int) -> LlamaForCausalLM:
    """A random two-layer Llama whose predictions depend on all that came before."""
    torch.manual_seed(8446)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=160,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return small_tokenizer(merges=(("e", "r"), ("e", "n"), ("Ġ", "v")))


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return small_model(len(tokenizer))


@torch.no_grad()
def naive_log_p(model: LlamaForCausalLM, ids: list[int], position: int, context: int | None = None) -> float:
    """log p of one token given the `context` tokens before it (None: all)."""
    before = ids[0 if context is None else position - context : position]
    return float(torch.log_softmax(model(torch.tensor([before])).logits[0, -1].double(), -1)[ids[position]])


def test_option_sums_equal_a_loop_over_single_tokens(model, tokenizer):
    found = option_log_likelihoods(model, tokenizer, QUESTIONS, batch_tokens=256)
    for (prompt, options), sums in zip(QUESTIONS, found, strict=True):
        begin = 1 + len(tokenizer(prompt, add_special_tokens=False).input_ids)
        for option, value in zip(options, sums, strict=True):
            ids = [1, *tokenizer(prompt + option, add_special_tokens=False).input_ids]
            assert value == pytest.approx(sum(naive_log_p(model, ids, i) for i in range(begin, len(ids))), abs=1e-4)


def test_batches_change_nothing(model, tokenizer):
    one_by_one = option_log_likelihoods(model, tokenizer, QUESTIONS, batch_tokens=1)
    for batch_tokens in (64, 100_000):
        together = option_log_likelihoods(model, tokenizer, QUESTIONS, batch_tokens)
        for left, right in zip(one_by_one, together, strict=True):
            assert left == pytest.approx(right, abs=1e-5, rel=1e-6)


def test_batches_hold_every_index_once_and_at_most_batch_tokens():
    lengths = [3, 50, 7, 7, 1, 20, 9]
    batches = list(batches_by_length(lengths, 21))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert batches[0] == [1]  # alone, though it exceeds the limit
    assert all(len(batch) * max(lengths[i] for i in batch) <= 21 for batch in batches[1:])


def test_a_token_across_the_border_counts_for_every_option():
    merging = small_tokenizer(merges=(("a", "b"),))
    answered, boundary = encode_options(merging, "xa", ["b", "c"])
    assert [merging.convert_ids_to_tokens(ids) for ids in answered] == [["<s>", "x", "ab"], ["<s>", "x", "a", "c"]]
    assert boundary == 2  # after <s> x: "ab" is compared with "a" + "c", not with "c" alone


def test_every_text_opens_with_exactly_one_bos(tokenizer):
    assert tokenizer("Ja").input_ids[0] == 1, "the tokenizer adds one by itself"
    assert [ids.count(1) for ids in encode(tokenizer, ["Ja", "", "<s>Ja</s>"])] == [1, 1, 1]


def test_an_option_without_a_token_is_refused(model):
    stripping = small_tokenizer()
    stripping.backend_tokenizer.normalizer = normalizers.Strip()
    with pytest.raises(BadInput, match="option '  ' adds no token to prompt 'Ja'"):
        option_log_likelihoods(model, stripping, [("Ja", [" nej", "  "])], 64)


def test_document_bits_equal_a_loop_and_bytes_are_utf8(model, tokenizer):
    found = document_bits(model, tokenizer, TEXTS, window=160, batch_tokens=300)
    for text, (bits, size) in zip(TEXTS, found, strict=True):
        ids = [1, *tokenizer(text, add_special_tokens=False).input_ids]
        naive = -sum(naive_log_p(model, ids, i) for i in range(1, len(ids))) / math.log(2)
        assert bits == pytest.approx(naive, abs=1e-4, rel=1e-6)
        assert size == len(text.encode())
    assert found[2][1] == 2, "Å is two bytes"


@pytest.mark.parametrize("length, window", [(1, 8), (2, 8), (8, 8), (9, 8), (37, 8), (37, 7), (5, 2)])
def test_windows_score_each_token_once_with_half_a_window_of_context(length, window):
    spans = list(windows(length, window))
    assert [i for _, first, end in spans for i in range(first, end)] == list(range(1, length))
    assert all(end - begin <= window for begin, _, end in spans)
    assert all(first == 1 or first - begin >= window // 2 for begin, first, _ in spans)


def test_long_documents_are_scored_in_overlapping_windows(model, tokenizer):
    text = "Sneen faldt."  # 12 tokens with <s>
    ids = [1, *tokenizer(text, add_special_tokens=False).input_ids]
    # window 4: tokens 1-3 see all before them, then pairs (4 5) (6 7) ... see two and three tokens
    naive = sum(naive_log_p(model, ids, i, min(i, 3) if i < 4 else 2 + i % 2) for i in range(1, len(ids)))
    ((bits, _),) = document_bits(model, tokenizer, [text], window=4, batch_tokens=64)
    assert len(ids) == 12
    assert bits == pytest.approx(-naive / math.log(2), abs=1e-4)


def test_what_cannot_be_scored_is_refused(model, tokenizer):
    with pytest.raises(BadInput, match="has 200 tokens, the model reads 160"):
        option_log_likelihoods(model, tokenizer, [("x" * 198, ["y", "z"])], 64)
    with pytest.raises(BadInput, match="window of 161 tokens is longer than the model's 160"):
        document_bits(model, tokenizer, TEXTS, window=161, batch_tokens=64)
    with pytest.raises(BadInput, match="no token for some of 'abcd'"):
        document_bits(model, small_tokenizer(byte_tokens=False), ["abcd"], window=16, batch_tokens=64)
    broken = small_model(len(tokenizer))
    torch.nn.init.constant_(broken.lm_head.weight, math.nan)
    with pytest.raises(BadInput, match="not finite"):
        option_log_likelihoods(broken, tokenizer, QUESTIONS, 64)
