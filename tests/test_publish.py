"""A series pushed to a played Hub, and read from there: pytest tests/test_publish.py"""

import hashlib
import json
import re
import shutil

import pytest
from conftest import kill_when, run_main, save_step, script, small_model, succeed, write_recipe
from hub import serving

from analyze import samples
from snakmodel.fingerprints import hash_folder
from snakmodel.records import identity, read_json, write_json
from snakmodel.series import write_series

PUSH, READ = "pretrain/publish.py", "analyze/samples.py"


@pytest.fixture
def hub(monkeypatch):
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # large files the older way, over the same API
        monkeypatch.setenv("HF_TOKEN", hub.token)
        yield hub


@pytest.fixture
def recipe(tmp_path, tokenizer):
    """A run of steps 20, 40 and 60, which continues a base that lies elsewhere."""
    models = tmp_path / "run/models"
    rows = [save_step(tmp_path / "base", 0, small_model(0), tokenizer)]
    for step in (20, 40, 60):
        folder = models / f"step-000{step}"
        rows.append(save_step(folder, step, small_model(step), tokenizer))
        write_json(folder / "run.json", {"step": step, "tokens": 32 * step, **hash_folder(folder)})
        (folder / "notes.txt").write_text("in no manifest")
    write_series(models, "made", rows)
    return write_recipe(
        tmp_path / "made.yaml", publish={"repository": "we/made"}, samples={"prompts": ["w5"]}, audit={}
    )


def push(recipe, *words):
    done = script(PUSH, "--config", recipe, *words)
    return done.returncode, done.stdout + done.stderr


def step_files(recipe, step):
    folder = recipe.parent / f"run/models/step-000{step}"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "notes.txt"}
    return files | {".gitattributes": None}


def test_a_push_says_first_what_it_would_send_and_then_makes_a_revision_of_every_step(recipe, hub):
    status, said = push(recipe)
    size = sum(len(data) for data in step_files(recipe, 20).values() if data)
    assert status == 0 and f"step-00020: 7 files, {size:,} bytes -> we/made@step-00020" in said
    assert f"step 0 is {recipe.parent / 'base'}: referred to, not pushed" in said and not hub.requests
    status, said = push(recipe, "dry_run=false")
    assert status == 0, said
    branches = hub.repositories["we/made"]
    assert sorted(branches) == ["main", "step-00020", "step-00040", "step-00060"]
    for step in (20, 40, 60):
        files = hub.files("we/made", f"step-000{step}")
        assert files | {".gitattributes": None} == step_files(recipe, step)
    main = hub.files("we/made", "main")
    series = json.loads(main.pop("series.json"))
    assert main == hub.files("we/made", "step-00060")
    assert [(row["step"], row["path"]) for row in series["steps"]] == [
        (step, f"we/made@step-000{step}") for step in (20, 40, 60)
    ]
    assert series["steps"][0]["tokens"] == 32 * 20


def test_a_second_push_sends_nothing_and_a_later_step_only_itself(recipe, hub, tokenizer):
    push(recipe, "dry_run=false", "steps=20,40")
    assert hub.files("we/made", "main")["model.safetensors"] == step_files(recipe, 40)["model.safetensors"]
    hub.requests.clear()
    assert push(recipe, "dry_run=false", "steps=20,40")[1].count("is there") == 3
    assert not [r for r in hub.requests if r.startswith("PUT") or "/commit/" in r]
    said = push(recipe, "dry_run=false")[1]
    assert said.count("is there") == 2 and "we/made@main: step 60" in said
    assert [r for r in hub.requests if "/commit/" in r] == [
        f"POST api/models/we/made/commit/{branch}" for branch in ("step-00060", "main")
    ]


def test_a_push_killed_half_way_goes_on_and_no_revision_ever_holds_half_a_step(recipe, hub):
    kill_when(
        lambda: hub.objects and "step-00040" in hub.repositories["we/made"], PUSH, "--config", recipe, "dry_run=false"
    )
    assert "step-00060" not in hub.repositories["we/made"]
    kept = len(hub.objects)
    status, said = push(recipe, "dry_run=false")
    assert status == 0 and "we/made@step-00020: is there" in said
    assert len([r for r in hub.requests if r.startswith("PUT")]) in (3, 4) and kept < 3
    for history in hub.repositories["we/made"].values():
        for files in history:
            assert set(files) == {".gitattributes"} or {"config.json", "model.safetensors", "run.json"} <= set(files)


@pytest.mark.parametrize("fault", ["POST api/repos/create", "PUT objects", "POST api/models/we/made/commit/step-00040"])
def test_a_fault_of_the_moment_is_tried_again(recipe, hub, fault):
    hub.faults[fault] = 500
    status, said = push(recipe, "dry_run=false")
    assert status == 0 and not hub.faults, said
    assert len(hub.repositories["we/made"]["step-00040"]) == 2  # one commit after the empty one


