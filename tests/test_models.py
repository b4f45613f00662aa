"""Other people's models: each recipe at full size without weights, and the tiny way. pytest tests/test_models.py"""

import math

import pytest
import torch
import yaml
from conftest import ROOT, WORDS, script, write_recipe
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pretrain.recipe import Settings, check
from snakmodel.config import read_command, read_recipe
from snakmodel.documents import DocumentWriter
from snakmodel.records import read_json, read_jsonl, write_json
from snakmodel.shards import ShardWriter

PARENTS = yaml.safe_load((ROOT / "tests/test_models.yaml").read_text())
CONTINUED = ["snakmodel-7b", "munin-7b", "nb-llama-8b", "nb-llama-70b"]
LENGTHENED = ["norwai-mistral-7b", "norwai-llama-2-7b", "norwai-mixtral-8x7b"]
FROM_SCRATCH = ["norglm-369m", "norglm-3b", "norglm-23b", "norglm-llama-3b"]
ALL = CONTINUED + LENGTHENED + FROM_SCRATCH

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL_GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64}
TINY = {
    "sequence_length": 16,
    "global_batch": 4,
    "micro_batch": 2,
    "compile": False,
    "tokens": None,
    "steps": 4,
    "max_epochs": None,
}
TINY |= {"warmup_steps": 1, "learning_rate": 1e-2, "save_every": 2, "validate_every": 2, "log_every": 4}
RUN_ALL = """
import sys
from pretrain import export, train
for recipe in sys.argv[1:]:
    for stage in (train, export):
        sys.argv = [stage.__file__, "--config", recipe]
        stage.main()
"""


def settings_of(name):
    recipe = ROOT / f"configs/{name}.yaml"
    s = read_command(Settings, "pretrain", "", ["--config", str(recipe)]).settings
    check(s, recipe)
    return s, read_recipe(recipe)[0]


def parameters(config):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_parents_have_as_many_parameters_as_their_makers_say():
    for name, parent in PARENTS.items():
        assert parameters(parent["config"]) == parent["parameters"], name


@pytest.mark.parametrize("name", CONTINUED)
def test_a_continued_system_starts_from_a_published_model_with_its_tokenizer(name):
    s, recipe = settings_of(name)
    assert s.init_from in PARENTS and s.tokenizer == s.init_from == recipe["make_shards"]["tokenizer"]


@pytest.mark.parametrize("name", LENGTHENED)
def test_a_system_with_a_longer_vocabulary_lengthens_that_of_the_model_that_it_continues(name):
    s, recipe = settings_of(name)
    assert recipe["train_tokenizer"]["extend"] == s.init_from
    assert recipe["make_shards"]["tokenizer"] == "{run_dir}/tokenizer" and s.tokenizer == f"out/{name}/tokenizer"
    if name == "norwai-mixtral-8x7b":  # as EuroEval's leaderboard counts it
        config = PARENTS[s.init_from]["config"]
        longer = config | {"vocab_size": config["vocab_size"] + recipe["train_tokenizer"]["new_tokens"]}
        assert round(parameters(longer) / 1e6) == 46_998
        assert s.config == {"output_router_logits": True} and s.cross_entropy == "whole"


@pytest.mark.parametrize("name, size", [("norglm-369m", 0.471), ("norglm-3b", 3.09), ("norglm-23b", None)])
def test_a_gpt_2_from_scratch_has_the_published_size(name, size):
    s, recipe = settings_of(name)
    vocabulary, shape = recipe["train_tokenizer"]["vocabulary"], s.architecture
    found = parameters({"vocab_size": vocabulary, **shape})
    layers, width, positions = shape["n_layer"], shape["n_embd"], shape["n_positions"]
    layer = 12 * width**2 + 13 * width
    assert found == layers * layer + (vocabulary + positions) * width + 2 * width  # Narayanan et al. 2021, section 5.1
    if size:  # the files on the Hub hold the attention masks, too
        assert (found + layers * positions**2) / 1e9 == pytest.approx(size, abs=0.005)


def test_norllama_has_the_size_that_its_config_gives_it():
    s, recipe = settings_of("norglm-llama-3b")
    layer = 4 * 2_688**2 + 3 * 2_688 * 7_258 + 2 * 2_688
    expected = 32 * layer + 2 * 50_000 * 2_688 + 2_688
    assert parameters({"vocab_size": recipe["train_tokenizer"]["vocabulary"], **s.architecture}) == expected


