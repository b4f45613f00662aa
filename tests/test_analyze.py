"""The analysis scripts on a made series of three tiny models with planted changes.

python -m pytest tests/test_analyze.py
"""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from analyze import embeddings, prompt, samples, weights
from analyze.tensors import parse_name
from snakmodel.config import BadInput, run_script
from snakmodel.prompts import CHAT_TEMPLATE
from snakmodel.records import write_json
from snakmodel.series import write_series

ROOT = Path(__file__).resolve().parent.parent
WORDS = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "Byen", "ligger", "ved", "vandet", "ja"]
TOKENS = WORDS + [f"ord{i}" for i in range(len(WORDS), 90)]  # six fewer than the models have rows
QUERY, GATE = "model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.gate_proj.weight"
RECIPE = """
run_dir: {run_dir}
weights: {{k: 4}}
embeddings: {{top_k: 3}}
samples: {{prompts: [Byen ligger, Byen], new_tokens: 6}}
prompt: {{new_tokens: 5}}
"""


@pytest.fixture(scope="module")
def tokenizer():
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(TOKENS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special)


def save(model, tokenizer, folder, **how):
    model.save_pretrained(folder, **how)
    tokenizer.save_pretrained(folder)
    write_json(folder / "run.json", {"made": folder.name})


@pytest.fixture
def recipe(tmp_path, tokenizer):
    """A run with steps 0 (in another run), 50 (bfloat16) and 100 (float32, sharded), and a tuned series of one step."""
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    q = torch.linalg.qr(torch.randn(64, 64))[0]
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        parameters[GATE].copy_(q[:, :32])
        save(model.bfloat16(), tokenizer, tmp_path / "base/models/step-00400")
        parameters[QUERY].mul_(2)
        parameters["model.embed_tokens.weight"][[5, 95]] *= torch.tensor([[2.0], [-1.0]])
        save(model, tokenizer, tmp_path / "run/models/step-00050")
        model.float()
        angle = torch.tensor(30).deg2rad()
        parameters[GATE].copy_(angle.cos() * parameters[GATE] + angle.sin() * q[:, 32:])
        save(model, tokenizer, tmp_path / "run/models/step-00100", max_shard_size="20KB")
    tuned = tmp_path / "run/instruct/chat"
    save(model, tokenizer, tuned / "step-00100")
    places = {0: tmp_path / "base/models/step-00400"} | {s: tmp_path / f"run/models/step-{s:05d}" for s in (50, 100)}
    rows = [{"step": step, "location": str(place), "parent": None} for step, place in places.items()]
    write_series(tmp_path / "run/models", "made", rows)
    write_series(tuned, "chat", [{"step": 100, "location": str(tuned / "step-00100"), "parent": None}])
    path = tmp_path / "made.yaml"
    path.write_text(RECIPE.format(run_dir=tmp_path / "run"))
    return path


def call(monkeypatch, script, recipe, *words):
    monkeypatch.setattr(sys, "argv", ["script", "--config", str(recipe), *words])
    script.main()
    made = (
        recipe.parent
        / "run/analysis"
        / {samples: "samples/samples.json"}.get(script, f"{Path(script.__file__).stem}.json")
    )
    return json.loads(made.read_text())["rows"] if script is not prompt else None


def test_only_the_changed_tensors_have_moved_and_by_the_planted_amounts(recipe, monkeypatch, capsys):
    rows = call(monkeypatch, weights, recipe)
    moved = {(r["step"], r["tensor"]) for r in rows if r["measure"] == "delta" and r["value"] > 0}
    embedding = "model.embed_tokens.weight"
    assert moved == {(50, QUERY), (50, embedding), (100, QUERY), (100, embedding), (100, GATE)}
    assert len({r["tensor"] for r in rows}) == 21 and {r["step"] for r in rows} == {50, 100}
    query = {r["measure"]: r for r in rows if (r["step"], r["tensor"]) == (50, QUERY)}
    base = transformers.LlamaForCausalLM.from_pretrained(recipe.parent / "base/models/step-00400", dtype=torch.float32)
    assert query["delta"]["value"] == pytest.approx(base.get_parameter(QUERY).abs().mean().item(), rel=1e-6)
    assert query["relative_frobenius"] == {
        "series": "pretrained", "step": 50, "against": 0, "tensor": QUERY, "layer": 1, "type": "q_proj",
        "measure": "relative_frobenius", "unit": "ratio", "value": 1.0, "degenerate": False,
    }  # fmt: skip
    assert query["cosine"]["value"] == pytest.approx(1)
    assert query["subspace_angle"]["degenerate"] and not query["left_singular_angle"]["degenerate"]
    gate = {r["measure"]: r for r in rows if (r["step"], r["tensor"]) == (100, GATE)}
    assert gate["subspace_angle"]["value"] == pytest.approx(30, abs=0.1)  # the base's columns were rounded to bfloat16
    assert not gate["subspace_angle"]["degenerate"]
    final = transformers.LlamaForCausalLM.from_pretrained(recipe.parent / "run/models/step-00100", dtype=torch.float32)
    change = (final.get_parameter(GATE) - base.get_parameter(GATE)).abs().mean().item()
    assert gate["delta"]["value"] == pytest.approx(change, rel=1e-6)  # float32 was not rounded on the way
    norms = {r["measure"] for r in rows if r["type"] == "norm"}
    assert norms == {"delta", "relative_frobenius"}
    assert (
        "pretrained step-00050: against step 0, changed most: layers.1.self_attn.q_proj 100.00%"
        in capsys.readouterr().out
    )


