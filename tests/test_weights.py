"""What steps are compared with, adapters, interruptions and series on the Hub: pytest tests/test_weights.py"""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import torch
from conftest import SMALL, kill_when, run_main, save_step, script, small_model, write_recipe
from hub import serving
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from analyze import embeddings, weights
from snakmodel.config import BadInput
from snakmodel.paths import Run
from snakmodel.records import identity, read_json, write_json
from snakmodel.series import write_series
from snakmodel.status import wanted_folders

QUERY, HEAD = "model.layers.0.self_attn.q_proj.weight", "lm_head.weight"


@pytest.fixture
def recipe(tmp_path, tokenizer):
    """A run with steps 0 (float16), 10 and 20 (bfloat16), whose queries are 0.5, 1 and 4 times the first's."""
    model, models = small_model(0), tmp_path / "run/models"
    query = model.get_parameter(QUERY)
    rows = [save_step(models / "0", 0, model.half(), tokenizer)]
    model.bfloat16()
    for step, factor in ((10, 2), (20, 4)):
        with torch.no_grad():
            query.mul_(factor)
        rows.append(save_step(models / str(step), step, model, tokenizer))
    write_series(models, "made", rows)
    return write_recipe(tmp_path / "made.yaml", extends=SMALL)


def rows_of(recipe, *words):
    """(series, step, against, tensor, measure) -> its row."""
    run_main(weights, recipe, *words)
    rows = pq.read_table(recipe.parent / "run/analysis/weights.parquet").to_pylist()
    keys = [(*(row[name] for name in ("series", "step", "against", "tensor", "measure")),) for row in rows]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, rows, strict=True))


def add_tuned(recipe, tokenizer, head_rows=96):
    """A tuned series of step 20 alone: its query is once more that of step 10, its head perhaps longer."""
    model = small_model(0, vocab_size=head_rows)
    with torch.no_grad():
        model.get_parameter(QUERY).copy_(load_file(recipe.parent / "run/models/10/model.safetensors")[QUERY])
    folder = recipe.parent / "run/instruct/chat"
    write_series(folder, "chat", [save_step(folder / "20", 20, model.bfloat16(), tokenizer)])


def test_a_step_is_compared_with_the_base_the_step_before_and_another_series(recipe, tokenizer):
    add_tuned(recipe, tokenizer)
    words = "series=pretrained,chat", "against=base,previous,pretrained,pretrained:first"
    rows = rows_of(recipe, *words)
    delta = {key[:3]: row for key, row in rows.items() if key[3:] == (QUERY, "relative_frobenius")}
    found = {key: (row["against_step"], round(row["value"], 2)) for key, row in delta.items()}
    assert found == {
        ("pretrained", 10, "base"): (0, 1.0),
        ("pretrained", 10, "previous"): (0, 1.0),
        ("pretrained", 20, "base"): (0, 7.0),
        ("pretrained", 20, "previous"): (10, 3.0),
        ("chat", 20, "pretrained"): (20, 0.75),
        ("chat", 20, "pretrained:first"): (0, 1.0),
    }
    said = run_main(weights, recipe, words[0], "against=base,chat")
    assert "pretrained: not compared with chat, which lacks: step 0, 10\n" in said
    there = rows_of(recipe, words[0], "against=base,chat")
    assert rows.keys() < there.keys() == rows_of(recipe, "series=chat", "against=base", "measures=change").keys()
    said = run_main(weights, recipe, "series=pretrained", "against=pretrained")
    assert "pretrained, step 0, 10, 20: nothing to compare with by against pretrained" in said
    with pytest.raises(BadInput, match="weights.steps: '20:10:10' is no step of pretrained"):
        rows_of(recipe, "steps=20:10:10")
    assert rows_of(recipe, "series=pretrained", "steps=20", "against=pretrained").keys() == there.keys()


def test_unchanged_weights_are_those_that_the_cast_alone_has_moved(recipe):
    rows = rows_of(recipe)
    head = {key[4]: row["value"] for key, row in rows.items() if key[1] == 10 and key[3] == HEAD}
    assert head["unchanged"] == 1 and 0 < head["cast_unchanged"] < 0.5  # float16 has three bits more
    assert head["delta"] == head["cast_delta"] > 0