def make_run(folder, name, tokenizer):
    """A recipe that extends one of configs/, with a small parent of the same family, a small tokenizer and shards."""
    s, recipe = settings_of(name)
    pretrain = {**TINY, "tokenizer": str(folder / "tokenizer")}
    if s.architecture is not None:
        shape = SMALL_GPT2 if s.architecture["model_type"] == "gpt2" else SMALL | {"max_position_embeddings": 64}
        pretrain["architecture"] = shape
    else:
        full = PARENTS[s.init_from]["config"]
        shared = full["num_attention_heads"] // full["num_key_value_heads"]
        shape = full | SMALL | {"vocab_size": WORDS, "num_key_value_heads": max(1, 4 // shared)}
        torch.manual_seed(1)
        AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape)).save_pretrained(folder / "parent")
        tokenizer.save_pretrained(folder / "parent")
        pretrain["init_from"] = str(folder / "parent")
    tokenizer.save_pretrained(folder / "tokenizer")
    if name in LENGTHENED:
        longer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        longer.add_tokens(["w96", "w97"])
        longer.save_pretrained(folder / "tokenizer")
    if name == "norwai-mixtral-8x7b":
        pretrain["config"] = {"router_aux_loss_coef": 1.0}
    if name == "munin-7b":
        pretrain["frozen"] = ["model.embed_tokens.weight"]
    write_shards(folder / "run/shards")
    return write_recipe(folder / "r.yaml", extends=str(ROOT / f"configs/{name}.yaml"), pretrain=pretrain)


def write_shards(folder):
    """Shards of made-up text: w3 w4 w5 ..., round and round."""
    for name, documents in (("train", 20), ("validation", 2)):
        with ShardWriter(folder / "made" / name, WORDS) as shard:
            for first in range(documents):
                shard.write([1, *(3 + (first + i) % (WORDS - 3) for i in range(60)), 2])
            shard.finish()
    with DocumentWriter(folder / "validation.parquet") as held_out:
        held_out.write({"text": " ".join(f"w{i}" for i in range(3, 43)), "source": "made", "id": "0"})
    write_json(folder / "run.json", {})


@pytest.fixture(scope="module")
def runs(tokenizer, tmp_path_factory):
    """What every recipe has made of a small model, by name."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ALL}
    done = script("-c", RUN_ALL, *(make_run(folder, name, tokenizer) for name, folder in folders.items()))
    assert done.returncode == 0, done.stdout + done.stderr
    return folders


@pytest.mark.parametrize("name", ALL)
def test_every_system_is_trained_exported_and_loaded_the_tiny_way(runs, name):
    run = runs[name] / "run"
    losses = [row["loss"] for row in read_jsonl(run / "checkpoints/log.jsonl") if row["step"]]
    balancing = 2.0 if name == "norwai-mixtral-8x7b" else 0.0  # of experts that are used evenly, two at a time
    assert len(losses) == 4 and losses[-1] < losses[0] == pytest.approx(math.log(WORDS) + balancing, abs=0.3)
    assert read_json(run / "models/step-00004/run.json")["logit_difference"] < 0.05
    model = AutoModelForCausalLM.from_pretrained(run / "models/step-00004", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(run / "models/step-00004")
    recipe = settings_of(name)[0]
    expected = recipe.architecture or PARENTS[recipe.init_from]["config"]
    assert model.config.model_type == expected["model_type"]
    assert model.config.vocab_size == len(tokenizer) == WORDS + 2 * (name in LENGTHENED)
    assert model.generate(**tokenizer("w3 w4", return_tensors="pt"), max_new_tokens=3, do_sample=False).shape == (1, 6)


def test_frozen_parameters_come_out_as_they_went_in(runs):
    folders = (runs["munin-7b"] / "parent", runs["munin-7b"] / "run/models/step-00004")
    parent, trained = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16) for path in folders)
    assert torch.equal(parent.model.embed_tokens.weight, trained.model.embed_tokens.weight)
    assert not torch.equal(parent.lm_head.weight, trained.lm_head.weight)
