"""The model that training starts from, and what the Hub will not give. pytest tests/test_vocabulary.py"""

import os
import re
import threading

import pytest
import torch
from conftest import WORDS, script, small_model
from played_hub import Hub
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pretrain.corpus.extend_vocabulary import extend
from pretrain.corpus.train_tokenizer import convert_model, train_model
from pretrain.models import build_model, freeze
from pretrain.recipe import Settings
from snakmodel.config import BadInput

LETTERS = ["a", "b", "c", "d"]
ENGLISH = ["the cat and the dog went to the old house on the hill", "five boxing wizards jump quickly"] * 20
DANISH = ["der er en hest ved den store ladegård og hesten stod der hele dagen", "den hest er den største"] * 20


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


def test_a_lengthened_tokenizer_of_llamas_kind_gives_every_new_token_the_old_ones_that_it_joins(tmp_path):
    (tmp_path / "old").mkdir()
    train_model(tmp_path / "old/tokenizer.model", iter(ENGLISH), 300)
    convert_model(tmp_path / "old")
    assert extend(str(tmp_path / "old"), 12, lambda: DANISH, tmp_path / "new") == 312
    small_model(0, vocab_size=300, initializer_range=1.0).save_pretrained(tmp_path / "old")
    model = build_model(Settings(str(tmp_path / "new")), str(tmp_path / "old"))
    old, new = (AutoTokenizer.from_pretrained(tmp_path / name) for name in ("old", "new"))
    left, joined = iter(old.tokenize(DANISH[0])), 0
    for token in new.tokenize(DANISH[0]):
        parts = []
        while "".join(parts) != token:
            parts.append(next(left))
        joined += len(parts) > 1
        rows = tables(model)[0]
        assert torch.equal(rows[new.vocab[token]], rows[[old.vocab[part] for part in parts]].mean(0)), (token, parts)
    assert joined > 5


SHAPE = {"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}


@pytest.mark.parametrize(
    "start, says",
    [
        (
            {"architecture": SHAPE | {"hidden": 8}},
            "pretrain.architecture.hidden is not a setting; did you mean hidden_",
        ),
        ({"architecture": SHAPE | {"num_attention_heads": 3}}, "pretrain.architecture .* multiple of the number of"),
        ({"architecture": SHAPE | {"hidden_size": "x"}}, "pretrain.architecture .*hidden_size"),
        ({"architecture": SHAPE | {"vocab_size": 50}}, "vocab_size 50 is less than the 96 tokens of"),
        ({"init_from": "parent", "config": {"router_logits": True}}, "pretrain.config.router_logits is not a setting"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused_by_name(tmp_path, tokenizer, start, says):
    tokenizer.save_pretrained(tmp_path)
    small_model(0).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=says):
        build_model(Settings(str(tmp_path), **start), str(tmp_path) if "init_from" in start else None)


def test_frozen_parameters_are_named_by_patterns():
    model = small_model(0)
    freeze(model, ["model.layers.0.*", "lm_head.weight"])
    left = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert {name.rsplit(".layers.", 1)[-1][0] for name in left if ".layers." in name} == {"1"}
    assert "model.embed_tokens.weight" in left and "lm_head.weight" not in left
    tied = small_model(0, tie_word_embeddings=True)
    freeze(tied, ["lm_head.weight"])
    assert not tied.get_input_embeddings().weight.requires_grad
    with pytest.raises(BadInput, match=r"no parameter is called model\.layer\.\*; choose from .*model\.layers\.\*\."):
        freeze(model, ["model.layer.*"])
    with pytest.raises(BadInput, match="leaves no parameter to train"):
        freeze(model, ["*"])


LOAD = """
import sys
from snakmodel.config import run_script
from snakmodel.models import load_model, load_tokenizer
run_script(lambda: [load_tokenizer, load_model][int(sys.argv[2])](sys.argv[1]))
"""


@pytest.mark.parametrize(
    "id, part, changes, says",
    [
        ("we/closed", 0, {}, "we/closed is gated: accept its conditions at https://huggingface.co/we/closed"),
        ("we/closed", 1, {"HF_TOKEN": "hf_mine"}, "and set HF_TOKEN to a token of yours"),  # which was not let in
        ("we/gone", 1, {}, "we/gone is not there, or private: look at https://huggingface.co/we/gone; .* HF_TOKEN"),
        ("we/closed", 1, {"HF_HUB_OFFLINE": "1"}, "not in the cache .*, and HF_HUB_OFFLINE is set: make prefetch"),
    ],
)
def test_a_model_that_the_hub_will_not_give_is_one_line_with_its_cure(tmp_path, id, part, changes, says):
    with Hub({"models/we/closed": {"config.json": b"{}"}}, gated=["models/we/closed"]) as hub:
        threading.Thread(target=hub.serve_forever, args=[0.01], daemon=True).start()
        online = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_TOKEN": ""}
        done = script("-c", LOAD, id, part, env=os.environ | online | changes)
        hub.shutdown()
    assert done.returncode == 2 and re.fullmatch(f"error: .*{says}.*\n", done.stderr), done.stderr