def test_a_longer_vocabulary_is_left_out_with_its_reason_and_the_rest_is_compared(recipe, tokenizer):
    add_tuned(recipe, tokenizer, head_rows=100)
    said = run_main(weights, recipe, "series=chat", "against=pretrained")
    line = f"{HEAD} is [96, 16] in {recipe.parent}/run/models/20, [100, 16] here"
    assert said.count(f"chat step-00020: left out: {line}\n") == 1
    record = read_json(recipe.parent / "run/analysis/weights/chat/step-00020/pretrained/norm/run.json")
    assert line in record["left_out"]
    rows = pq.read_table(recipe.parent / "run/analysis/weights.parquet").to_pylist()
    assert {row["type"] for row in rows} >= {"q_proj", "norm"} and HEAD not in {row["tensor"] for row in rows}


def add_adapters(recipe):
    """Adapters tuned on steps 10 and 20, as finetune/train.py leaves them; their product is random."""
    for step in (10, 20):
        folder = recipe.parent / f"run/instruct/adapters/small/step-{step:05d}"
        torch.manual_seed(step)
        config = LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj"], init_lora_weights=False)
        base = small_model(0).bfloat16()
        base.load_state_dict(load_file(recipe.parent / f"run/models/{step}/model.safetensors"))
        tuned = get_peft_model(base.float(), config)
        tuned.save_pretrained(folder)
        source = recipe.parent / f"run/models/{step}"
        write_json(folder / "run.json", {"inputs": {"model": {"path": str(source), "hash": identity(source)}}})
        yield step, tuned.merge_and_unload().get_parameter(QUERY).detach()


def test_adapters_are_measured_from_their_factors_as_what_they_merge_to(recipe):
    merged = dict(add_adapters(recipe))
    rows = rows_of(recipe, "series=adapters:small", "against=base,previous")
    for step, after in merged.items():
        before = load_file(recipe.parent / f"run/models/{step}/model.safetensors")[QUERY].float()
        values = {key[4]: row["value"] for key, row in rows.items() if key[1:4] == (step, "base", QUERY)}
        assert values["delta"] == pytest.approx((after - before).abs().mean().item(), rel=1e-5)
        assert values["spectral_norm"] == pytest.approx(torch.linalg.matrix_norm(after - before, 2).item(), rel=1e-5)
        assert values["effective_rank"] <= 2 + 1e-9
    assert {key[2] for key in rows if key[1] == 10} == {"base"}
    assert rows["adapters:small", 20, "previous", QUERY, "left_singular_angle"]["k"] == 2
    assert len({key[3] for key in rows}) == 2  # two layers


@pytest.mark.parametrize("against", [["base"], ["previous", "pretrained"], ["base", "pretrained:first", "chat"]])
def test_status_wants_what_is_measured_and_nothing_else(recipe, tokenizer, against):
    add_tuned(recipe, tokenizer)
    dict(add_adapters(recipe))
    run = Run(recipe.parent / "run")
    both = {"series": ["pretrained", "chat"], "against": against}
    asked = {"weights": both | {"series": [*both["series"], "adapters:small"]}, "embeddings": both}
    for module, section in ((weights, "weights"), (embeddings, "embeddings")):
        words = [f"{key}={','.join(values)}" for key, values in asked[section].items()]
        run_main(module, recipe, *words, *(["measures=change,norm"] if section == "weights" else []))
        settings = asked[section] | {"measures": ["change", "norm"]}
        done = {path.parent for path in run.folder(section).rglob("run.json")}
        wanted = wanted_folders(section, run, settings)
        assert set(wanted) == done and len(wanted) == len(done) > 0
        assert {path for path in wanted if "step-00020" in str(path)} == set(
            wanted_folders(section, run, settings | {"steps": 20})
        )


