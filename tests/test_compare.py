"""Several runs, or a run and the paper, in one figure: pytest tests/test_compare.py"""

import pytest
from conftest import run_main, write_recipe
from test_figures import read_folder, save_scores, score, values

from analyze.pairs import write_table
from analyze.weights import COLUMNS
from plot import compare
from plot.shared_axis import last_steps
from snakmodel.records import write_json


def moved(step, value, kind="lm_head", series="pretrained"):
    """A row of weights.parquet for each of two measures."""
    row = {"series": series, "step": step, "against": "base", "against_step": 0, "layer": None, "type": kind}
    row |= {"value": value, "degenerate": False, "undetermined": False}
    return [row | {"measure": measure} for measure in ("delta", "subspace_angle")]


@pytest.fixture
def two_runs(tmp_path):
    """Two runs of different length, and a recipe of a third that has nothing."""
    for name, steps in (("short", (0, 50, 100)), ("long", (0, 500, 1000))):
        rows = [score(step, value=30.0 + len(name) + step / 100) for step in steps]
        save_scores(tmp_path / name, rows)
        weights = [row for step in steps[1:] for row in moved(step, step / 50)]
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
    rows = [row | {"degenerate": row["measure"] == "subspace_angle"} for row in moved(9, 0.5, "v_proj")]
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


def test_two_sets_of_one_name_have_a_panel_each_in_which_no_other_sets_scores_stand(two_runs, tmp_path):
    save_scores(tmp_path / "short", [score(0, "angry-tweets", 30.0), score(0, "tiny-sentiment", 40.0), score(0)])
    save_scores(tmp_path / "long", [score(0, "tiny-sentiment", 90.0), score(0)])
    run_main(compare, two_runs)
    found = {}
    for row in read_folder(tmp_path / "run/figures/compare")["tasks-scandeval-13.3.0"]:
        found.setdefault(row["panel"], {})[row["curve"].partition(":")[0]] = row["value"]
    assert found == {
        "Linguistic acceptability (LA, macro F1)": {"short": "50.0", "long": "50.0"},
        "Sentiment (Senti, macro F1), angry-tweets": {"short": "30.0"},
        "Sentiment (Senti, macro F1), tiny-sentiment": {"short": "40.0", "long": "90.0"},
    }
    save_scores(tmp_path / "short", [score(0, "angry-tweets", 30.0)])
    run_main(compare, two_runs)
    panels = {row["panel"] for row in read_folder(tmp_path / "run/figures/compare")["tasks-scandeval-13.3.0"]}
    assert len(panels) == 3


def test_a_share_is_of_the_runs_last_step_alike_for_scores_and_distances(two_runs, tmp_path):
    for name, last in (("short", 320), ("long", 3200)):
        save_scores(tmp_path / name, [score(step, series="tuned") for step in (0, last // 2)])
        rows = [row for step in (last // 4, last // 2) for row in moved(step, 1.0, series="tuned")]
        write_table(tmp_path / name / "analysis/weights.parquet", rows, COLUMNS)
        write_json(tmp_path / name / "models/series.json", {"steps": [{"step": 0}, {"step": last}]})
        write_json(tmp_path / name / "instruct/tuned/series.json", {"steps": [{"step": 0}, {"step": last // 2}]})
    run_main(compare, two_runs, "over=share", "series=tuned")
    figures = read_folder(tmp_path / "run/figures/compare")
    for curve in ("short: tuned", "long: tuned"):
        assert [float(x) for x, _ in values(figures["tasks-scandeval-13.3.0"], curve)] == [0, 50]
        assert [float(x) for x, _ in values(figures["divergence-steps"], curve)] == [0, 25, 50]
    write_json(tmp_path / "long/models/series.json", {"steps": [{"step": 0}, {"step": 1600}]})
    run_main(compare, two_runs, "over=share", "series=tuned")  # drawn again by itself
    figures = read_folder(tmp_path / "run/figures/compare")
    assert [float(x) for x, _ in values(figures["divergence-steps"], "long: tuned")] == [0, 50, 100]


def test_the_last_step_is_that_of_the_run_on_that_axis_or_where_no_series_is_listed_of_its_rows(tmp_path):
    rows = [{"series": series, "step": step} for series, step in (("pretrained", 160), ("tuned", 80), ("hub:a/b", 9))]
    rows += [{"series": "swept", "step": 2}, {"series": "elsewhere", "step": 500}]
    assert last_steps({}, rows[:3]) == {"pretrained": 160, "tuned": 160, "hub:a/b": 9}
    listed = {"pretrained": {"steps": [{"step": 320}]}, "swept": {"axis": "epochs", "steps": [{"step": 3}]}}
    files = {f"series.{series}": tmp_path / f"{series}.json" for series in listed}
    for series, what in listed.items():
        write_json(files[f"series.{series}"], what)
    found = last_steps(files, rows)
    assert found == {"pretrained": 320, "tuned": 320, "hub:a/b": 9, "swept": 3, "elsewhere": 500}
