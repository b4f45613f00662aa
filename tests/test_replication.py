"""The replication sheet, and released series that are adopted: pytest tests/test_replication.py"""

import csv

import pyarrow.parquet as pq
import pytest
from conftest import ROOT, refused, run_main, save_step, small_model, succeed, write_recipe
from hub import commit_id, serving

from analyze.pairs import write_table
from analyze.weights import COLUMNS
from plot import replication
from plot.paper import choose, read_paper
from snakmodel.config import read_recipe
from snakmodel.paths import Run
from snakmodel.records import read_json, write_json, write_jsonl
from snakmodel.series import read_series, write_series

ADOPT = "pretrain/adopt.py"


def score(series, step, dataset, metric, value, **facts):
    row = {"series": series, "step": step, "tokens": None, "name": None, "dataset": dataset, "metric": metric}
    ends = {"value": value, "low": value - 1.0, "high": value + 1.0, "primary": True, "language": "da"}
    return row | ends | {"scorer": "scandeval", "scorer_version": "13.3.0", "split": "test", "chance": None} | facts


def tensor(series, against, kind, layer, measure, value):
    row = {"series": series, "step": 12500, "against": against, "against_step": 0, "type": kind, "layer": layer}
    return row | {"measure": measure, "value": value, "degenerate": False, "undetermined": False}


@pytest.fixture
def recipe(tmp_path):
    """A run with a few of the paper's quantities planted."""
    run = Run(tmp_path / "run")
    models = {"SnakModel-7B base": "pretrained@12500", "Viking-7B": "viking"}
    tasks = [what for what in read_paper("scandeval")["columns"].values() if what["dataset"]]
    rows = [score("pretrained", 12500, t["dataset"], t["metric"], 40.0 + n) for n, t in enumerate(tasks)]
    rows += [score("pretrained", 12500, "scala-da", "macro_f1", 99.0, split="val")]
    rows += [score("pretrained", 12500, "dansk", "micro_f1", 98.0, scorer="builtin", scorer_version="1")]
    rows += [score("baselines", None, "dansk", "micro_f1", 17.5, name="viking")]
    for name in ("started.json", "run.json"):
        write_json(run.folder("collect") / name, {"section": "collect", "inputs": {}})
    write_json(run.folder("collect") / "scores.json", {"rows": rows})
    weights = [tensor("pretrained", "base", "gate_proj", layer, "subspace_angle", 5.0 + layer) for layer in (0, 1)]
    weights += [tensor("pretrained", "base", "up_proj", 0, "subspace_angle", 4.0)]
    weights += [tensor("pretrained", "base", "lm_head", None, "subspace_angle", 6.1462)]
    weights += [tensor("tuned", "pretrained", kind, 0, "subspace_angle", 1.25) for kind in ("up_proj", "gate_proj")]
    write_table(run.folder("weights").with_suffix(".parquet"), weights, COLUMNS)
    record = {"settings": {"global_batch": 512, "sequence_length": 4096, "learning_rate": 1.5e-5}, "ranks": 4}
    record |= {"steps": 12500, "tokens": 26_214_400_000, "seconds": 60.0, "device": "cuda:0"}
    write_jsonl(run.folder("pretrain") / "log.jsonl", [{"step": step, "seconds": 1800.0} for step in (1, 2, 3, 4)])
    write_json(run.folder("pretrain") / "run.json", record)
    return write_recipe(tmp_path / "recipe.yaml", replication={"tuned": "tuned", "models": models})


def sheet(recipe):
    rows = csv.DictReader((recipe.parent / "run/replication/replication.csv").read_text("utf-8").splitlines())
    return {(row["group"], row["quantity"]): row for row in rows}


