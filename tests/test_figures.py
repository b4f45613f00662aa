"""Figures of whatever a run has, and of several runs: pytest tests/test_figures.py"""

import csv
import json
import warnings

import pytest
from conftest import run_main, write_recipe

from analyze.pairs import write_table
from analyze.weights import COLUMNS
from plot import compare, divergence, embeddings, scores
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


@pytest.fixture
def two_runs(tmp_path):
    """Two runs of different length, and a recipe of a third that has nothing."""
    for name, steps in (("short", (0, 50, 100)), ("long", (0, 500, 1000))):
        rows = [score(step, value=30.0 + len(name) + step / 100) for step in steps]
        save_scores(tmp_path / name, rows)
        weights = [
            {"series": "pretrained", "step": step, "against": "base", "against_step": 0, "layer": None}
            | {"type": "lm_head", "measure": measure, "value": step / 50, "degenerate": False, "undetermined": False}
            for step in steps[1:]
            for measure in ("delta", "subspace_angle")
        ]
        write_table(tmp_path / name / "analysis/weights.parquet", weights, COLUMNS)
    runs = [str(tmp_path / name) for name in ("short", "long")]
    return write_recipe(tmp_path / "recipe.yaml", plot_compare={"runs": runs})


def test_two_runs_and_the_paper_are_drawn_in_one_figure(two_runs, tmp_path):
    run_main(compare, two_runs, "paper=true", "over=share")
    figures = read_folder(tmp_path / "run/figures/compare")
    tasks = figures["tasks-scandeval-13.3.0"]
    assert values(tasks, "short: pretrained") == [("0.0", "35.0"), ("50.0", "35.5"), ("100.0", "36.0")]
    assert values(tasks, "long: pretrained") == [("0.0", "34.0"), ("50.0", "39.0"), ("100.0", "44.0")]
    assert values(tasks, "paper: SnakModel-7B base") == [("0.0", "56.28"), ("100.0", "56.28")]
    steps = figures["divergence-steps"]
    assert values(steps, "short: pretrained") == [("0.0", "0.0"), ("50.0", "1.0"), ("100.0", "2.0")]
    paper = [row for row in steps if row["curve"].startswith("paper") and row["panel"].startswith("LMH")]
    assert (paper[0]["x"], paper[0]["value"], paper[-1]["x"], len(paper)) == ("4.0", "0.6", "100.0", 13)
    types = {row["curve"]: row["value"] for row in figures["divergence-types"] if row["x"] == "LMH"}
    assert types["long: pretrained"] == "20.0" and types["paper: SnakModel-7B base"] == "0.0018970156088471413"


def test_the_papers_level_beside_one_step_is_one_point_and_degenerate_angles_are_marked(two_runs, tmp_path):
    save_scores(tmp_path / "long", [score(1000)])
    rows = [
        {"series": "pretrained", "step": 9, "against": "base", "against_step": 0, "layer": None, "undetermined": False}
        | {"type": "v_proj", "measure": measure, "value": 0.5, "degenerate": measure == "subspace_angle"}
        for measure in ("delta", "subspace_angle")
    ]
    write_table(tmp_path / "long/analysis/weights.parquet", rows, COLUMNS)
    run_main(compare, two_runs, "paper=true", f"runs={tmp_path}/long")
    figures = read_folder(tmp_path / "run/figures/compare")
    assert values(figures["tasks-scandeval-13.3.0"], "paper: SnakModel-7B base") == [("1000.0", "56.28")]
    marked = {(row["panel"], row["x"]) for row in figures["divergence-types"] if row["x"].startswith("(")}
    panel = "Subspace angle (degrees); (…): degenerate"
    assert marked == {(panel, f"({name})") for name in ("Q", "K", "V", "O", "W↓")}
    run_main(compare, two_runs)  # no paper: what the runs say
    figures = read_folder(tmp_path / "run/figures/compare")
    assert {(row["panel"], row["x"]) for row in figures["divergence-types"] if "(" in row["x"]} == {(panel, "(V)")}


