"""Clean items beside contaminated ones, one checkpoint beside another: pytest tests/test_contrast.py"""

import shutil

import contrast
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import run_main, write_recipe
from scorer.kept import write_items

from snakmodel.config import BadInput
from snakmodel.records import identity, read_json, read_jsonl, write_json, write_jsonl
from snakmodel.series import write_series

ITEMS = [str(number) for number in range(100)]


@pytest.fixture
def recipe(tmp_path):
    """Items of two steps and a baseline: the first 40 leaked, the last 10 were too short to be looked for."""
    rng = np.random.default_rng(0)
    luck = rng.random(100)
    shares = {"pretrained/step-00000": 0.3, "pretrained/step-00050": 0.5, "baselines/fond": 0.5}
    steps = []
    for place, share in shares.items():
        folder, (series, name) = tmp_path / "run/records/builtin" / place, place.split("/")
        right = luck < np.where(np.arange(100) < 40, 0.9, share) if share == 0.5 else luck < share
        rows = [
            {"dataset": "s", "item": item, "prediction": "", "answer": "", "score": float(each), "margin": None}
            for item, each in zip(ITEMS, right, strict=True)
        ]
        folder = folder / "s"
        write_items(folder / "items.parquet", rows if series != "baselines" else rows[:80])
        step = None if series == "baselines" else int(name[5:])
        facts = {
            "dataset": "s",
            "few_shot": True,
            "series": series,
            "step": step,
            "tokens": step,
            "name": name if step is None else None,
        }
        write_jsonl(
            folder / "records.jsonl", [facts | {"scorer": "builtin", "scorer_version": "3 float32", "split": "test"}]
        )
        model = tmp_path / f"run/models/{name}"  # of the baseline nothing is there
        if step is not None:
            write_json(model / "config.json", {"step": step})
            steps.append({"step": step, "location": model, "parent": None})
        inputs = {"model": {"path": str(model), "hash": identity(model)}}
        for record in ("started.json", "run.json"):
            write_json(folder / record, {"step": step, "inputs": inputs})
    write_series(tmp_path / "run/models", "made", steps)
    leakage = tmp_path / "run/analysis/leakage"
    flags = [
        {"corpus": "deduplicate", "testset": "s", "item": item, "searched": number < 90, "held": number < 40}
        for number, item in enumerate(ITEMS)
    ]
    write_json(leakage / "run.json", {})
    pq.write_table(pa.Table.from_pylist(flags), leakage / "items.parquet")
    return write_recipe(tmp_path / "recipe.yaml", contrast={}, collect={})


def test_what_was_planted_is_found(recipe, tmp_path):
    assert "3 and 1 rows of 3 models" in run_main(contrast, recipe)
    rows = {
        (row["series"], row["step"]): row for row in read_json(tmp_path / "run/contrasts/contamination.json")["rows"]
    }
    learnt, before = rows["pretrained", 50], rows["pretrained", 0]
    assert (learnt["clean_items"], learnt["contaminated_items"], learnt["unsearched_items"]) == (50, 40, 10)
    assert learnt["difference"] == pytest.approx(learnt["contaminated"] - learnt["clean"])
    assert learnt["low"] > 0 > before["low"] and before["high"] > 0, "only the later model knows what leaked"
    (pair,) = read_json(tmp_path / "run/contrasts/paired.json")["rows"]
    assert (pair["one"], pair["other"], pair["items"]) == ("pretrained@0", "pretrained@50", 100)
    assert pair["difference"] == pytest.approx(pair["other_value"] - pair["one_value"])
    assert 0 < pair["low"] < pair["difference"] < pair["high"] and pair["share_above_0"] == 1
    text = (tmp_path / "run/contrasts/contrasts.md").read_text()
    assert f"| pretrained@0 | pretrained@50 | s | 100 | {pair['one_value']:.1f} |" in text
    assert "contrast: done" in run_main(contrast, recipe)


def test_pairing_tells_apart_what_two_intervals_would_not(recipe, tmp_path):
    run_main(contrast, recipe, "pairs=[[pretrained@first, fond]]")
    (one,) = read_json(tmp_path / "run/contrasts/paired.json")["rows"]
    assert (one["other"], one["items"], one["unpaired_items"]) == ("baselines@fond", 80, 20)
    sets = contrast.read_sets([tmp_path / "run/records/builtin/pretrained/step-00050/s"])
    (same,) = contrast.paired_rows(sets, sets, contrast.Settings())
    assert (same["difference"], same["low"], same["high"], same["share_above_0"]) == (0, 0, 0, 0.5)
    scores = sets["s test"][1]
    apart = 1.96 * 100 * np.std(list(scores.values())) / 10 * 2**0.5  # of two models that are asked different items
    pair = run_main(contrast, recipe, "pairs=[]") and read_json(tmp_path / "run/contrasts/paired.json")["rows"][0]
    assert pair["high"] - pair["low"] < 2 * apart


