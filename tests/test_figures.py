"""Figures of whatever a run has: pytest tests/test_figures.py"""

import csv
import json
import re
import warnings

import pytest
from conftest import run_main, write_recipe

from analyze.pairs import write_table
from analyze.weights import COLUMNS
from plot import divergence, embeddings, replication, report, scores
from plot.style import PAGE, new_figure, save
from snakmodel.paths import Run
from snakmodel.records import write_json

LONG = "ORG/NAME-7B@0123456789abcdef0123456789abcdef01234567"
KINDS = {".pdf", ".png", ".svg", ".csv", ".txt"}


def score(step, dataset="scala-da", value=50.0, **facts):
    row = {"series": "pretrained", "step": step, "tokens": None, "name": None, "model": "a", "dataset": dataset}
    ends = {"value": value, "low": None if value is None else value - 2, "high": None if value is None else value + 2}
    told = {"language": "da", "metric": "macro_f1", "chance": 50.0, "primary": True, "few_shot": True}
    return {**row, **ends, **told, "scorer": "scandeval", "scorer_version": "13.3.0", "split": "test", **facts}


def save_scores(root, rows):
    folder = Run(root).folder("collect")
    record = {"section": "collect", "inputs": {}, "rows": len(rows), "settings": {}, "config": "its.yaml"}
    record |= {"commit": "c0ffee", "versions": {}, "seconds": 1.0, "peak_memory_bytes": 1, "finished": "2026-01-02"}
    for name in ("started.json", "run.json"):
        write_json(folder / name, record)
    (folder / "scores.json").write_text(json.dumps({"rows": rows}))  # also NaN, which we would not write


@pytest.fixture
def draw(tmp_path):
    """Draws the figures of planted scores: what was printed, and the rows of each figure's CSV."""

    def draw(rows, **axes):
        recipe = write_recipe(tmp_path / "recipe.yaml", plot_scores={})
        save_scores(tmp_path / "run", rows)
        for series, axis in axes.items():
            write_json(tmp_path / f"run/instruct/{series}/series.json", {"axis": axis, "steps": []})
        with warnings.catch_warnings(action="error"):
            said = run_main(scores, recipe)
        return said, read_folder(tmp_path / "run/figures/scores")

    return draw


def read_folder(folder):
    kinds = {}
    for path in folder.iterdir():
        kinds.setdefault(path.stem, set()).add(path.suffix)
    assert all(found == KINDS for name, found in kinds.items() if name not in ("run", "started"))
    return {path.stem: list(csv.DictReader(path.read_text("utf-8").splitlines())) for path in folder.glob("*.csv")}


def values(rows, curve=None):
    return [(row["x"], row["value"]) for row in rows if curve in (None, row["curve"])]


def test_missing_cells_are_left_out_and_said(draw):
    rows = [score(step, value=None if step == 500 else 50 + step / 100) for step in (0, 500, 1000)]
    said, figures = draw(
        [*rows, score(0, "dansk", float("nan")) | {"low": None, "high": None}, score(1000, "dansk", 20.5)]
    )
    assert "not drawn, no score: pretrained step 500 scala-da\n" in said
    assert "not drawn, no score: pretrained step 0 dansk\n" in said
    drawn = figures["tasks-pretrained-scandeval-13.3.0"]
    assert values(drawn) == [("0.0", "50.0"), ("1000.0", "60.0"), ("1000.0", "20.5")]


@pytest.mark.parametrize("steps", [[500], list(range(0, 100_000, 500))])
def test_one_checkpoint_and_two_hundred_are_drawn_whole(steps, draw):
    _, figures = draw([score(step, value=40 + step / 2_500) for step in steps])
    drawn = figures["tasks-pretrained-scandeval-13.3.0"]
    assert [float(x) for x, _ in values(drawn)] == steps
    assert [float(row["high"]) - float(row["low"]) for row in drawn] == pytest.approx([4.0] * len(steps))