def test_few_shot_and_zero_shot_share_no_panel_and_the_papers_stand_beside_few_shot_alone(two_runs, tmp_path):
    rows = {"short": [score(step, value=40.0, few_shot=False) for step in (0, 50)], "long": [score(0), score(1000)]}
    for name, mine in rows.items():
        save_scores(tmp_path / name, mine)
    said = run_main(compare, two_runs)
    assert "short: pretrained: tasks not drawn: nothing beside it by scandeval 13.3.0, test split, zero-shot\n" in said
    assert "long: pretrained: tasks not drawn: nothing beside it by scandeval 13.3.0, test split, few-shot\n" in said
    run_main(compare, two_runs, "paper=true")
    folder = tmp_path / "run/figures/compare"
    figures = read_folder(folder)
    assert {name for name in figures if name.startswith("tasks")} == {"tasks-scandeval-13.3.0"}
    curves = {row["curve"] for row in figures["tasks-scandeval-13.3.0"]}
    assert curves == {"long: pretrained", *(f"paper: {name}" for name in compare.PAPER_ROWS)}
    text = (folder / "tasks-scandeval-13.3.0.txt").read_text("utf-8")
    assert text.startswith("Task scores: long compared\n") and "scandeval 13.3.0, test split, few-shot\n" in text
    save_scores(tmp_path / "long", rows["long"] + [score(0, few_shot=False)])
    run_main(compare, two_runs, "paper=true", "--overwrite")
    zero = read_folder(folder)["tasks-scandeval-13.3.0-zero-shot"]
    assert {row["curve"] for row in zero} == {"short: pretrained", "long: pretrained"}
    assert "; scorer: scandeval 13.3.0, test split, zero-shot\n" in (
        folder / "tasks-scandeval-13.3.0-zero-shot.txt"
    ).read_text("utf-8")


def test_what_cannot_be_compared_is_one_line(two_runs, tmp_path):
    with pytest.raises(ValueError, match="run holds neither scores nor analysis/weights.parquet"):
        run_main(compare, two_runs, "runs=[]")
    with pytest.raises(ValueError, match="one run alone, short, cannot be compared"):
        run_main(compare, two_runs, f"runs={tmp_path}/short")
    with pytest.raises(
        ValueError, match="plot_compare.series: tuned is in the scores and weights of none of short, long"
    ):
        run_main(compare, two_runs, "series=tuned")


def test_where_the_paper_has_nothing_to_compare_one_line_says_what_is_there_and_what_makes_the_rest(two_runs, tmp_path):
    save_scores(tmp_path / "short", [score(0, scorer="builtin", scorer_version="3 bfloat16"), score(0, "own")])
    said = run_main(compare, two_runs, "paper=true", f"runs={tmp_path}/short", "over=share")
    assert (
        "short: pretrained: tasks not drawn: nothing beside it by builtin 3, bfloat16, test split, few-shot\n" in said
    )
    (line,) = [line for line in said.splitlines() if line.startswith("no score of the paper is drawn: ")]
    assert (
        ": data sets scored here: 1 by builtin 3, bfloat16, test split, few-shot, 1 by scandeval 13.3.0, test" in line
    )
    assert (
        "; the paper's: scala-da, dansk, angry-tweets, " in line
        and "izen-tests by scandeval, test split, few-shot; " in line
    )
    alike = "split=test few_shot=true"  # whatever the recipe says
    make = f"python evaluate/scandeval_all.py --config its.yaml {alike}; python evaluate/collect.py --config its.yaml"
    assert line.endswith(f"; make these by: make scandeval; {make}")
    save_scores(tmp_path / "short", [score(step) for step in (0, 50)])
    assert "no score of the paper" not in run_main(compare, two_runs, "paper=true", f"runs={tmp_path}/short")


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