def test_the_sheet_holds_every_cell_of_the_table_and_is_filled_from_the_run(recipe):
    assert "replication.md" in run_main(replication, recipe)
    rows = sheet(recipe)
    table = {name: row for (group, name), row in rows.items() if group == "Table 3, test split"}
    paper = read_paper("scandeval")
    for model in paper["rows"]:
        for cell in choose(paper, row=model):
            (row,) = [row for name, row in table.items() if name.startswith(f"{model}: {cell['column']} (")]
            assert row["paper"] == ("" if cell["value"] is None else str(cell["value"])) and row["source"]
    assert len(table) == 63 + 7
    mine = table["SnakModel-7B base: LA (macro F1)"]  # neither the validation split's nor another scorer's
    assert (mine["ours"], mine["status"]) == ("40.0", "outside") and float(mine["difference"]) == pytest.approx(-16.28)
    assert table["SnakModel-7B base: NER (micro F1)"]["ours"] == "41.0"
    assert table["SnakModel-7B base: AVG (mean of the eight)"]["ours"] == "43.5"
    viking = table["Viking-7B: NER (micro F1)"]
    assert (viking["ours"], viking["status"]) == ("17.5", "within")  # 0.32 away, within its interval
    assert table["LLaMA2-7B chat: LA (macro F1)"]["status"] == "not run"
    base = "Llama-2-7B to SnakModel-7B base, step 12,500: "
    assert rows["subspace angle by type", f"{base}gate_proj"]["ours"] == "5.5"
    assert rows["subspace angle by layer", f"{base}layer_0"]["ours"] == "4.5"
    head = rows["subspace angle by type", f"{base}lm_head"]
    assert (head["status"], float(head["tolerance"])) == ("within", 0.002)  # 0.0009 away
    assert rows["subspace angle by step", f"{base}lm_head"]["tolerance"] == "0.1"
    tuned = "SnakModel-7B base to instruct, step 12,500: layer_0"
    assert rows["subspace angle sum by layer", tuned]["ours"] == "2.5"
    hours = rows["Corpus, training, cost", "training time"]
    assert (hours["paper"], hours["ours"], hours["status"]) == ("8928", "8.0", "outside")
    assert rows["Corpus, training, cost", "training tokens"]["status"] == "not judged"  # a setting
    page = (recipe.parent / "run/replication/replication.md").read_text("utf-8")
    assert "| not known | 46 |" in page and "## Sources\n\n1. Model card" in page


def test_without_a_run_the_sheet_shows_the_papers_column(tmp_path):
    recipe = write_recipe(tmp_path / "recipe.yaml", replication={})
    assert ": 0 within, 0 outside, 0 not judged, " in run_main(replication, recipe)
    assert {row["status"] for row in sheet(recipe).values()} == {"not run"}


def test_a_score_of_one_resample_has_no_interval_and_is_not_judged(recipe):
    path = recipe.parent / "run/scores/scores.json"
    rows = read_json(path)["rows"]
    alone = [row | {"low": None, "high": None} if row["dataset"] == "dansk" else row for row in rows]
    write_json(path, {"rows": alone})
    run_main(replication, recipe)
    table = {name: row for (group, name), row in sheet(recipe).items() if group == "Table 3, test split"}
    for name, ours in (("NER (micro F1)", "41.0"), ("AVG (mean of the eight)", "43.5")):
        mine = table[f"SnakModel-7B base: {name}"]
        assert (mine["ours"], mine["our low"], mine["our high"], mine["status"]) == (ours, "", "", "not judged")
    assert table["SnakModel-7B base: LA (macro F1)"]["status"] == "outside"  # its own interval is there


def test_a_digitised_number_without_a_tolerance_says_so(recipe):
    run_main(replication, recipe)
    rows = sheet(recipe).values()
    silent = [row for row in rows if row["paper"] and not row["tolerance"] and "no tolerance: " not in row["note"]]
    told = [row for row in rows if "no tolerance: digitised" in row["note"]]
    assert not silent and {row["known"] for row in told} == {"digitised"} and {row["tolerance"] for row in told} == {""}
    page = (recipe.parent / "run/replication/replication.md").read_text("utf-8")
    assert (
        "base to instruct, step 12,500: v\\_proj \\[degrees\\] (degenerate; no tolerance: digitised) | 0.045 |" in page
    )
    assert "layer\\_9 \\[degrees\\] (between 0.53 and 0.63; no tolerance: digitised) | not known |" in page


def test_scores_of_two_versions_and_rows_that_the_table_lacks_are_refused(recipe):
    path = recipe.parent / "run/scores/scores.json"
    other = score("baselines", None, "dansk", "micro_f1", 17.5, name="viking", scorer_version="12.9.0")
    write_json(path, {"rows": [*read_json(path)["rows"], other]})
    with pytest.raises(ValueError, match=r"scores of scandeval 12.9.0 and 13.3.0 are not compared in one sheet"):
        run_main(replication, recipe)
    with pytest.raises(ValueError, match="'Viking' is no row of the table: LLaMA2-7B base, "):
        run_main(replication, recipe, "models={Viking: viking}")


