"""Exports of small checkpoints: logits, manifests, older keys, branches. pytest tests/test_export.py"""

import copy
import hashlib
import json
import shutil

import pytest
import torch
import torch.distributed.checkpoint as dcp
from conftest import run_main, save_step, small_model, write_recipe
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from pretrain import export
from pretrain.checkpoints import describe_file
from pretrain.models import build_model
from pretrain.recipe import Settings
from snakmodel.config import BadInput
from snakmodel.fingerprints import hash_folder, scan
from snakmodel.records import read_json, write_json
from snakmodel.series import parse_branch, read_series, resolve_branch

LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA_3 |= {"original_max_position_embeddings": 32, "rope_theta": 500_000.0}
SMALL = {"vocab_size": 96, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 2, "num_key_value_heads": 1}
ARCHITECTURES = {
    "llama": {"model_type": "llama", **SMALL},
    "llama-3": {"model_type": "llama", **SMALL, "rope_parameters": LLAMA_3, "tie_word_embeddings": True},
    "mistral": {"model_type": "mistral", **SMALL, "rope_theta": 1e6},
    "mixtral": {"model_type": "mixtral", **SMALL, "num_local_experts": 3},
    "gpt2": {"model_type": "gpt2", "vocab_size": 96, "n_embd": 16, "n_layer": 2, "n_head": 2},
}
TOKENS = torch.arange(3, 19).reshape(2, 8)


def logits_of(model):
    with torch.no_grad():
        return model.float()(input_ids=TOKENS).logits


def save_checkpoint(folder, step, model, **facts):
    """A checkpoint as pretrain/train.py leaves it."""
    path = folder / f"step-{step:05d}"
    dcp.save({"model": model.state_dict()}, checkpoint_id=path / "model", no_dist=True)
    save_file({"tokens": TOKENS, "logits": logits_of(model)}, path / "probe.safetensors")
    files = {p.relative_to(path).as_posix(): describe_file(p) for p in path.rglob("*") if p.is_file()}
    write_json(path / "run.json", {"step": step, "tokens": 32 * step, "files": files, **facts})
    model.config.save_pretrained(folder / "config")


def start(run, tokenizer, **settings):
    """The record of training that has begun; its recipe."""
    tokenizer.save_pretrained(run / "tokenizer")
    settings = {"tokenizer": str(run / "tokenizer"), "init_from": None, "branch_from": None} | settings
    start = settings["branch_from"] and resolve_branch(settings["branch_from"]) or settings["init_from"]
    inputs = {"parent": {"path": start}} if start else {}
    write_json(run / "checkpoints/started.json", {"settings": settings, "inputs": inputs, "commit": "abc"})
    return write_recipe(run.parent / f"{run.name}.yaml", export={})


@pytest.fixture
def recipe(tmp_path, tokenizer):
    """A run from scratch with checkpoints of steps 0 and 20, and one that only a signal asked for."""
    recipe = start(tmp_path / "run", tokenizer, frozen=["model.norm.*"])
    for step in (0, 20, 33):
        save_checkpoint(tmp_path / "run/checkpoints", step, small_model(step), in_series=step != 33)
    return recipe


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_export_has_the_live_models_logits_and_says_what_older_readers_ask_for(tmp_path, tokenizer, name):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**ARCHITECTURES[name])).eval()
    longer = copy.deepcopy(tokenizer)
    longer.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    recipe = start(tmp_path / "run", longer)
    save_checkpoint(tmp_path / "run/checkpoints", 20, model)
    run_main(export, recipe)
    folder = tmp_path / "run/models/step-00020"
    assert read_json(folder / "run.json")["logit_difference"] <= 1e-5
    config, again = read_json(folder / "config.json"), AutoConfig.from_pretrained(folder)
    assert config["torch_dtype"] == config["dtype"] == "float32"
    if name == "gpt2":
        assert not {"rope_theta", "rope_scaling"} & set(config)
    else:
        rope = model.config.rope_parameters
        assert config["rope_theta"] == rope["rope_theta"] and again.rope_parameters == rope
        scaling = {key: value for key, value in LLAMA_3.items() if key != "rope_theta"}
        assert config["rope_scaling"] == (scaling if name == "llama-3" else None)
    told, exported = read_json(folder / "tokenizer_config.json"), AutoTokenizer.from_pretrained(folder)
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast" and told["additional_special_tokens"] == ["<|user|>"]
    assert exported("w5 <|user|> w6")["input_ids"] == [1, 5, 96, 6]
    assert exported.all_special_tokens == ["<s>", "</s>", "<unk>", "<|user|>"]
    assert told["chat_template"] == exported.chat_template == tokenizer.chat_template
    assert (folder / "generation_config.json").is_file()


def test_a_hugging_face_model_comes_out_as_it_went_in(tmp_path, tokenizer):
    save_step(tmp_path / "theirs", 0, small_model(7), tokenizer, max_shard_size="9KB")
    recipe = start(tmp_path / "run", tokenizer, init_from=str(tmp_path / "theirs"))
    settings = Settings(tokenizer=str(tmp_path / "theirs"), init_from=str(tmp_path / "theirs"), steps=1)
    save_checkpoint(tmp_path / "run/checkpoints", 20, build_model(settings, settings.init_from))
    run_main(export, recipe)
    theirs, ours = (LlamaForCausalLM.from_pretrained(tmp_path / f) for f in ("theirs", "run/models/step-00020"))
    assert torch.equal(logits_of(ours), logits_of(theirs))


