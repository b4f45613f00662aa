"""Quantised forms, what they are measured by, and when they are refused: pytest tests/test_release.py"""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import run_main, save_step, small_model, write_recipe
from safetensors import safe_open
from test_gguf import SENTENCES, VOCABULARY

from finetune import gguf_file, release
from finetune.release import Measured, differences, fault_of, scores_of
from snakmodel.config import BadInput
from snakmodel.documents import DocumentWriter
from snakmodel.fingerprints import hash_folder
from snakmodel.records import read_json, write_json, write_jsonl
from snakmodel.series import write_series

FORMS = ["gguf-f16", "gguf-q8_0"]
stored = gguf_file.store


@pytest.fixture
def recipe(tmp_path, llama_tokenizer):
    """A run of step 8, which continues a base that lies elsewhere, with held-out sentences and a task."""
    models = tmp_path / "run/models"
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes["initializer_range"] = 0.2  # so that attention and its rotation matter
    rows = [
        save_step(folder, step, small_model(step, **sizes), llama_tokenizer)
        for step, folder in ((0, tmp_path / "base"), (8, models / "step-00008"))
    ]
    write_json(models / "step-00008/run.json", {"step": 8, **hash_folder(models / "step-00008")})
    write_series(models, "made", rows)
    with DocumentWriter(tmp_path / "run/da.parquet") as out:
        for number, text in enumerate(SENTENCES):
            out.write({"text": text, "source": "made", "id": str(number)})
    items = [{"prompt": text[:12], "options": [" ja", " nej"], "answer": n % 2} for n, text in enumerate(SENTENCES)]
    write_jsonl(tmp_path / "run/task.jsonl", items)
    task = {"path": "{run_dir}/task.jsonl", "text": ["prompt"], "options": "options", "answer": "answer"}
    section = {"forms": FORMS, "held_out": {"da": "{run_dir}/da.parquet"}, "window": 32, "steps": "all"}
    section |= {"tasks": {"yes": "made"}, "own": {"made": task}}
    return write_recipe(tmp_path / "made.yaml", release=section)


def test_every_form_is_compared_with_the_original_in_logits_text_and_tasks(recipe):
    said = run_main(release, recipe)
    assert f"release step 0: {recipe.parent / 'base'} is not this run's" in said
    folder = recipe.parent / "run/release/pretrained/step-00008"
    found = read_json(folder / "comparison.json")
    original, f16, q8_0 = found["forms"]
    assert [form["form"] for form in found["forms"]] == ["original", *FORMS]
    assert found["compared_on"]["documents"] == {"da": len(SENTENCES)} and found["compared_on"]["tokens"] > 70
    assert 0 < f16["divergence"] < 1e-5 < q8_0["divergence"] < 0.01
    assert f16["bytes"] == (folder / "model-f16.gguf").stat().st_size > q8_0["bytes"]
    for form in (f16, q8_0):
        assert form["bits_per_byte"]["da"] == pytest.approx(original["bits_per_byte"]["da"], rel=1e-3)
        assert form["accuracy"].keys() == {"yes"} and form["same_token"] > 0.9
    files = read_json(folder / "run.json")["files"]
    assert files.keys() == {"comparison.json", "model-f16.gguf", "model-q8_0.gguf"}
    assert "release step-00008: done" in run_main(release, recipe)


def test_a_form_too_far_from_the_original_is_refused_and_nothing_is_kept(recipe):
    with pytest.raises(BadInput, match=r"gguf-q8_0 diverges by .* nats per token, more than max_divergence 1e-09"):
        run_main(release, recipe, "max_divergence={gguf-f16: 0.001, gguf-q8_0: 1e-9}")
    folder = recipe.parent / "run/release/pretrained/step-00008"
    assert [path.name for path in folder.iterdir()] == ["started.json"]
    with pytest.raises(BadInput, match="max_divergence has no value for gguf-q8_0"):
        run_main(release, recipe, "max_divergence={gguf-f16: 0.001}")
    run_main(release, recipe, "forms=[gguf-f16]")  # what the message proposes
    assert (folder / "run.json").is_file()


