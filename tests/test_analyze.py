"""The analysis scripts on a series of three small models with planted changes: pytest tests/test_analyze.py"""

import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, TINY_LLAMA, write_recipe
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from analyze import embeddings, samples, weights
from snakmodel.config import BadInput
from snakmodel.prompts import CHAT_TEMPLATE
from snakmodel.series import write_series

EMBEDDING, QUERY = "model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight"
GATE = "model.layers.0.mlp.gate_proj.weight"
ROWS = 100  # four more than the tokenizer has tokens


@pytest.fixture
def recipe(tmp_path, word_tokenizer):
    """A run with steps 0 (of another run), 50 (bfloat16) and 100 (float32, several files); the last stands as tuned."""
    torch.manual_seed(0)
    size = {"vocab_size": ROWS, "max_position_embeddings": 24, "initializer_range": 1.0}
    model = LlamaForCausalLM(LlamaConfig(**TINY_LLAMA | size))
    tokenizer = AutoTokenizer.from_pretrained(word_tokenizer, chat_template=CHAT_TEMPLATE)

    def save(step, folder, **options):
        model.save_pretrained(tmp_path / folder, **options)
        tokenizer.save_pretrained(tmp_path / folder)
        return {"step": step, "location": tmp_path / folder, "parent": None}

    q = torch.linalg.qr(torch.randn(32, 32))[0]
    with torch.no_grad():
        model.bfloat16().get_parameter(GATE).copy_(q[:, :16])
        rows = [save(0, "base")]
        model.get_parameter(QUERY).mul_(2)
        model.get_parameter(EMBEDDING)[[5, 99]] *= torch.tensor([[2], [-1]])
        rows.append(save(50, "run/models/50"))
        model.float().get_parameter(GATE).copy_((q[:, :16] + q[:, 16:]) / 2**0.5)
        rows.append(save(100, "run/models/100", max_shard_size="20KB"))
    write_series(tmp_path / "run/models", "made", rows)
    write_series(tmp_path / "run/instruct/chat", "chat", rows[-1:])
    sections = {"weights": {"k": 4}, "embeddings": {"top_k": 3}, "prompt": {"new_tokens": 5}}
    return write_recipe(tmp_path / "made.yaml", **sections, samples={"prompts": ["w5 w6", "w5"], "new_tokens": 6})


def call(monkeypatch, script, recipe, *words):
    monkeypatch.setattr(sys, "argv", ["script", "--config", str(recipe), *words])
    script.main()
    name = {weights: "weights", embeddings: "embeddings", samples: "samples/samples"}[script]
    return json.loads((recipe.parent / f"run/analysis/{name}.json").read_text())["rows"]


def test_only_the_changed_tensors_have_moved_and_by_the_planted_amounts(recipe, monkeypatch):
    rows = {(row["step"], row["tensor"], row["measure"]): row for row in call(monkeypatch, weights, recipe)}
    moved = {key[:2] for key, row in rows.items() if key[2] == "delta" and row["value"] > 0}
    assert moved == {(50, QUERY), (50, EMBEDDING), (100, QUERY), (100, EMBEDDING), (100, GATE)}
    base = load_file(recipe.parent / "base/model.safetensors")
    assert {key[:2] for key in rows} == {(step, name) for step in (50, 100) for name in base}
    assert rows[50, QUERY, "relative_frobenius"] == {
        "series": "pretrained", "step": 50, "against": 0, "tensor": QUERY, "layer": 1, "type": "q_proj",
        "measure": "relative_frobenius", "unit": "ratio", "value": 1.0, "degenerate": False,
    }  # fmt: skip
    assert rows[50, QUERY, "subspace_angle"]["degenerate"] and not rows[50, QUERY, "left_singular_angle"]["degenerate"]
    gate = rows[100, GATE, "subspace_angle"]
    assert gate["value"] == pytest.approx(45, abs=0.1) and not gate["degenerate"]  # the base was rounded to bfloat16
    last = LlamaForCausalLM.from_pretrained(recipe.parent / "run/models/100").get_parameter(GATE)
    change = (last - base[GATE].float()).abs().mean().item()
    assert rows[100, GATE, "delta"]["value"] == pytest.approx(change, rel=1e-6)  # float32 was not rounded on the way


