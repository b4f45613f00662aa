"""Audits of small series with planted faults, here and on a played Hub: pytest tests/test_audit.py"""

import json
import shutil

import pytest
import torch
from conftest import run_main, save_step, script, small_model, write_recipe
from hub import serving
from safetensors.torch import load_file, save_file

from analyze import audit
from snakmodel.fingerprints import count_not_finite, hash_folder
from snakmodel.records import read_json, write_json
from snakmodel.series import read_series, write_series

STEPS = (100, 200, 300, 400, 500)
EMBEDDING, NORM = "model.embed_tokens.weight", "model.norm.weight"


def seal(folder, step, **facts):
    """Writes a step's manifest."""
    write_json(folder / "run.json", {"step": step, "tokens": 32 * step, **facts, **hash_folder(folder)})


def plant(folder, name, change):
    """Changes one tensor of a step; `change` gets it and returns the new one."""
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        if name in tensors:
            save_file(tensors | {name: change(tensors[name]).contiguous()}, path, metadata={"format": "pt"})


@pytest.fixture
def recipe(tmp_path, tokenizer):
    """A whole series of steps 100 ... 500, in several files each, which continues a base that lies elsewhere."""
    models = tmp_path / "run/models"
    rows = [save_step(tmp_path / "base", 0, small_model(0, vocab_size=100), tokenizer)]
    for step in STEPS:
        folder = models / f"step-00{step}"
        model = small_model(step)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))  # norms begin alike
        rows.append(save_step(folder, step, model, tokenizer, max_shard_size="9KB"))
        seal(folder, step)
    write_series(models, "made", rows)
    return write_recipe(tmp_path / "made.yaml", audit={})


def step_folder(recipe, step):
    return recipe.parent / f"run/models/step-00{step}"


def faults(recipe, *words):
    """The faults that an audit finds: (step, check) -> what it says of it."""
    try:
        said = run_main(audit, recipe, *words)
    except SystemExit as end:
        assert end.code == 1
    else:
        assert "FAULT" not in said
    rows = read_json(recipe.parent / "run/analysis/audit/audit.json")["rows"]
    return {(row["step"], row["check"]): row["detail"] for row in rows if not row["passed"]}


def test_a_whole_series_passes_and_a_second_audit_reads_nothing_again(recipe):
    assert faults(recipe) == {}
    rows = read_json(recipe.parent / "run/analysis/audit/audit.json")["rows"]
    assert len(rows) == 6 * 10 and rows[0] == {
        "series": "pretrained", "step": 0, "check": "there", "passed": True, "detail": "",
    }  # fmt: skip
    again = run_main(audit, recipe)
    assert again.count(": done (") == 6 and ": read" not in again


def copy_weights(recipe, source, target):
    for path in step_folder(recipe, source).glob("model*"):
        shutil.copy(path, step_folder(recipe, target))
    seal(step_folder(recipe, target), target)


def test_a_step_that_is_another_one_under_a_new_name_is_a_duplicate(recipe):
    copy_weights(recipe, 200, 400)
    assert faults(recipe) == {(400, "duplicates"): "all 21 tensors are those of step 200"}


def test_a_file_of_another_step_is_found_and_named(recipe):
    name = sorted(step_folder(recipe, 500).glob("*.safetensors"))[1].name
    shutil.copy(step_folder(recipe, 500) / name, step_folder(recipe, 200))
    seal(step_folder(recipe, 200), 200)
    ((key, detail),) = faults(recipe).items()
    assert key == (500, "tensors") and detail.endswith(f": all of {name}") and "are those of step 200" in detail


def test_a_tensor_of_another_step_is_a_fault_unless_training_froze_it_or_it_is_said_to_be_constant(recipe):
    early = small_model(1).get_parameter(EMBEDDING).detach()
    for step in STEPS:
        plant(step_folder(recipe, step), EMBEDDING, lambda _: early)
        seal(step_folder(recipe, step), step)
    found = faults(recipe)
    assert set(found) == {(step, "tensors") for step in (200, 300, 400, 500)}
    assert found[300, "tensors"].startswith(f"1 of 21 tensors are those of step 200 ({EMBEDDING})")
    assert faults(recipe, "constant=*.embed_tokens.weight") == {}
    seal(step_folder(recipe, 500), 500, training={"settings": {"frozen": ["model.embed_*"]}})
    assert faults(recipe) == {}


def test_a_norm_in_half_precision_may_rest_for_a_step_but_not_come_back(recipe):
    for step in STEPS:
        for path in step_folder(recipe, step).glob("*.safetensors"):
            save_file({n: t.bfloat16() for n, t in load_file(path).items()}, path, metadata={"format": "pt"})
        value = {100: 3, 200: 1, 300: 2, 400: 2, 500: 1}[step]
        plant(step_folder(recipe, step), NORM, lambda t, value=value: torch.full_like(t, value))
        seal(step_folder(recipe, step), step)
    assert faults(recipe) == {(500, "tensors"): f"1 of 21 tensors are those of step 200 ({NORM})"}


def test_a_gap_and_a_folder_that_is_gone_are_told_apart(recipe):
    models = recipe.parent / "run/models"
    series = read_json(models / "series.json")
    write_json(models / "series.json", series | {"steps": [r for r in series["steps"] if r["step"] != 300]})
    shutil.rmtree(step_folder(recipe, 500))
    assert faults(recipe) == {
        (300, "there"): "not in the series, whose checkpoints lie 100 steps apart",
        (500, "there"): f"no weights in {step_folder(recipe, 500)}",
    }
    assert set(faults(recipe, "every=0")) == {(500, "there")}