@pytest.mark.parametrize(
    "part, planted",
    [
        ("interleave", lambda rows, heads: rows),  # queries and keys as transformers has them
        ("store", lambda values, type, name: stored(0.9 * values, type, name)),  # another model
    ],
)
def test_a_gguf_file_that_says_something_else_than_the_model_is_refused(recipe, monkeypatch, part, planted):
    monkeypatch.setattr(gguf_file, part, planted)
    with pytest.raises(BadInput):
        run_main(release, recipe)
    assert not list((recipe.parent / "run/release").rglob("*.gguf"))


def test_a_gguf_file_that_cuts_text_otherwise_is_refused(recipe, monkeypatch):
    right = gguf_file.add_tokenizer

    def planted(writer, tokenizer, rows):
        right(writer, tokenizer, rows)
        pieces = writer.kv_data[0]["tokenizer.ggml.tokens"].value
        pieces[259:VOCABULARY] = pieces[259:VOCABULARY][::-1]

    monkeypatch.setattr(gguf_file, "add_tokenizer", planted)
    with pytest.raises(BadInput, match=r"model-f16.gguf: cuts 'Byen ligger .*leave the GGUF forms out"):
        run_main(release, recipe)


def measured(logits, bits=1.0, choices=(0, 1)):
    return Measured(torch.tensor(logits), {"da": bits}, {"yes": list(choices)})


def test_differences_are_those_computed_by_hand():
    half, most = [math.log(0.5)] * 2, [math.log(0.9), math.log(0.1)]
    found = differences(measured([half, most]), measured([most, most]))
    # half of the tokens diverge by KL((.5, .5) || (.9, .1)) = .5 log(.5 / .9) + .5 log(.5 / .1)
    assert found["divergence"] == pytest.approx((0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(5)) / 2)
    spread = torch.tensor([half, most]).std()
    assert found["largest_difference"] == pytest.approx(float((math.log(0.5) - math.log(0.1)) / spread))
    assert found["same_token"] == 1.0  # of two that are equally likely the first counts
    assert differences(measured([half, most]), measured([half, most[::-1]]))["same_token"] == 0.5


def test_what_is_too_far_is_told_with_both_values_and_the_setting():
    settings = release.Settings(held_out={})
    tasks = {"yes": [{"answer": 0}, {"answer": 0}]}
    original = scores_of(measured([[0.0]], bits=1.0, choices=(0, 0)), tasks)
    row = {"form": "int8", "divergence": 0.001, **original}
    assert original == {"bits_per_byte": {"da": 1.0}, "accuracy": {"yes": 100.0}}
    assert fault_of(row, original, settings) is None
    for changes, message in (
        ({"divergence": 0.02}, "diverges by 0.02 nats per token, more than max_divergence 0.01"),
        ({"divergence": math.nan}, "diverges by nan nats"),
        ({"bits_per_byte": {"da": 1.06}}, "needs 1.060 bits per byte of da and the original 1.000"),
        ({"accuracy": {"yes": 50.0}}, "scores 50.0 on yes and the original 100.0"),
    ):
        assert message in fault_of(row | changes, original, settings)
    assert fault_of(row | {"accuracy": {"yes": 50.0}}, original, replace(settings, max_task_fall=50.0)) is None


def test_int8_says_what_it_needs_where_that_is_not_there(recipe, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="int8 needs torchao; pip install torchao==0.18.0, or leave it out"):
        run_main(release, recipe, "forms=[int8]")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BadInput, match="int4 is packed for CUDA, and there is no CUDA device; take gguf-q4_0"):
        run_main(release, recipe, "forms=[int4]")


@pytest.mark.skipif(not importlib.util.find_spec("torchao"), reason="torchao is not there: pip install torchao==0.18.0")
def test_int8_is_a_folder_for_transformers_without_pickle_and_close_to_the_original(recipe):
    run_main(release, recipe, "forms=[int8]")
    folder = recipe.parent / "run/release/pretrained/step-00008"
    original, int8 = read_json(folder / "comparison.json")["forms"]
    assert 0 < int8["divergence"] < 0.01 and int8["bytes"] < 0.8 * original["bytes"]
    files = {path.name for path in (folder / "int8").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files
    assert {Path(name).suffix for name in files} <= {".json", ".safetensors", ".jinja"}
    with safe_open(folder / "int8/model.safetensors", framework="pt") as weights:
        kinds = {str(weights.get_tensor(name).dtype) for name in weights.keys() if "q_proj" in name}
    assert kinds == {"torch.int8", "torch.float32"}  # numbers and their scales
