"""What a recipe needs from the Hub, fetched from a played one: python -m pytest tests/test_prefetch.py"""

import hashlib
import json
import os
import re
import threading

import pytest
from conftest import ROOT, script, small_model, write_recipe
from played_hub import Hub

from pretrain.prefetch import Need, fetch_identifier, needs_of, streamed
from snakmodel import languages
from snakmodel.config import read_recipe
from snakmodel.documents import read_documents
from snakmodel.records import read_json

ROWS = {"da": [{"q": "Hvad hedder Danmarks hovedstad?", "a": "København."}], "sv": [{"q": "Vad?", "a": "Det."}]}
CARD = """---
configs:
- {config_name: da, data_files: da/train.jsonl}
- {config_name: sv, data_files: sv/train.jsonl}
---
"""

LOAD = """
import sys
from analyze.tensors import local_folder
from scorer.judges import fetch
from scorer.working_folder import local_copy
from snakmodel.models import load_model, load_tokenizer
from snakmodel.series import Checkpoint
load_model("we/base"), load_tokenizer("we/base"), local_folder(Checkpoint(0, "we/base", {}))
assert local_copy("we/base")[1] == sys.argv[1]
assert (fetch(sys.argv[2], "bertscore") / "model.safetensors").is_file()
"""


def test_what_a_recipe_needs_is_found_in_its_sections_each_once():
    needs = {need.key: need for need in needs_of(read_recipe(ROOT / "configs/snakmodel-7b.yaml")[0])}
    assert needs["pretrain.init_from"] == Need("pretrain.init_from", "model", "meta-llama/Llama-2-7b-hf")
    assert "make_shards.tokenizer" not in needs  # comes with the model
    aya = needs["instructions.sets.aya"]
    assert (aya.id, aya.configuration) == ("CohereForAI/aya_collection_language_split", "danish")
    assert needs["decontaminate.testsets.dansk"].id == "EuroEval/dansk-mini"
    encoders = [need.id for need in needs_of(read_recipe(ROOT / "configs/quality.yaml")[0]) if "encoder" in need.key]
    assert encoders == ["NbAiLab/nb-bert-base"]
    for name in ("tiny", "tiny-base", "test"):
        assert needs_of(read_recipe(ROOT / f"configs/{name}.yaml")[0]) == []
    assert streamed({"read_sources": {"use": ["culturax", "dawiki"]}}) == ["culturax"]


def test_what_scores_is_needed_too_the_models_that_judge_and_steps_that_are_adopted():
    commit, own = "c" * 40, {"mine": {"path": "we/set", "revision": "r2", "text": ["q"], "task": "summary"}}
    scored = {"testsets": ["mine", "dansk"], "own": own, "baselines": {"a": "we/a@r1", "b": None, "c": "./tiny"}}
    judges = {"bertscore": f"we/bert@{commit}", "entailment": f"we/judge@{commit}"}
    revisions = {0: "we/parent@main", 500: "user/half", 1000: None}
    recipe = {
        "run_dir": "out/x",
        "builtin": scored | judges,
        "scandeval": {"baselines": {"a": "we/a@r1", "d": "we/d"}},
        "adopt": {"series": {"pretrained": {"repository": "we/base", "revisions": revisions}}},
    }
    needs = {need.key: (need.kind, need.id, need.revision) for need in needs_of(recipe)}
    assert needs.pop("builtin.testsets.dansk")[:2] == ("dataset", "EuroEval/dansk-mini")
    assert needs == {
        "builtin.baselines.a": ("model", "we/a", "r1"),
        "builtin.bertscore": ("model", "we/bert", commit),
        "builtin.entailment": ("model", "we/judge", commit),
        "builtin.testsets.mine": ("dataset", "we/set", "r2"),
        "scandeval.baselines.d": ("model", "we/d", None),
        "adopt.series.pretrained.revisions.0": ("model", "we/parent", "main"),
        "adopt.series.pretrained.revisions.500": ("model", "we/base", "user/half"),
    }
    scored["bertscore"] = "./bert"  # a folder
    assert not [n for n in needs_of({"run_dir": "out/x", "builtin": scored}) if "bert" in n.key]