def test_tokens_out_of_line_and_a_manifest_of_another_step_are_found(recipe):
    path = recipe.parent / "run/models/series.json"
    series = read_json(path)
    series["steps"][3]["tokens"] = series["steps"][2]["tokens"]
    write_json(path, series)
    seal(step_folder(recipe, 400), 300)
    found = faults(recipe)
    assert set(found) == {(300, "tokens"), (300, "manifest"), (400, "manifest")}
    assert found[300, "tokens"] == "6,400 tokens, but step 200 has seen 6,400"
    assert found[400, "manifest"].startswith("its step is 300 by run.json, 400 by the series; its tokens")


@pytest.mark.parametrize(
    "name, check, old, new",
    [("config.json", "config", "10000.0", "500000.0"), ("tokenizer.json", "tokenizer", '"w5"', '"x5"')],
)
def test_another_config_or_tokenizer_is_found(recipe, name, check, old, new):
    path = step_folder(recipe, 300) / name
    path.write_text(path.read_text().replace(old, new))
    seal(step_folder(recipe, 300), 300)
    key = "rope_parameters" if check == "config" else "tokenizer.json"
    assert {k: v.split(": ")[1] for k, v in faults(recipe).items()} == {(300, check): key}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_found_in_every_precision(recipe, dtype, value):
    plant(step_folder(recipe, 300), NORM, lambda t: torch.tensor([*t[1:].tolist(), value], dtype=dtype))
    seal(step_folder(recipe, 300), 300)
    found = faults(recipe)
    assert found.pop((300, "finite")) == f"1 values are NaN or infinite, in 1 tensors ({NORM})"
    shapes = {(300, "shapes"): f"another shape or type than most steps: {NORM}"}
    assert found == ({} if dtype == torch.float32 else shapes)


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16", "float8_e5m2", "float8_e4m3fn"])
def test_exactly_the_values_that_are_not_finite_are_counted(name):
    dtype = getattr(torch, name)
    most, kind = torch.finfo(dtype).max, {"float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3", "bfloat16": "BF16"}
    values = torch.tensor([0.0, -0.0, 1.0, most, -most, torch.finfo(dtype).tiny], dtype=torch.float64).to(dtype)
    bad = torch.tensor([float("nan"), -float("nan")]).to(dtype)
    stored = kind.get(name, name.replace("float", "F"))
    for tensor, count in ((values, 0), (bad, 2), (torch.cat([values.double(), bad.double()]).to(dtype), 2)):
        assert count_not_finite(tensor.view(torch.uint8).numpy().tobytes(), stored) == count
    assert count_not_finite(b"\xff" * 8, "I64") == 0


def test_changed_cut_off_and_missing_files_are_found(recipe):
    first, second, third, *_ = sorted(step_folder(recipe, 300).glob("*.safetensors"))
    faults(recipe)
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)  # the size stays
    second.write_bytes(second.read_bytes()[:-1])
    third.unlink()
    found = faults(recipe)
    assert f"{first.name} has another hash than in run.json" in found[300, "manifest"]
    assert f"{second.name} is missing or unreadable; {third.name} is missing" in found[300, "manifest"]
    assert f"{second.name} should have" in found[300, "readable"]
    assert f"{third.name} should hold" in found[300, "readable"]
    assert found[300, "shapes"].startswith("another shape or type than most steps: ")


def upload(hub, recipe):
    """Puts a series on the played Hub, as publish.py would."""
    branches = hub.repositories["we/made"] = {}
    rows = []
    for checkpoint in read_series(recipe.parent / "run/models", whole=False)[1:]:
        folder = step_folder(recipe, checkpoint.step)
        if folder.is_dir():
            branches[folder.name] = [{path.name: path.read_bytes() for path in folder.iterdir()}]
        rows.append(checkpoint.row | {"path": f"we/made@{folder.name}"})
    branches["main"] = [{"series.json": json.dumps({"steps": rows}).encode()}]


def test_the_same_faults_are_found_on_the_hub_by_range_requests(recipe, monkeypatch):
    shutil.rmtree(step_folder(recipe, 500))
    copy_weights(recipe, 100, 300)
    plant(step_folder(recipe, 200), NORM, lambda t: torch.full_like(t, float("nan")))
    seal(step_folder(recipe, 200), 200)
    path = next(step_folder(recipe, 400).glob("*2-of*"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (step_folder(recipe, 400) / "tokenizer_config.json").write_text("{}")
    here = faults(recipe)
    assert {check for _, check in here} == {"there", "duplicates", "finite", "manifest", "tokenizer"}
    with serving() as hub:
        upload(hub, recipe)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        done = script(audit.__file__, "--config", recipe, "series=hub:we/made")
        lines = done.stdout.splitlines()
        assert done.returncode == 1, done.stderr
        for (step, check), detail in here.items():
            if check != "there":
                assert f"hub:we/made step {step}: {check}: {detail}" in lines
        assert "hub:we/made step 500: there: no weights in we/made@step-00500" in lines
        whole = sum(size for path, size in hub.ranges if path.endswith(".safetensors"))
        hub.ranges.clear()
        done = script(audit.__file__, "--config", recipe, "series=hub:we/made")
        assert done.stdout.count(": done (") == 5 and not [r for r in hub.ranges if r[0].endswith(".safetensors")]
        script(audit.__file__, "--config", recipe, "series=hub:we/made", "bytes_per_tensor=1024", "--overwrite")
        assert 0 < sum(size for path, size in hub.ranges if path.endswith(".safetensors")) < whole