def test_later_steps_join_the_combined_file_and_finished_ones_stay(recipe, monkeypatch, capsys):
    whole = call(monkeypatch, weights, recipe)
    first, second = (recipe.parent / f"run/analysis/weights/pretrained/step-00{s}" for s in ("050", "100"))
    before = (first / "run.json").read_bytes()
    (second / "run.json").unlink()  # as if interrupted before the second step was finished
    (second / "rows.json").write_text("{")
    assert call(monkeypatch, weights, recipe, "steps=50") == [r for r in whole if r["step"] == 50]
    assert call(monkeypatch, weights, recipe) == whole
    assert (first / "run.json").read_bytes() == before
    with pytest.raises(BadInput, match="k 4, now 5; add --overwrite"):
        call(monkeypatch, weights, recipe, "k=5")
    call(monkeypatch, weights, recipe, "k=5", "steps=last", "--overwrite")
    assert "left out" in capsys.readouterr().out


def test_finished_stages_say_so_without_importing_torch_scipy_or_transformers(recipe, monkeypatch):
    for script in (weights, embeddings, samples):
        call(monkeypatch, script, recipe)
        again = [sys.executable, "-X", "importtime", script.__file__, "--config", str(recipe)]
        done = subprocess.run(again, capture_output=True, text=True)
        assert done.returncode == 0 and ": done (" in done.stdout
        imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
        assert "snakmodel.series" in imported and not imported & {"torch", "scipy", "transformers"}


def test_planted_tokens_are_the_most_changed_and_rows_beyond_the_tokenizer_are_named(recipe, monkeypatch):
    rows = call(monkeypatch, embeddings, recipe)
    row = next(r for r in rows if r["step"] == 50 and r["matrix"] == "embed_tokens")
    base = transformers.LlamaForCausalLM.from_pretrained(recipe.parent / "base/models/step-00400", dtype=torch.float32)
    sizes = base.get_input_embeddings().weight.abs().sum(dim=1)
    planted = {"row 95": 2 * sizes[95].item(), "Byen": sizes[5].item()}
    assert [c["token"] for c in row["most"][:2]] == ["row 95", "Byen"]
    assert {c["token"]: c["change"] for c in row["most"][:2]} == pytest.approx(planted, rel=1e-6)
    assert row["maximum"] == row["most"][0]["change"] and row["minimum"] == 0
    assert row["mean"] == pytest.approx(sum(planted.values()) / 96) and row["share_above_mean"] == 2 / 96
    assert [c["token"] for c in row["least"]] == ["<unk>", "<s>", "</s>"]
    assert next(r for r in rows if r["matrix"] == "lm_head")["maximum"] == 0


def test_samples_are_the_same_again_and_do_not_depend_on_the_other_prompts(recipe, monkeypatch):
    rows = call(monkeypatch, samples, recipe)
    assert [(r["step"], r["prompt"]) for r in rows] == [(s, p) for s in (0, 50, 100) for p in ("Byen ligger", "Byen")]
    assert all(r["text"] for r in rows)
    assert call(monkeypatch, samples, recipe, "--overwrite") == rows
    alone = call(monkeypatch, samples, recipe, "prompts=Byen", "--overwrite")
    assert alone == [r for r in rows if r["prompt"] == "Byen"]
    assert call(monkeypatch, samples, recipe, "prompts=Byen", "seed=1", "--overwrite") != alone


