"""Leaderboards, and the table that fills up while models are scored: pytest tests/test_leaderboard.py"""

from collect import score_rows
from scorer.leaderboard import Published, make_tables
from scorer.live_table import LiveTable
from test_collect import own_record


def rows_of(*what, **changes):
    """The rows of a record; the score has an interval of 1 to each side."""
    return list(score_rows(own_record(*what) | changes, {}, []))


def lines_of(rows):
    """The cells of the last table in Markdown."""
    table = make_tables(rows, [], Published({}, {}), {}, False)["md"].rpartition("\n## ")[2]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "@" in line]


def test_several_languages_have_a_table_of_their_averages():
    rows = rows_of("pretrained", 50, "scala-da", 50.0) + rows_of("pretrained", 50, "danske-talemaader", 70.0)
    rows += rows_of("pretrained", 50, "scala-da", 40.0, dataset="scala-nb", dataset_languages=["nb"])
    rows += rows_of("pretrained", 0, "scala-da", 90.0, dataset="scala-nb", dataset_languages=["nb"])
    assert lines_of(rows) == [
        ["pretrained@50", "60.00 ± 0.71 (1)", "40.00 ± 1.00 (2)", "50.00 ± 0.61 (1)"],
        ["pretrained@0", "–", "90.00 ± 1.00 (1)", "–"],
    ]
    assert lines_of(rows[:4]) == [["pretrained@50", "50.00 ± 1.00 (1)", "70.00 ± 1.00 (1)", "60.00 ± 0.71 (1)"]]


def test_the_first_and_last_step_stand_in_the_leaderboard_or_all():
    rows = rows_of("pretrained", 0, "scala-da", 40.0)
    steps = [row | {"step": step, "dataset": name} for row in rows[:1] for step in range(200) for name in ("a", "b")]
    names = [
        line.split("|")[1]
        for line in make_tables(steps, [], Published({}, {}), {}, False)["md"].splitlines()
        if "@" in line
    ]
    assert [name.strip() for name in names] == ["pretrained@0", "pretrained@199"]
    assert make_tables(steps, [], Published({}, {}), {}, True)["md"].count("pretrained@") == 200
    assert "# Leaderboard" in make_tables([], [], Published({}, {}), {}, True)["md"]


def test_of_many_models_the_live_table_shows_those_that_are_not_there_yet():
    table = LiveTable([f"step {n}" for n in range(200)], ["dansk"])
    for number in range(150):
        table.tell(f"step {number}", "dansk", "1.0")
    assert table.text(20).splitlines()[1::19] == ["step 150", "step 169"]