def test_scorers_versions_and_splits_are_never_in_one_curve(draw):
    rows = [score(step, value=30 + step, **way) for step in (0, 1) for way in (
        {}, {"split": "val"}, {"scorer_version": "12.9.0"}, {"scorer": "euroeval", "scorer_version": "15.4.2"},
        {"scorer": "builtin", "scorer_version": "1"},
    )]  # fmt: skip
    held_out = score(0, "held-out-da", 1.5, metric="bits_per_byte", few_shot=False)  # which is neither
    _, figures = draw([*rows, score(0, value=77.0, few_shot=False), score(0, "dansk", 20.0), held_out])
    names = ["", "-euroeval-15.4.2", "-scandeval-12.9.0-test", "-scandeval-13.3.0-test", "-scandeval-13.3.0-val"]
    assert sorted(figures) == ["held-out-pretrained-scandeval-13.3.0", *(f"tasks-pretrained{name}" for name in names)]
    assert values(figures["held-out-pretrained-scandeval-13.3.0"], "Danish") == [("0.0", "1.5")]
    both = figures["tasks-pretrained-scandeval-13.3.0-test"]
    task = "Linguistic acceptability (LA, macro F1)"
    assert values(both, f"{task}, few-shot") == [("0.0", "30.0"), ("1.0", "31.0")]
    assert values(both, f"{task}, zero-shot") == [("0.0", "77.0")]
    assert values(both, "Named entities (NER, macro F1), few-shot") == [("0.0", "20.0")], (
        "also where it is the only one"
    )


def test_names_with_slashes_and_revisions_make_files_and_baselines_stand_beside_the_curves(draw):
    rows = [score(0, value=40.0, series=f"hub:{LONG}")]
    rows += [score(None, value=45.5, series="baselines", name=name) for name in (LONG, "LumiOpen/Viking-7B")]
    _, figures = draw([*rows, score(None, "dansk", 30.25, series="baselines", name=LONG)])
    ((name, drawn),) = figures.items()
    assert name == "tasks-hub-ORG-NAME-7B-0123456789abcdef0123456789abcdef01234567-scandeval-13.3.0"
    beside = [(row["curve"][:10], row["x"], row["value"]) for row in drawn if row["panel"] == "Baselines"]
    assert ("Linguistic", "ORG/NAME-7B@01234567", "45.5") in beside and (
        "Named enti",
        "LumiOpen/Viking-7B",
        "",
    ) in beside
    _, alone = draw([score(None, value=45.5, series="baselines", name="a/b")])
    assert values(alone["tasks-baselines-scandeval-13.3.0"]) == [("a/b", "45.5")]


def test_models_of_one_name_that_were_scored_elsewhere_stand_apart_in_figure_report_and_sheet(draw, tmp_path):
    mine = [score(step, value=50.0) for step in (0, 50)]
    others = [score(None, value=v, series=series, name="org/m") for series, v in (("one", 10.0), ("two", 90.0))]
    _, figures = draw([*mine, *others, score(None, value=70.0, series="baselines", name="m")])
    drawn = figures["tasks-pretrained-scandeval-13.3.0"]
    beside = {row["x"]: row["value"] for row in drawn if row["panel"] == "Baselines"}
    assert beside == {"one org/m": "10.0", "two org/m": "90.0", "m": "70.0"}
    models = {"Viking-7B": "two org/m", "LLaMA2-7B chat": "m"}
    recipe = write_recipe(tmp_path / "recipe.yaml", report={}, replication={"models": models})
    run_main(report, recipe)
    page = (tmp_path / "run/report/report.html").read_text("utf-8")
    found = re.findall(r'row">([^<]*)</th>\s*<td class="number">([\d.]+) \[', page.rpartition("Models beside the")[2])
    assert dict(found) == {"one org/m": "10.0", "two org/m": "90.0", "m": "70.0"}
    run_main(replication, recipe)
    sheet = (tmp_path / "run/replication/replication.csv").read_text("utf-8").splitlines()
    told = {row["quantity"]: row["ours"] for row in csv.DictReader(sheet) if row["ours"]}
    assert told == {"Viking-7B: LA (macro F1)": "90.0", "LLaMA2-7B chat: LA (macro F1)": "70.0"}


def test_a_series_that_counts_epochs_is_drawn_over_epochs(draw, tmp_path):
    draw([score(epoch, series="swept") for epoch in range(3)], swept="epochs")
    assert "Over epochs; " in (tmp_path / "run/figures/scores/tasks-swept-scandeval-13.3.0.txt").read_text("utf-8")


