"""Whose models can be continued: python -m pytest tests/test_models.py"""

import pytest
import torch
from conftest import WORDS, small_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pretrain.models import build_model, freeze
from pretrain.recipe import Settings
from snakmodel.config import BadInput

LETTERS = ["a", "b", "c", "d"]


def save_tokenizer(folder, joined=(), first=()):
    """A BPE tokenizer of four letters and of longer tokens, each of a token and one more letter; its tokens."""
    tokens = ["<unk>", "<s>", "</s>", *first, *LETTERS, *joined]
    merges = [(token[:-1], token[-1]) for token in joined]
    library = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges, unk_token="<unk>"))
    library.pre_tokenizer, library.decoder = pre_tokenizers.WhitespaceSplit(), decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=library, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return tokens


@pytest.fixture(params=[{"rows": 7}, {"rows": 7, "tied": True}, {"rows": 8}], ids=["plain", "tied", "padded"])
def lengthened(request, tmp_path):
    """Builds a model of a parent of seven tokens (eight rows where padded) and of a tokenizer of nine."""
    tied, rows = request.param.get("tied", False), request.param["rows"]
    save_tokenizer(tmp_path / "parent")
    parent = small_model(0, vocab_size=rows, tie_word_embeddings=tied, initializer_range=1.0)
    parent.save_pretrained(tmp_path / "parent")
    assert save_tokenizer(tmp_path / "longer", ["ab", "abd"])[7:] == ["ab", "abd"]

    def build(**changes):
        return parent, build_model(Settings(str(tmp_path / "longer"), **changes), str(tmp_path / "parent"))

    return build


def tables(model):
    return model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()


def test_the_row_of_a_new_token_is_the_mean_of_the_old_tokens_that_spell_it(lengthened):
    parent, model = lengthened(new_embeddings="parts")
    assert model.config.vocab_size == 9
    for old, new in zip(tables(parent), tables(model), strict=True):
        a, b, _, d = old[3:7]
        assert torch.equal(new[:7], old[:7])
        assert torch.equal(new[7], torch.stack([a, b]).mean(0)) and torch.equal(new[8], torch.stack([a, b, d]).mean(0))


def test_it_is_the_mean_of_all_old_tokens_or_random_by_the_seed(lengthened):
    parent, model = lengthened(new_embeddings="mean")
    for old, new in zip(tables(parent), tables(model), strict=True):
        assert torch.equal(new[:7], old[:7]) and torch.equal(new[7:], old[:7].mean(0).expand(2, -1))
    first, again, other = (tables(lengthened(new_embeddings="random", seed=s)[1]) for s in (1, 1, 2))
    for old, one, same, another in zip(tables(parent), first, again, other, strict=True):
        assert torch.equal(one[:7], old[:7]) and torch.equal(one, same) and not torch.equal(one[8:], another[8:])


def test_a_text_of_old_tokens_has_the_logits_that_it_had_and_tied_weights_stay_tied(lengthened):
    parent, model = lengthened()
    text = torch.tensor([[1, 3, 4, 5, 6, 2]])
    torch.testing.assert_close(model(text).logits[..., :7], parent(text).logits[..., :7])
    assert model.config.tie_word_embeddings == (tables(model)[0].data_ptr() == tables(model)[1].data_ptr())


def test_rows_that_no_token_has_are_left_alone(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    parent = small_model(0, vocab_size=WORDS + 32)
    parent.save_pretrained(tmp_path)
    model = build_model(Settings(str(tmp_path)), str(tmp_path))
    assert torch.equal(tables(model)[0], tables(parent)[0]) and model.config.vocab_size == WORDS + 32


def test_a_longer_tokenizer_with_other_numbers_for_old_tokens_is_refused(tmp_path):
    save_tokenizer(tmp_path / "parent")
    small_model(0, vocab_size=7).save_pretrained(tmp_path / "parent")
    save_tokenizer(tmp_path / "other", first=["new"])
    with pytest.raises(BadInput, match="'a' is token 4, in .* it is 3; lengthen the parent's own"):
        build_model(Settings(str(tmp_path / "other")), str(tmp_path / "parent"))


def test_frozen_parameters_are_named_by_patterns():
    model = small_model(0)
    freeze(model, ["model.layers.0.*", "lm_head.weight"])
    left = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert {name.rsplit(".layers.", 1)[-1][0] for name in left if ".layers." in name} == {"1"}
    assert "model.embed_tokens.weight" in left and "lm_head.weight" not in left
    tied = small_model(0, tie_word_embeddings=True)
    freeze(tied, ["lm_head.weight"])
    assert not tied.get_input_embeddings().weight.requires_grad
    with pytest.raises(
        BadInput,
        match=r"no parameter is called model\.layer\.\*.*choose from model\.embed_tokens\.weight, model\.layers\.\*\.self_attn\.q_proj\.weight",
    ):
        freeze(model, ["model.layer.*"])
    with pytest.raises(BadInput, match="leaves no parameter to train"):
        freeze(model, ["*"])