@pytest.fixture
def hub(monkeypatch):
    """A Hub with the released repositories, whose revisions have names of their own."""
    with serving() as hub:
        for name, value in (("ENDPOINT", hub.url), ("HUB_OFFLINE", "0"), ("TOKEN", hub.token)):
            monkeypatch.setenv(f"HF_{name}", value)
        files = {step: {"config.json": b"{}", "step": str(step).encode()} for step in (500, 12500)}
        hub.repositories["we/base"] = {"main": [{}, files[12500]], "half-k": [files[500]]}
        hub.repositories["we/parent"] = {"main": [{"config.json": b"{}"}]}
        yield hub


def test_a_map_of_steps_to_revisions_becomes_a_series_pinned_to_commits(tmp_path, hub):
    first, last = commit_id(hub.repositories["we/base"]["half-k"][0]), commit_id(hub.repositories["we/base"]["main"][1])
    revisions = {0: "we/parent@main", 500: first, 1000: None, 12500: "main"}
    adopt = {"series": {"pretrained": {"repository": "we/base", "revisions": revisions, "tokens_per_step": 2}}}
    recipe = write_recipe(tmp_path / "recipe.yaml", adopt=adopt)
    listed = succeed(ADOPT, "--config", recipe, "list=true")
    assert f"{first}  branch half-k\n" in listed and f"{last}  branch main\n" in listed
    assert "left out, their revisions are not filled in: 1000\n" in succeed(ADOPT, "--config", recipe)
    parent = commit_id(hub.repositories["we/parent"]["main"][0])
    told = [(c.step, c.location, c.row["tokens"]) for c in read_series(tmp_path / "run/models")]
    assert told == [(0, f"we/parent@{parent}", 0), (500, f"we/base@{first}", 1000), (12500, f"we/base@{last}", 25000)]
    asked = len(hub.requests)
    assert "adopt: done" in succeed(ADOPT, "--config", recipe) and len(hub.requests) == asked
    pinned = read_json(tmp_path / "run/adopted/run.json")["series"]["pretrained"]
    assert pinned == {"0": f"we/parent@{parent}", "500": f"we/base@{first}", "12500": f"we/base@{last}"}
    empty = {"series": {"tuned": {"repository": "we/tuned", "revisions": {0: None}}}}
    said = refused(ADOPT, "--config", write_recipe(tmp_path / "empty.yaml", adopt=empty))
    assert "adopt.series.tuned.revisions: no step has one; list=true prints those of we/tuned" in said


def test_only_a_repository_with_a_revision_is_another_one_and_parents_are_as_if_trained_here(tmp_path, hub):
    branches = hub.repositories["we/base"]
    for number, name in enumerate(("refs/pr/1", "we/parent", "half@k")):
        branches[name] = [{"number": str(number).encode()}]
    hub.repositories["we/parent"]["user/fix"] = [{"fixed": b"yes"}]
    hub.repositories["we/tuned"] = {"main": [{"tuned": b"yes"}]}
    revisions = {0: "we/parent@user/fix", 500: "refs/pr/1", 1000: "we/parent", 1500: "half@k"}
    series = {"pretrained": {"repository": "we/base", "revisions": revisions}}
    series["tuned"] = {"repository": "we/tuned", "revisions": {500: "main", 2000: "we/base@main"}}
    recipe = write_recipe(tmp_path / "recipe.yaml", adopt={"series": series})
    succeed(ADOPT, "--config", recipe)
    rows = [(c.step, c.location, c.row["parent"]) for c in read_series(tmp_path / "run/models")]
    first = f"we/parent@{commit_id({'fixed': b'yes'})}"
    at = [f"we/base@{commit_id(branches[name][-1])}" for name in ("refs/pr/1", "we/parent", "half@k")]
    assert rows == [(0, first, None), (500, at[0], first), (1000, at[1], first), (1500, at[2], first)]
    tuned = read_series(tmp_path / "run/instruct/tuned")
    assert [c.row["parent"] for c in tuned] == [at[0], None], "a tuned step's is the step that was tuned"
    series["pretrained"]["revisions"] = {0: "main", 500: "half-k"}
    succeed(ADOPT, "--config", write_recipe(tmp_path / "recipe.yaml", adopt={"series": series}))
    assert [c.row["parent"] for c in read_series(tmp_path / "run/models")] == [None, None], "from scratch"
    series["pretrained"]["revisions"] = {0: "we/gone"}
    said = refused(ADOPT, "--config", write_recipe(tmp_path / "recipe.yaml", adopt={"series": series}))
    assert "adopt.series.pretrained.revisions.0: we/base@we/gone on the Hub" in said
    assert "another repository's revision is given as ORG/NAME@REVISION" in said