def test_one_step_many_and_values_that_are_no_numbers_are_drawn_or_said(tmp_path):
    steps = {"hub:ORG/NAME@abc": [500], "many": list(range(500, 100_500, 500)), "nan": [500, 1000]}
    rows = [
        {"series": series, "step": step, "against": "base", "against_step": 0, "layer": layer, "type": kind}
        | {"measure": measure, "value": float("nan") if (series, step, kind) == ("nan", 500, "q_proj") else float(step)}
        | {"degenerate": False, "undetermined": False}
        for series, mine in steps.items()
        for step in mine
        for kind, layer in (("q_proj", 0), ("q_proj", 1), ("lm_head", None))
        for measure in divergence.MEASURES
    ]
    write_table(tmp_path / "run/analysis/weights.parquet", rows, COLUMNS)
    said = run_main(divergence, write_recipe(tmp_path / "recipe.yaml", plot_divergence={}))
    assert "nan: 8 values are no numbers: steps 500; q_proj\n" in said
    figures = read_folder(tmp_path / "run/figures/divergence")
    one, many, gap = (figures[f"steps-{name}"] for name in ("hub-ORG-NAME-abc", "many", "nan"))
    assert values(one, "LMH")[:2] == [("0.0", "0.0"), ("500.0", "500.0")]
    assert len(values(many, "Q")) == 3 * 201  # of each panel, with the base
    assert values(gap, "Q")[:2] == [("0.0", "0.0"), ("1000.0", "1000.0")]


def test_embeddings_are_drawn_by_class_and_what_was_not_measured_is_said(tmp_path):
    recipe = write_recipe(tmp_path / "recipe.yaml", plot_embeddings={})
    with pytest.raises(ValueError, match="analysis/embeddings.parquet not found: run analyze/embeddings.py first"):
        run_main(embeddings, recipe)
    text = ("series", "against", "matrix", "grouping", "group", "measure", "unit")
    columns = {name: "string" for name in text} | {"step": "int64", "against_step": "int64", "tokens": "int64"}
    columns |= {"mean": "float64", "median": "float64"}
    facts = {"series": "pretrained", "against": "base", "against_step": 0, "tokens": 9, "unit": "", "median": 0.0}
    rows = [
        {**facts, "step": step, "matrix": "lm_head", "grouping": grouping, "group": group, "measure": measure}
        | {"mean": (step if group == "digit" else 2 * step) / (1 if measure == "l1" else 1000)}
        for step in (50, 100)
        for grouping, group in (("all", "all"), ("class", "digit"))
        for measure in ("l1", "cosine")
    ]
    write_table(tmp_path / "run/analysis/embeddings.parquet", rows, columns)
    said = run_main(embeddings, recipe)
    assert "pretrained against base: not drawn by frequency: it was not measured\n" in said
    drawn = read_folder(tmp_path / "run/figures/embeddings")["class-pretrained"]
    assert values(drawn, "digit (9)") == [("50.0", "50.0"), ("100.0", "100.0"), ("50.0", "0.05"), ("100.0", "0.1")]


def test_a_figure_is_the_same_bytes_again_and_told_in_words(tmp_path):
    for folder in ("one", "other"):
        figure, axes = new_figure(PAGE, 2)
        axes[0, 0].bar(["a", "b"], [1, float("nan")])
        save(figure, tmp_path / folder, "a/b@c", "A title", "A note.")
    first, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "other"))
    assert first == other and first.keys() == {f"a-b-c{kind}" for kind in KINDS}
    assert first["a-b-c.txt"].decode() == "A title\nA note.\na 1; b not known\n"
    assert first["a-b-c.csv"].decode() == "panel,curve,x,value,low,high\n,,a,1.0,,\n,,b,,,\n"
    assert b"<dc:date>" not in first["a-b-c.svg"] and b"CreationDate" not in first["a-b-c.pdf"]


def test_levels_of_chance_cross_the_curves_and_the_baselines_beside_them():
    steps = [score(step, name, chance=chance) for name, chance in (("a", 50.0), ("b", 25.0)) for step in (0, 50)]
    beside = [score(None, "a", series="baselines", name="base")]
    figure = scores.draw_tasks(steps, beside, scores.looks_of([*steps, *beside]), None)
    dotted = [[line.get_ydata()[0] for line in panel.lines if line.get_linestyle() == ":"] for panel in figure.axes]
    assert [sorted(levels) for levels in dotted[:2]] == [[25, 50], [25, 50]]
