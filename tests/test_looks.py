"""Colours, markers and dashes of curves: pytest tests/test_looks.py"""

import pytest
from test_figures import score

from plot import layout, style
from plot.read_back import names_at, whole
from plot.scores import find_curves


def test_the_second_curve_of_one_marker_is_hollow():
    looks = style.looks({"LA": 0, "LA, zero-shot": 0, "own": 40})
    assert looks == {"LA": (0, False), "LA, zero-shot": (0, True), "own": (40, False)}
    alike = style.looks(
        {name: style.place_of(name) for name in ("own", "held-out", "e")}
    )  # of one marker, which grey print shows alone
    assert len({style.look(place)[1] for place, _ in alike.values()}) == 1
    assert [hollow for _, hollow in alike.values()] == [False, True, True]


def test_no_two_curves_of_a_figure_look_the_same_and_a_colour_is_kept_where_it_can_be():
    sets = ["scala-da", "tiny-acceptability", "dansk", *(f"own-{number}" for number in range(40))]
    wanted = {name: style.place_of(name) for name in sets}
    for dashes in (True, False):
        looks = style.looks(wanted, dashes)
        assert len({(style.look(place), hollow) for place, hollow in looks.values()}) == len(sets)
        moved = [name for name in sets if looks[name][0] != wanted[name]]
        assert moved and all(looks[name][0] >= len(style.COLOURS) for name in moved), "known tasks' looks are theirs"
        kept = [style.look(looks[name][0])[0] == style.look(wanted[name])[0] for name in sets]
        assert all(kept) and (dashes or not any(hollow for _, hollow in looks.values()))
    for dashes, told_apart in ((True, 81), (False, 72)):  # more curves than there are looks
        found = list(style.looks({number: 20 for number in range(200)}, dashes).values())
        assert len({(style.look(place), hollow) for place, hollow in found[:told_apart]}) == told_apart
        assert {place for place, _ in found[told_apart:]} == {20}, "which nobody tells apart have their own look"


def test_curves_are_named_by_what_tells_them_apart_and_none_is_lost():
    held_out = score(0, "held-out-da", 1.5, metric="bits_per_byte", few_shot=False)
    rows = [score(0), held_out, score(0, "dansk", metric="micro_f1")]
    task, other, text = list(find_curves(rows))
    assert (task, other) == ("Linguistic acceptability (LA, macro F1)", "Named entities (NER, micro F1)")
    mixed = [*rows, score(0, few_shot=None), score(0, "tiny-acceptability")]
    assert list(find_curves(mixed)) == [
        f"{task}, prompting not told, scala-da", f"{task}, few-shot, scala-da", f"{task}, few-shot, tiny-acceptability",
        f"{other}, few-shot", text,
    ]  # fmt: skip


@pytest.mark.parametrize("name", [
    "my-set - of letters", "ORG/NAME_of a thing/other - part_two", "a - b - c - d", "a -- b, c / d", "X" * 60,
    "one two-three four_five six/seven - eight", "org/model@main beside ORG / NAME @ 2", "-", "ends in -",
])  # fmt: skip
def test_a_name_that_was_broken_is_whole_again_however_narrow_its_place(name):
    for tenths in range(1, 40):
        broken = layout.broken(name, tenths / 10)
        assert whole(broken) == name
    assert whole("A part\nand another") == "A part and another"


def test_the_names_of_models_at_an_axis_are_read_back_whole():
    names = ["org/m@main", "one org/m", "ORG/a - b@0123456789abcdef"]
    figure, axes = style.new_figure(3, 2)
    axes[0, 0].plot(range(3), range(3))
    style.name_ticks(axes[0, 0].xaxis, names)
    assert list(names_at(axes[0, 0].xaxis).values()) == [*names[:2], "ORG/a - b@01234567"]