def test_the_manifest_tells_where_a_step_comes_from_and_the_hash_of_every_file_and_tensor(recipe):
    run_main(export, recipe)
    folder = recipe.parent / "run/models/step-00020"
    manifest = read_json(folder / "run.json")
    assert (manifest["step"], manifest["tokens"], manifest["parent"]) == (20, 640, None)
    assert manifest["training"]["settings"]["frozen"] == ["model.norm.*"] and manifest["training"]["commit"] == "abc"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("run.json", "started.json")}
    told = {n: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for n, data in files.items()}
    assert manifest["files"] == told and "model.safetensors" in told
    with safe_open(folder / "model.safetensors", framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    assert manifest["tensors"] == {
        name: {"sha256": hashlib.sha256(value.tobytes()).hexdigest(), "dtype": "F32", "shape": list(value.shape)}
        for name, value in tensors.items()
    }
    small_model(20).save_pretrained(recipe.parent / "sharded", max_shard_size="9KB")
    assert hash_folder(recipe.parent / "sharded")["weights"] == manifest["weights"]  # however they are divided


def test_a_step_that_only_a_signal_asked_for_is_not_in_the_series(recipe):
    run_main(export, recipe)
    series = read_json(recipe.parent / "run/models/series.json")
    first, second = (read_json(recipe.parent / f"run/models/step-000{step}/run.json") for step in ("00", "20"))
    assert series["steps"] == [
        {"step": 0, "tokens": 0, "weights": first["weights"], "parent": None, "path": "./step-00000"},
        {"step": 20, "tokens": 640, "weights": second["weights"], "parent": None, "path": "./step-00020"},
    ]
    assert "branch" not in series and not (recipe.parent / "run/models/step-00033").exists()


def test_a_branch_begins_at_the_step_that_it_left_and_says_which(recipe, tokenizer):
    run_main(export, recipe)
    left = f"{recipe.parent / 'run'}@20"
    branch = start(recipe.parent / "branch", tokenizer, branch_from=left)
    save_checkpoint(recipe.parent / "branch/checkpoints", 10, small_model(10))
    run_main(export, branch, f"run_dir={recipe.parent / 'branch'}")
    first, second = read_series(recipe.parent / "branch/models")
    assert (first.step, first.location) == (0, str(recipe.parent / "run/models/step-00020"))
    assert second.row["parent"] == first.location
    series = read_json(recipe.parent / "branch/models/series.json")
    assert series["branch"] == {"run": str(recipe.parent / "run"), "step": 20, "tokens": 640}


def test_a_branch_of_no_step_or_no_run_is_one_line(recipe, tmp_path):
    run_main(export, recipe)
    run = tmp_path / "run"
    assert parse_branch("out/a@b@0160") == (run.parent.__class__("out/a@b"), 160)
    assert resolve_branch(f"{run}@0") == str(run / "models/step-00000")
    with pytest.raises(BadInput, match="run@33: no checkpoint of step 33; the series has 0, 20$"):
        resolve_branch(f"{run}@33")
    with pytest.raises(BadInput, match="there is no run in .*elsewhere$"):
        resolve_branch(f"{tmp_path / 'elsewhere'}@20")
    with pytest.raises(BadInput, match="'out/tiny' is not RUN@STEP; give a run's folder and a step of its series"):
        resolve_branch("out/tiny")
    shutil.rmtree(run / "models")
    with pytest.raises(BadInput, match=r"models/series.json not found: run pretrain/export.py first"):
        resolve_branch(f"{run}@20")


def test_an_export_that_the_disk_has_no_room_for_is_refused_before_it_begins(tmp_path):
    files = {"model/__0_0.distcp": {"bytes": 4 * 10**18}, "optimizer/__0_0.distcp": {"bytes": 8 * 10**18}}
    with pytest.raises(BadInput, match=r"needs 2000000000\.0 GB, its disk has .* GB free; make room"):
        export.check_space(tmp_path, files, "bfloat16")
    export.check_space(tmp_path, files | {"model/__0_0.distcp": {"bytes": 1}}, "float32")


def header(tensors, **changes):
    text = json.dumps(tensors | changes).encode()
    return len(text).to_bytes(8, "little") + text


A, B = ({"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]} for i in range(2))


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "is no safetensors file, or cut off"),
        (b"\xff" * 64, "is no safetensors file, or cut off"),
        (header({"a": A})[:-1], "is no safetensors file, or cut off"),
        (header({"a": A}) + bytes(7), "should have"),
        (header({"a": A}) + bytes(9), "should have"),
        (header({"a": A, "b": B | {"shape": [3]}}) + bytes(16), "b does not fit its shape and type"),
        (header({"a": A, "b": B | {"data_offsets": [4, 12]}}) + bytes(12), "b does not fit"),
        (header({"a": A | {"dtype": "F3"}}) + bytes(8), "header that cannot be read"),
        (header({"a": "x"}) + bytes(8), "header that cannot be read"),
        ((2).to_bytes(8, "little") + b"[]", "header that cannot be read"),
    ],
)
def test_a_damaged_safetensors_file_is_refused_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with path.open("rb") as file, pytest.raises(BadInput, match=reason):
        scan(file, len(content))