@pytest.fixture(scope="module")
def hub(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    small_model(0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = {path.name: path.read_bytes() for path in folder.iterdir()}
    model |= {"pytorch_model.bin": b"not wanted", "original/model.safetensors": b"not wanted"}
    lines = {f"{name}/train.jsonl": "\n".join(map(json.dumps, rows)).encode() for name, rows in ROWS.items()}
    model["lid.176.bin"] = b"not wanted either"
    talk = {"README.md": CARD.encode(), **lines}
    judge = {name: data for name, data in model.items() if "/" not in name and name != "config.json"}
    judge["config.json"] = model["config.json"] + b"\n"  # another commit
    repositories = {"models/we/base": model, "datasets/we/talk": talk, "models/we/closed": model}
    repositories["models/we/judge"] = judge
    with Hub(repositories, gated=["models/we/closed"]) as hub:
        threading.Thread(target=hub.serve_forever, args=[0.01], daemon=True).start()
        yield hub
        hub.shutdown()


def test_what_is_fetched_is_enough_to_run_offline_and_what_is_not_there_is_named_with_its_cure(hub, tmp_path):
    sets = {"talk": {"path": "we/talk", "configuration": "da", "prompt": ["q"], "answer": "a"}}
    base, judge = (f"{name}@{hub.commit(f'models/{name}')}" for name in ("we/base", "we/judge"))
    sections = {"pretrain": {"init_from": "we/base"}, "instructions": {"sets": sets}, "builtin": {"bertscore": judge}}
    recipe = write_recipe(tmp_path / "r.yaml", scandeval={}, **sections)
    online = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    offline = {**online, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    assert "unset it" in script("pretrain/prefetch.py", "--config", recipe, env=offline).stderr
    alone = script("pretrain/prefetch.py", "--config", recipe, env={**offline, "HF_HUB_OFFLINE": "0"})
    assert "http://127.0.0.1:9 cannot be reached" in alone.stderr
    done = script("pretrain/prefetch.py", "--config", recipe, env=online)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"pretrain.init_from: we/base: [\d,]+ bytes, [1-9][\d,]* of them to fetch", done.stdout)
    assert "models/we/base/model.safetensors" in hub.sent and "datasets/we/talk/da/train.jsonl" in hub.sent
    assert not any(re.search("pytorch|original|lid|sv/", path) for path in hub.sent)
    rows = {row["id"]: row["revision"] for row in read_json(tmp_path / "run/prefetch.json")}
    commits = {"we/base": "models/we/base", "we/judge": "models/we/judge", "we/talk": "datasets/we/talk"}
    assert rows == {name: hub.commit(place) for name, place in commits.items()}

    before = len(hub.sent)
    again = script("pretrain/prefetch.py", "--config", recipe, env=online)
    assert " 0 of them to fetch" in again.stdout and not [p for p in hub.sent[before:] if "README" not in p]
    assert "scandeval: the program fetches data sets itself" in again.stdout
    loaded = script("-c", LOAD, base, judge, env={**offline, "PYTHONPATH": f"{ROOT}:{ROOT / 'evaluate'}"})
    assert loaded.returncode == 0, loaded.stderr
    gathered = script("finetune/instructions.py", "--config", recipe, env=offline)
    assert gathered.returncode == 0, gathered.stderr
    data = tmp_path / "run/instruct/data"
    assert [row["text"].splitlines()[1] for row in read_documents(data / "train.parquet")] == ["København."]
    assert read_json(data / "run.json")["revisions"]["sets"] == {"talk": rows["we/talk"]}

    write_recipe(tmp_path / "r.yaml", pretrain={"init_from": "we/closed"}, make_shards={"tokenizer": "we/gone"})
    refused = script("pretrain/prefetch.py", "--config", recipe, env=online)
    assert refused.returncode == 2 and "2 of what" in refused.stderr
    assert "we/closed is gated: accept its conditions at https" in refused.stdout
    assert "we/gone is not there, or private" in refused.stdout


def test_the_language_identifier_comes_to_its_path_when_its_checksum_is_right(hub, tmp_path, monkeypatch):
    data = hub.repositories["models/we/base"]["lid.176.bin"]
    monkeypatch.setattr(languages, "LID_176", f"{hub.url}/we/base/resolve/main/lid.176.bin")
    monkeypatch.setattr(languages, "LID_BYTES", len(data))
    recipe = {"run_dir": str(tmp_path), "filter_language": {"backend": "fasttext", "model": "{run_dir}/lid.176.bin"}}
    (failure,) = fetch_identifier(recipe)
    assert "sha256" in failure and not (tmp_path / "lid.176.bin").exists()
    monkeypatch.setattr(languages, "LID_SHA256", hashlib.sha256(data).hexdigest())
    assert fetch_identifier(recipe) == [] and (tmp_path / "lid.176.bin").read_bytes() == data
    recipe["instructions"] = {"language": {"backend": "fasttext", "model": "other.bin"}}
    assert fetch_identifier(recipe) == ["language model: other.bin is not there, and only lid.176.bin can be fetched"]
