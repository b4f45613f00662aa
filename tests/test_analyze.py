"""The analyses of three small models, against planted changes: pytest tests/test_analyze.py"""

import pyarrow.parquet as pq
import pytest
import torch
from conftest import SMALL, run_main, save_step, small_model, write_recipe
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from analyze import embeddings, samples, weights
from snakmodel.config import BadInput
from snakmodel.records import read_json
from snakmodel.series import write_series

EMBEDDING, QUERY = "model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight"
GATE = "model.layers.0.mlp.gate_proj.weight"
ROWS = 100  # four more than the tokenizer has tokens


@pytest.fixture
def recipe(tmp_path, tokenizer):
    """A run with steps 0 (of another run), 50 (bfloat16) and 100 (float32, several files); the last stands as tuned."""
    model = small_model(0, vocab_size=ROWS, max_position_embeddings=24, initializer_range=1.0)
    models = tmp_path / "run/models"
    q = torch.linalg.qr(torch.randn(32, 32))[0]
    with torch.no_grad():
        model.bfloat16().get_parameter(GATE).copy_(q[:, :16])
        rows = [save_step(tmp_path / "base", 0, model, tokenizer)]
        (tmp_path / "base/run.json").unlink()  # as if it came from elsewhere
        model.get_parameter(QUERY).mul_(2)
        model.get_parameter(EMBEDDING)[[5, 99]] *= torch.tensor([[2], [-1]])
        rows.append(save_step(models / "50", 50, model, tokenizer))
        model.float().get_parameter(GATE).copy_((q[:, :16] + q[:, 16:]) / 2**0.5)
        rows.append(save_step(models / "100", 100, model, tokenizer, max_shard_size="20KB"))
    write_series(models, "made", rows)
    write_series(tmp_path / "run/instruct/chat", "chat", rows[-1:])
    return write_recipe(tmp_path / "made.yaml", extends=SMALL)


def rows_of(script, recipe, *words):
    """Runs an analysis; the rows that it wrote."""
    run_main(script, recipe, *words)
    analysis = recipe.parent / "run/analysis"
    if script is weights:
        return pq.read_table(analysis / "weights.parquet").to_pylist()
    return read_json(analysis / f"{ {embeddings: 'embeddings', samples: 'samples/samples'}[script] }.json")["rows"]


def test_only_the_changed_tensors_have_moved_and_by_the_planted_amounts(recipe):
    rows = {(row["step"], row["tensor"], row["measure"]): row for row in rows_of(weights, recipe)}
    moved = {key[:2] for key, row in rows.items() if key[2] == "delta" and row["value"] > 0}
    assert moved == {(50, QUERY), (50, EMBEDDING), (100, QUERY), (100, EMBEDDING), (100, GATE)}
    base = load_file(recipe.parent / "base/model.safetensors")
    assert {key[:2] for key in rows} == {(step, name) for step in (50, 100) for name in base}
    assert rows[50, QUERY, "relative_frobenius"] == {
        "series": "pretrained", "step": 50, "against": "base", "against_step": 0, "tensor": QUERY, "layer": 1,
        "type": "q_proj", "measure": "relative_frobenius", "k": None, "unit": "ratio", "value": 1.0,
        "degenerate": False, "undetermined": False,
    }  # fmt: skip
    assert rows[50, QUERY, "subspace_angle"]["degenerate"] and not rows[50, QUERY, "left_singular_angle"]["degenerate"]
    gate = rows[100, GATE, "subspace_angle"]
    assert gate["value"] == pytest.approx(45, abs=0.1) and not gate["degenerate"]  # the base was rounded to bfloat16
    last = LlamaForCausalLM.from_pretrained(recipe.parent / "run/models/100").get_parameter(GATE)
    change = (last - base[GATE].float()).abs().mean().item()
    assert rows[100, GATE, "delta"]["value"] == pytest.approx(change, rel=1e-6)  # float32 was not rounded on the way


def test_planted_tokens_are_the_most_changed_and_rows_beyond_the_tokenizer_are_named(recipe):
    rows = {(row["step"], row["matrix"]): row for row in rows_of(embeddings, recipe)}
    sizes = load_file(recipe.parent / "base/model.safetensors")[EMBEDDING].float().abs().sum(dim=1)
    row, planted = rows[50, "embed_tokens"], {"row 99": 2 * sizes[99].item(), "w5": sizes[5].item()}
    assert {change["token"]: change["change"] for change in row["most"][:2]} == pytest.approx(planted, rel=1e-6)
    assert row["maximum"] == row["most"][0]["change"] and rows[50, "lm_head"]["maximum"] == 0
    assert row["minimum"] == row["least"][2]["change"] == 0
    assert row["mean"] == pytest.approx(sum(planted.values()) / ROWS) and row["share_above_mean"] == 2 / ROWS


def test_a_base_is_read_once_for_all_steps(recipe, monkeypatch):
    read, really = [], embeddings.read_vectors
    monkeypatch.setattr(embeddings, "read_vectors", lambda model: read.append(model.name) or really(model))
    rows_of(embeddings, recipe, "against=base,previous")
    places = ("base", "run/models/50", "run/models/100")
    assert sorted(read) == sorted(str(recipe.parent / place) for place in places)


def test_an_interrupted_step_is_made_again_and_finished_ones_say_done(recipe):
    whole = rows_of(weights, recipe)
    step = recipe.parent / "run/analysis/weights/pretrained/step-00100/base/norm"
    (step / "run.json").unlink()
    (step / "rows.json").write_text("{")
    assert rows_of(weights, recipe, "steps=50") == [
        row for row in whole if row["step"] == 50 or row["measure"] not in ("spectral_norm", "stable_rank")
    ]
    said = run_main(weights, recipe)
    assert said.count(": done (") == 2 * len(weights.GROUPS) - 1 and rows_of(weights, recipe) == whole


def test_samples_are_the_same_again_and_do_not_depend_on_the_other_prompts(recipe):
    rows = rows_of(samples, recipe)
    assert [(r["step"], r["prompt"]) for r in rows] == [(s, p) for s in (0, 50, 100) for p in ("w5 w6", "w5")]
    alone = rows_of(samples, recipe, "prompts=w5", "--overwrite")
    assert alone == rows[1::2] and all(row["text"] for row in rows)
    assert rows_of(samples, recipe, "prompts=w5", "seed=1", "--overwrite") != alone


def test_another_shape_and_a_model_that_is_not_here_are_refused(recipe):
    path = recipe.parent / "run/models/50/model.safetensors"
    save_file(load_file(path) | {QUERY: torch.zeros(16, 8)}, path)
    with pytest.raises(BadInput, match=r"q_proj.weight is \[16, 16\] in the first, \[16, 8\] in the second"):
        rows_of(weights, recipe)
    write_series(recipe.parent / "run/models", "made", [{"step": 7, "location": "snak/base", "parent": None}])
    with pytest.raises(BadInput, match="snak/base is no folder and not in the Hub's cache; hf download snak/base"):
        rows_of(samples, recipe)