def test_planted_tokens_are_the_most_changed_and_rows_beyond_the_tokenizer_are_named(recipe, monkeypatch):
    rows = {(row["step"], row["matrix"]): row for row in call(monkeypatch, embeddings, recipe)}
    sizes = load_file(recipe.parent / "base/model.safetensors")[EMBEDDING].float().abs().sum(dim=1)
    row, planted = rows[50, "embed_tokens"], {"row 99": 2 * sizes[99].item(), "w5": sizes[5].item()}
    assert {change["token"]: change["change"] for change in row["most"][:2]} == pytest.approx(planted, rel=1e-6)
    assert row["maximum"] == row["most"][0]["change"] and rows[50, "lm_head"]["maximum"] == 0
    assert row["minimum"] == row["least"][2]["change"] == 0
    assert row["mean"] == pytest.approx(sum(planted.values()) / ROWS) and row["share_above_mean"] == 2 / ROWS


def test_an_interrupted_step_is_made_again_and_finished_ones_say_done(recipe, monkeypatch, capsys):
    whole = call(monkeypatch, weights, recipe)
    step = recipe.parent / "run/analysis/weights/pretrained/step-00100"
    (step / "run.json").unlink()
    (step / "rows.json").write_text("{")
    assert call(monkeypatch, weights, recipe, "steps=50") == [row for row in whole if row["step"] == 50]
    assert call(monkeypatch, weights, recipe) == whole
    assert capsys.readouterr().out.count("step-00050: done (") == 2


def test_samples_are_the_same_again_and_do_not_depend_on_the_other_prompts(recipe, monkeypatch):
    rows = call(monkeypatch, samples, recipe)
    assert [(r["step"], r["prompt"]) for r in rows] == [(s, p) for s in (0, 50, 100) for p in ("w5 w6", "w5")]
    alone = call(monkeypatch, samples, recipe, "prompts=w5", "--overwrite")
    assert alone == rows[1::2] and all(row["text"] for row in rows)
    assert call(monkeypatch, samples, recipe, "prompts=w5", "seed=1", "--overwrite") != alone


def test_an_unknown_step_another_shape_and_a_model_that_is_not_here_are_refused(recipe, monkeypatch):
    with pytest.raises(BadInput, match="no checkpoint of step 60; the series has 0, 50, 100"):
        call(monkeypatch, weights, recipe, "steps=60")
    path = recipe.parent / "run/models/50/model.safetensors"
    save_file(load_file(path) | {"lm_head.weight": torch.zeros(97, 16)}, path)
    with pytest.raises(BadInput, match=r"lm_head.weight is \[100, 16\] in the first, \[97, 16\] in the second"):
        call(monkeypatch, weights, recipe)
    write_series(recipe.parent / "run/models", "made", [{"step": 7, "location": "snak/base", "parent": None}])
    with pytest.raises(BadInput, match="snak/base is no folder and not in the Hub's cache; hf download snak/base"):
        call(monkeypatch, samples, recipe)


@pytest.mark.parametrize("series, same", [("pretrained", [0, 0, 0, 0]), ("chat", [0, 1, 0])])
def test_piped_lines_are_answered_and_a_chat_remembers_while_there_is_room(recipe, series, same):
    command = [sys.executable, "analyze/prompt.py", "--config", str(recipe), f"series={series}", "step=100"]
    done = subprocess.run(command, cwd=ROOT, input="w5 w6\n" * 4, capture_output=True, text=True, timeout=120)
    answers = done.stdout.splitlines()
    assert [answers.index(answer) for answer in answers] == same and answers[0], done.stderr
    assert ("27 tokens and new_tokens 5 do not fit into the model's 24 positions" in done.stderr) == (series == "chat")