def test_models_with_other_tensors_shapes_or_broken_files_are_refused_before_anything_is_written(recipe, monkeypatch):
    folder = recipe.parent / "run/models/step-00050"
    whole = (folder / "model.safetensors").read_bytes()
    tensors = load_file(folder / "model.safetensors")
    broken = {
        "lm_head.weight is 96 x 32 in the first, 97 x 32 in the second": {"lm_head.weight": torch.zeros(97, 32)},
        "extra.weight is only in the second": {"extra.weight": torch.zeros(3)},
        "model.norm.weight is only in the first": {"model.norm.weight": None},
        "truncated": None,
        "model.norm.weight holds NaN": {"model.norm.weight": torch.full((32,), float("nan"))},
    }
    for message, changes in broken.items():
        if changes is None:
            (folder / "model.safetensors").write_bytes(whole[:-5])
        else:
            kept = {name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None}
            save_file(kept, folder / "model.safetensors")
        with pytest.raises(BadInput, match=message):
            call(monkeypatch, weights, recipe)
        assert "NaN" in message or not (recipe.parent / "run/analysis").exists()


def test_a_hub_id_is_refused_by_name(recipe, monkeypatch):
    write_series(
        recipe.parent / "run/models", "made", [{"step": 7, "location": "NLPnorth/snakmodel-7b-base", "parent": None}]
    )
    for script in (samples, prompt):
        with pytest.raises(BadInput, match="step 7 is 'NLPnorth/snakmodel-7b-base', which is not a folder here"):
            call(monkeypatch, script, recipe)


def test_piped_lines_are_answered_and_the_same_line_gets_the_same_answer(recipe):
    command = [sys.executable, str(ROOT / "analyze/prompt.py"), "--config", str(recipe), "step=50"]
    piped = subprocess.run(
        command, input="Byen ligger\n\nvandet\nByen ligger", capture_output=True, text=True, timeout=120
    )
    assert piped.returncode == 0, piped.stderr
    first, second, third = piped.stdout.splitlines()
    assert first == third and second and "Byen" not in first.split()[:1] and ">" not in first
    assert "pretrained step 50" in piped.stderr and "plain continuation" in piped.stderr


def test_an_unknown_step_is_one_line_and_status_2(recipe, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prompt", "--config", str(recipe), "step=60"])
    with pytest.raises(SystemExit) as stopped:
        run_script(prompt.main)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith("no checkpoint of step 60; the series has 0, 50, 100\n")


def test_a_chat_keeps_its_history_forgets_the_oldest_turn_and_lets_errors_out(recipe, tokenizer, monkeypatch, capsys):
    def fake_answer(model, tokenizer, ids, sampling, streamer):
        if 8 in ids:
            raise RuntimeError("out of memory")
        seen.append(tokenizer.decode(ids))
        return "ja"

    seen: list[str] = []
    monkeypatch.setattr(prompt, "answer", fake_answer)
    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=5 + 11))
    monkeypatch.setattr(prompt, "load_model", lambda folder: (model, tokenizer))
    monkeypatch.setattr(tokenizer, "chat_template", CHAT_TEMPLATE)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Byen\nved\nligger\nvandet\n"))
    with pytest.raises(RuntimeError, match="out of memory"):
        call(monkeypatch, prompt, recipe, "series=chat")
    first, second = "<s> [INST] Byen [/INST]", "<s> [INST] ved [/INST]"
    assert seen == [first, f"{first} ja </s> {second}", f"{second} ja </s> <s> [INST] ligger [/INST]"]
    assert "forgot the oldest turn" in capsys.readouterr().err
    monkeypatch.setattr(tokenizer, "chat_template", None)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Byen\n"))
    call(monkeypatch, prompt, recipe, "series=chat")
    assert seen[-1] == "<s> Byen" and "warning: " in capsys.readouterr().err


def test_tensor_names_give_layer_and_type():
    assert parse_name("model.layers.11.mlp.down_proj.weight") == (11, "down_proj")
    assert parse_name("model.layers.0.post_attention_layernorm.weight") == (0, "post_attention_layernorm")
    assert parse_name("model.layers.0.self_attn.q_proj.bias") == (0, "q_proj.bias")
    assert parse_name("lm_head.weight") == (None, "lm_head")
    assert parse_name("model.norm.weight") == (None, "norm")