def test_what_is_not_scored_and_what_is_no_pair_is_one_line(recipe, tmp_path):
    with pytest.raises(BadInput, match="'pretrained@7' is not scored; choose from pretrained@0, pretrained@50, base"):
        run_main(contrast, recipe, "pairs=[[pretrained@7, pretrained@0]]")
    record = tmp_path / "run/records/builtin/baselines/fond/s/records.jsonl"
    write_jsonl(record, [row | {"split": "val"} for row in read_jsonl(record)])
    told = "no pairs of items: pretrained@0 by test, 3 float32, True and baselines@fond by val, 3 float32, True"
    with pytest.raises(BadInput, match=told):
        run_main(contrast, recipe, "pairs=[[pretrained@0, baselines@fond]]")
    with pytest.raises(BadInput, match=r"\['pretrained@0'\] should be two models"):
        run_main(contrast, recipe, "pairs=[[pretrained@0]]")
    assert not (tmp_path / "run/contrasts").exists()
    said = run_main(contrast, recipe)
    assert "searches for items of the test split: 1 scores are of another" in said and "2 and 1 rows" in said
    write_json(tmp_path / "run/models/step-00050/config.json", {"step": "trained again"})
    assert "left out, of a model that has changed since; score it again: " in run_main(contrast, recipe)
    (tmp_path / "run/analysis/leakage/run.json").unlink()
    assert "nothing is known of leakage: run analyze/leakage.py" in run_main(contrast, recipe)
    assert read_json(tmp_path / "run/contrasts/contamination.json") == {"rows": []}
    with pytest.raises(BadInput, match="items.parquet not found: run evaluate/builtin.py first"):
        run_main(contrast, recipe, f"run_dir={tmp_path}/other")


def test_ends_of_a_series_that_were_scored_otherwise_are_no_pair_and_the_rest_is_made(recipe, tmp_path):
    record = tmp_path / "run/records/builtin/pretrained/step-00050/s/records.jsonl"
    write_jsonl(record, [row | {"scorer_version": "3 bfloat16"} for row in read_jsonl(record)])
    assert "3 and 0 rows of 3 models" in run_main(contrast, recipe)
    with pytest.raises(BadInput, match="by test, 3 float32, True and pretrained@50 by test, 3 bfloat16, True"):
        run_main(contrast, recipe, "pairs=[[pretrained@0, pretrained@50]]")


def test_no_pair_is_made_of_a_forgotten_series_or_of_one_model(recipe, tmp_path):
    with pytest.raises(BadInput, match="contrast.pairs: 'last' is not scored; choose from pretrained@0, pretrained@50"):
        run_main(contrast, recipe, "pairs=[[pretrained@first, last]]")
    with pytest.raises(BadInput, match="contrast.pairs: pretrained@50 beside itself; name two models"):
        run_main(contrast, recipe, "pairs=[[pretrained@last, pretrained@50]]")
    items = tmp_path / "run/records/builtin/baselines/fond/s/items.parquet"
    items.write_bytes(items.read_bytes()[:-50])
    with pytest.raises(
        BadInput, match="fond/s/items.parquet: cannot be read .*; remove .*fond/s, and evaluate/builtin"
    ):
        run_main(contrast, recipe)


def test_a_pair_without_a_data_set_in_common_is_refused(recipe, tmp_path):
    record = tmp_path / "run/records/builtin/pretrained/step-00050/s/records.jsonl"
    write_jsonl(record, [row | {"dataset": "another"} for row in read_jsonl(record)])
    with pytest.raises(BadInput, match="pretrained@0 and pretrained@50 have no data set in common; score both with"):
        run_main(contrast, recipe, "pairs=[[pretrained@0, pretrained@50]]")


def test_steps_stand_in_order_of_their_numbers_and_a_deleted_checkpoint_keeps_its_scores(recipe, tmp_path):
    shutil.rmtree(tmp_path / "run/models/step-00050")
    assert "3 and 1 rows of 3 models" in run_main(contrast, recipe)
    models = [("pretrained", "step-100000"), ("baselines", "fond"), ("pretrained", "step-99500")]
    assert list(contrast.ends(sorted(models, key=contrast.place_of))) == [(models[2], models[0])]


def test_records_of_one_file_for_all_sets_are_refused(recipe, tmp_path):
    write_json(tmp_path / "run/records/builtin/baselines/fond/started.json", {})
    with pytest.raises(BadInput, match="baselines/fond is of an earlier version, which had one record for all data"):
        run_main(contrast, recipe)
