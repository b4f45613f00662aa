"""Colours, markers and dashes of curves: pytest tests/test_looks.py"""

from plot import style


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
    assert len(style.looks({number: 20 for number in range(200)})) == 200  # more than there are looks