def test_the_sheet_fills_itself_from_released_models_read_from_the_hub(tmp_path, hub, tokenizer):
    for place, (name, step) in enumerate((("we/parent", 0), ("we/base", 12500))):
        save_step(tmp_path / name, step, small_model(place), tokenizer)
        hub.repositories[name]["main"].append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    adopt = {"repository": "we/base", "revisions": {0: "we/parent@main", 12500: "main"}}
    sections = {"adopt": {"series": {"pretrained": adopt}}, "weights": {}, "replication": {}}
    recipe = write_recipe(tmp_path / "recipe.yaml", **sections)
    for stage in (ADOPT, "analyze/weights.py", "plot/replication.py"):
        succeed(stage, "--config", recipe)
    rows = pq.read_table(tmp_path / "run/analysis/weights.parquet").to_pylist()
    filled = {row["quantity"]: row for row in sheet(recipe).values() if row["ours"] and row["group"] == "delta by type"}
    assert len(filled) == 12  # every type of the paper's
    for kind in ("lm_head", "input_layernorm"):
        values = [row["value"] for row in rows if (row["type"], row["measure"]) == (kind, "delta")]
        row = filled[f"Llama-2-7B to SnakModel-7B base, step 12,500: {kind}"]
        assert float(row["ours"]) == pytest.approx(sum(values) / len(values))
        assert float(row["difference"]) == float(row["ours"]) - float(row["paper"])


def test_a_series_that_was_trained_here_is_not_written_over(tmp_path, hub):
    own = tmp_path / "run/models/step-00000"
    own.mkdir(parents=True)
    write_series(own.parent, "own", [{"step": 0, "location": own, "parent": None}])
    adopt = {"series": {"pretrained": {"repository": "we/base", "revisions": {0: "main"}}}}
    said = refused(ADOPT, "--config", write_recipe(tmp_path / "recipe.yaml", adopt=adopt))
    assert "is of models that lie here (./step-00000); adopt into another run_dir" in said


def test_the_recipe_of_the_released_models_invents_no_revision():
    recipe = read_recipe(ROOT / "configs/snakmodel-released.yaml")[0]
    series = recipe["adopt"]["series"]
    for adopted, many in ((series["pretrained"], 26), (series["all-r128-chat"], 15)):
        known = {step: revision for step, revision in adopted["revisions"].items() if revision}
        assert len(adopted["revisions"]) == many and known in (
            {12500: "main"},
            {0: "meta-llama/Llama-2-7b-hf@main", 12500: "main"},
        )
    paper, models = read_paper("scandeval"), recipe["replication"]["models"]
    beside = {name for name in models.values() if "@" not in name}
    assert beside == recipe["scandeval"]["baselines"].keys()
    assert models.keys() <= {*paper["rows"], *paper["further_rows"]}


def test_what_people_accepted_of_dakulturs_answers_stands_beside_the_papers_shares(recipe):
    path = recipe.parent / "run/scores/scores.json"
    counts = {"SnakModel-7B instruct": (346, 147), "LLaMA2-7B chat + INST_da": (346, 60)}
    judged = [
        {"dataset": "dakultur", "model": model, "rated": rated, "accepted": accepted, "value": 100 * accepted / rated}
        for model, (rated, accepted) in counts.items()
    ]
    write_json(path, read_json(path) | {"judged": [*judged, judged[0] | {"dataset": "other"}]})
    run_main(replication, recipe)
    rows = {name: row for (_, name), row in sheet(recipe).items() if name.startswith("DaKultur")}
    snakmodel = rows["DaKultur acceptance, SnakModel-7B instruct"]
    assert (snakmodel["status"], float(snakmodel["difference"])) == ("outside", pytest.approx(100 * 147 / 346 - 42.4))
    assert rows["DaKultur acceptance, LLaMA2-7B base + INST_da"]["status"] == "not run"
    assert rows["DaKultur interactions"]["ours"] == "692"