def test_an_upload_that_is_refused_is_one_line_and_the_same_command_goes_on(recipe, hub):
    hub.faults["PUT objects"] = 403
    status, said = push(recipe, "dry_run=false")
    assert status == 2 and re.search("^error: we/made@step-00020 on the Hub: .*403.*HF_TOKEN", said.splitlines()[-1])
    assert (
        push(recipe, "dry_run=false")[0] == 0
        and step_files(recipe, 60).keys() == hub.files("we/made", "step-00060").keys()
    )


def test_a_missing_or_wrong_token_is_one_line_and_so_is_a_machine_without_the_hub(recipe, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    status, said = push(recipe, "dry_run=false")
    assert status == 2 and re.search(r"^error: we/made on the Hub: .*401.*HF_TOKEN should hold", said.splitlines()[-1])
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(recipe.parent))
    (recipe.parent / "token").write_text(hub.token)  # a saved login is not taken
    line = "error: HF_TOKEN is not set; it should hold a token that may write to we/made"
    assert push(recipe, "dry_run=false")[1].splitlines()[-1] == line
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert "the Hub is not asked while HF_HUB_OFFLINE is set" in push(recipe, "dry_run=false")[1]
    assert not hub.repositories


def test_a_revision_that_holds_other_weights_is_set_right_and_a_card_is_left_alone(recipe, hub):
    push(recipe, "dry_run=false")
    files = hub.files("we/made", "step-00040")
    files |= {"model.safetensors": hub.files("we/made", "step-00020")["model.safetensors"], "README.md": b"# Card\n"}
    files["model-00002-of-00002.safetensors"] = b"of an earlier push"
    said = push(recipe, "dry_run=false")[1]
    assert re.search(r"we/made@step-00040: [\d,]+ bytes sent", said)
    assert hub.files("we/made", "step-00040") | {".gitattributes": None} == step_files(recipe, 40) | {
        "README.md": b"# Card\n"
    }


def release(recipe, step, section, files):
    """Files of a step as finetune/release.py or finetune/card.py leaves them."""
    folder = recipe.parent / f"run/{section}/pretrained/step-000{step}"
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    told = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    model = identity(recipe.parent / f"run/models/step-000{step}")
    settings = {"repository": "we/made"}
    write_json(folder / "run.json", {"files": told, "settings": settings, "inputs": {"model": {"hash": model}}})


def test_quantised_forms_and_the_card_go_with_their_step_and_those_of_another_model_do_not(recipe, hub):
    forms = {"model-f16.gguf": b"GGUF", "int8/config.json": b"{}", "int8/model.safetensors": b"weights"}
    release(recipe, 40, "release", forms)
    release(recipe, 40, "cards", {"README.md": b"# One\n"})
    status, said = push(recipe)
    assert status == 0 and "step-00020: 7 files" in said and "step-00040: 11 files" in said
    status, said = push(recipe, "dry_run=false", "steps=20,40")
    assert status == 0, said
    expected = step_files(recipe, 40) | forms | {"README.md": b"# One\n", ".gitattributes": None}
    assert hub.files("we/made", "step-00040") | {".gitattributes": None} == expected
    assert hub.files("we/made", "main").keys() == {*expected, "series.json"}
    assert not forms.keys() & hub.files("we/made", "step-00020").keys()
    release(recipe, 40, "cards", {"README.md": b"# Two\n"})
    hub.requests.clear()
    assert re.search(r"we/made@step-00040: 6 bytes sent", push(recipe, "dry_run=false", "steps=20,40")[1])
    assert hub.files("we/made", "step-00040")["README.md"] == b"# Two\n"
    record = recipe.parent / "run/models/step-00040/run.json"
    write_json(record, read_json(record) | {"tokens": 7})
    line = (
        "run/release/pretrained/step-00040 was made of a model that is no longer step 40 of the series; run finetune/"
    )
    assert line in push(recipe, "dry_run=false")[1]


def test_a_new_revision_that_is_cut_off_is_empty_and_no_copy_of_main(recipe, hub):
    push(recipe, "dry_run=false", "steps=20")
    hub.faults["POST api/models/we/made/commit/step-00040"] = 403
    assert push(recipe, "dry_run=false")[0] == 2
    assert set(hub.files("we/made", "step-00040")) == {".gitattributes"}


def test_a_step_that_is_no_longer_what_its_manifest_says_is_not_sent(recipe, hub):
    path = recipe.parent / "run/models/step-00040/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    status, said = push(recipe, "dry_run=false")
    line = f"error: {path} is not what its run.json says; export this step again"
    assert status == 2 and said.splitlines()[-1] == line
    assert set(hub.files("we/made", "step-00040")) == {".gitattributes"}