def test_what_cannot_be_compared_or_computed_is_refused_in_a_line(recipe):
    with pytest.raises(BadInput, match="against adapters:small: adapters are updates, no models; take the merged"):
        rows_of(recipe, "against=adapters:small")
    with pytest.raises(BadInput, match="adapters/small/step-.*not found: run finetune/train.py first"):
        rows_of(recipe, "series=adapters:small")
    path = recipe.parent / "run/models/20/model.safetensors"
    save_file(load_file(path) | {QUERY: torch.full((16, 16), torch.inf)}, path)
    with pytest.raises(BadInput, match=f"{QUERY} has values that are NaN or infinite: run analyze/audit.py"):
        rows_of(recipe)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadInput, match="models/20: model.safetensors should have"):
        rows_of(recipe)


def test_a_measuring_killed_on_its_way_goes_on_and_ends_in_the_same_bytes(recipe):
    rows = rows_of(recipe)
    analysis, step = (
        recipe.parent / "run/analysis",
        recipe.parent / "run/analysis/weights/pretrained/step-00020/base/norm",
    )
    whole = (analysis / "weights.parquet").read_bytes()
    shutil.rmtree(analysis)
    kill_when((step / "partial.jsonl").is_file, weights.__file__, "--config", recipe)
    assert not (step / "run.json").is_file()
    assert rows_of(recipe) == rows and (analysis / "weights.parquet").read_bytes() == whole
    (step / "run.json").unlink()
    lines = read_json(step / "rows.json")["rows"]
    names = sorted({row["tensor"] for row in lines})[:2]
    done = [{"tensor": n, "rows": [row | {"value": -1.0} for row in lines if row["tensor"] == n]} for n in names]
    cut_off = "".join(json.dumps(line) + "\n" for line in done) + '{"tensor": "mod'
    (step / "partial.jsonl").write_text(cut_off)
    again = rows_of(recipe)
    assert {key[3] for key, row in again.items() if row["value"] == -1} == set(names)  # what was done was not redone
    assert {key: row for key, row in again.items() if row["value"] != -1}.items() <= rows.items()


def test_measures_and_comparisons_asked_for_later_are_added_to_what_is_there(recipe):
    path, both = recipe.parent / "run/analysis/weights.parquet", "against=base,previous"
    everything = rows_of(recipe, both)
    whole = path.read_bytes()
    shutil.rmtree(recipe.parent / "run/analysis")
    cheap = rows_of(recipe, "measures=change,norm")
    assert cheap.items() <= everything.items() and {key[4] for key in cheap} >= {"delta", "stable_rank"}
    said = run_main(weights, recipe, "measures=subspace_angle,norm", both)  # norm against base is there
    assert said.count(": done (") == 2 and "step-00020: norm against previous: " in said
    assert rows_of(recipe, "measures=change").keys() == rows_of(recipe, "measures=norm").keys() > cheap.keys()
    assert rows_of(recipe, both) == everything and path.read_bytes() == whole  # as if all had been asked for at once
    with pytest.raises(BadInput, match="singular_angles was made with k 4, now 3; add --overwrite"):
        rows_of(recipe, "k=3")
    rows_of(recipe, "k=3", "measures=change,norm")  # which it does not shape


def test_a_published_series_is_measured_by_range_requests_as_it_is_here(recipe, monkeypatch):
    here = rows_of(recipe)
    models = recipe.parent / "run/models"
    with serving() as hub:
        steps = (0, 10, 20)
        branches = {f"step-{s:05d}": [{p.name: p.read_bytes() for p in (models / str(s)).iterdir()}] for s in steps}
        rows = [{"step": s, "tokens": None, "parent": None, "path": f"we/made@step-{s:05d}"} for s in steps]
        hub.repositories["we/made"] = branches | {"main": [{"series.json": json.dumps({"steps": rows}).encode()}]}
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        done = script(weights.__file__, "--config", recipe, "series=hub:we/made")
        assert done.returncode == 0, done.stderr
        read = sum(size for path, size in hub.ranges if path.endswith(".safetensors"))
    path = recipe.parent / "run/analysis/weights.parquet"
    there = pq.read_table(path, filters=[("series", "==", "hub:we/made")]).to_pylist()
    assert [row | {"series": "pretrained"} for row in there] == list(here.values())
    sizes = [(models / f"{step}/model.safetensors").stat().st_size for step in steps]
    assert read <= sum(sizes) + 64 * len(sizes)  # every byte once, but for headers