def test_what_was_pushed_passes_an_audit_there(recipe, hub):
    assert push(recipe, "dry_run=false")[0] == 0
    said = succeed("analyze/audit.py", "--config", recipe, "series=hub:we/made", "constant=*norm.weight")
    assert said.count(" ok ") >= 3 and "FAULT" not in said and hub.ranges  # small models' norms begin alike


FETCH = """
from huggingface_hub import snapshot_download
from snakmodel.models import load_model
for step in (20, 40, 60):
    snapshot_download("we/made", revision=f"step-000{step}")
    print(float(load_model(f"we/made@step-000{step}").lm_head.weight.sum()))
"""


def test_readers_take_a_series_from_the_hub_each_step_from_its_own_revision(recipe, hub, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(recipe.parent / "cache"))
    assert push(recipe, "dry_run=false")[0] == 0
    reading = (READ, "--config", recipe, "--overwrite")
    line = (
        "error: we/made@step-00020 is no folder and not in the Hub's cache; hf download we/made --revision step-00020\n"
    )
    assert script(*reading, "series=hub:we/made").stderr == line
    sums = [float(word) for word in succeed("-c", FETCH).split()]
    assert sums == pytest.approx([small_model(step).lm_head.weight.sum().item() for step in (20, 40, 60)])
    succeed(*reading, "series=hub:we/made")
    there = texts_by_step(recipe)
    run_main(samples, recipe, "--overwrite")
    here = texts_by_step(recipe)
    assert there.keys() == {20, 40, 60} and len(set(there.values())) == 3
    assert here.keys() == {0, 40, 60} and all(here[step] == there[step] for step in (40, 60))


def texts_by_step(recipe):
    rows = read_json(recipe.parent / "run/analysis/samples/samples.json")["rows"]
    return {row["step"]: row["text"] for row in rows}


def test_a_series_on_the_hub_that_is_not_whole_or_not_there_is_one_line(recipe, hub):
    assert push(recipe, "dry_run=false")[0] == 0
    del hub.repositories["we/made"]["step-00040"]
    done = script(READ, "--config", recipe, "series=hub:we/made")
    assert done.stderr == "error: we/made on the Hub has no revision for step 40 of its series.json\n"
    hub.files("we/made", "main")["series.json"] = b'{"steps": [{"step": 1, "path": "../../secrets"}]}'
    done = script(READ, "--config", recipe, "series=hub:we/made")
    assert done.stderr == "error: we/made on the Hub: its series.json is none of ours\n"
    done = script(READ, "--config", recipe, "series=hub:we/nothing")
    assert re.fullmatch("error: we/nothing is not there, or private: .*\n", done.stderr)


def test_one_repository_holds_one_series(recipe, hub):
    """A tuned series has steps of the same names: it would take the place of the pre-trained one."""
    assert push(recipe, "dry_run=false")[0] == 0
    tuned, base = recipe.parent / "run/instruct/chat", recipe.parent / "run/models/step-00020"
    shutil.copytree(base, tuned / "step-00020")
    write_series(
        tuned, "run chat", [{"step": 20, "location": tuned / "step-00020", "tokens": 640, "parent": str(base)}]
    )
    before = len(hub.requests)
    status, said = push(recipe, "dry_run=false", "series=chat")
    assert status == 2 and "we/made holds the series 'made', and this is 'run chat'" in said
    assert not any(request.startswith("POST") and "commit" in request for request in map(str, hub.requests[before:]))
    assert push(recipe, "dry_run=false", "series=chat", "repository=we/chat")[0] == 0
    published = json.loads(hub.repositories["we/chat"]["main"][-1]["series.json"])
    assert published["steps"][0]["parent"] is None  # no path of this machine
    code = "from snakmodel.hub import commit_of; print(commit_of('we/chat@step-00020'), commit_of('we/chat'))"
    assert re.fullmatch("[0-9a-f]{40} [0-9a-f]{40}\n", succeed("-c", code))


def test_a_card_that_names_another_place_is_not_published(recipe, hub):
    folder = recipe.parent / "run/cards/pretrained/step-00060"
    folder.mkdir(parents=True)
    model = {"path": str(recipe.parent / "run/models/step-00060")}
    inputs = {"model": model | {"hash": identity(model["path"])}}
    for repository, status in ((None, 2), ("we/others", 2), ("we/made", 0)):
        write_json(folder / "run.json", {"inputs": inputs, "settings": {"repository": repository}, "files": {}})
        done, said = push(recipe, "steps=60")
        assert done == status and ("run finetune/card.py with series=pretrained repository=we/made" in said) == (
            done == 2
        )
