"""Draw scores, and bits per byte of held-out text, over the steps of every series, baselines beside them.

python plot/scores.py --config configs/tiny.yaml

Every scorer, its version and split has figures of its own: their scores are never in one curve. Steps are those of
pre-training, also of models tuned on them, or what the series counts instead: epochs, steps of tuning.
"""

import re
from collections import Counter
from itertools import groupby
from math import floor
from pathlib import Path
from typing import Any

from plot import layout, style
from plot.chart import known, push_apart
from plot.extents import BITS, MCC, POINTS
from snakmodel.config import run_script
from snakmodel.intervals import INTERVALS
from snakmodel.paths import Run, model_name
from snakmodel.records import read_json

GREY = "#666666"
LABEL_HEIGHT, LABEL_WIDTH = 0.05, 1.4  # of a line of a chance level's name: parts of the axis, inches
MOST_APART, ROOM = 0.06, 0.8  # of the points about a baseline's name, and all of them together: parts of its place
OURS = "builtin"  # the scorer that files' names leave out

Way = tuple[Any, Any, Any, bool | None]  # scorer, its version, split, few-shot or not


def way_of(row: style.Row) -> Way:
    """What must be the same in all scores that are compared; held-out text is read without examples by all."""
    few_shot = None if row.get("metric") == style.HELD_OUT else row.get("few_shot")
    return row.get("scorer"), row.get("scorer_version"), row.get("split"), few_shot


def curve_of(row: style.Row) -> tuple[Any, ...]:
    """What must be the same in all scores of one curve of such a figure."""
    return row["dataset"], row["metric"], way_of(row)[3]


def name_way(way: Way, ways: list[Way]) -> str:
    """ "-scandeval-13.3.0-val": what tells a way of scoring from the built-in scorer's on the test split."""
    scorer, version, split, few_shot = way
    same = [other for other in ways if other[0] == scorer]
    parts = [] if scorer in (None, OURS) else [scorer]
    parts += [version] if parts or len({other[1] for other in same}) > 1 else []
    parts += [split] if split == "val" or len({other[2] for other in same}) > 1 else []
    parts += ["zero-shot"] if few_shot is False and (*way[:3], True) in ways else []
    return "".join(f"-{part or 'unknown'}" for part in parts)


def find_curves(rows: list[style.Row]) -> dict[str, list[style.Row]]:
    """The curves of a figure by their labels, known tasks first; what tells them apart is said where it has to be."""
    curves: dict[tuple[Any, ...], list[style.Row]] = {}
    for row in rows:
        curves.setdefault(curve_of(row), []).append(row)
    several = len({shots for _, metric, shots in curves if metric != style.HELD_OUT}) > 1
    sets = {(style.label(mine[0]), dataset) for (dataset, _, _), mine in curves.items()}
    alike, named = Counter(label for label, _ in sets), {}  # several sets of one task
    for key in sorted(curves, key=lambda key: (style.order_of(key[0]), str(key))):
        (dataset, metric, shots), label = key, style.label(curves[key][0])
        how = f", {tell_shots(shots) or 'prompting not told'}" if several and metric != style.HELD_OUT else ""
        named[label + how + (f", {dataset}" if alike[label] > 1 else "")] = curves[key]
    return named


def looks_of(rows: list[style.Row]) -> dict[tuple[Any, ...], tuple[int, bool]]:
    """What `curve_of` tells -> its look, in all figures of these scores, whichever of their curves one has."""
    tasks = find_curves([row for row in rows if row["metric"] != style.HELD_OUT]).values()
    return style.looks({curve_of(mine[0]): style.place_of(mine[0]["dataset"]) for mine in tasks})


def chance_levels(rows: list[style.Row]) -> dict[float, list[str]]:
    """Levels of chance as they are printed, from the lowest -> the tasks that have them, in brief."""
    pairs = sorted({(round(row["chance"], 1), style.short_name(row)) for row in rows if row["chance"] is not None})
    return {level: [name for _, name in named] for level, named in groupby(pairs, key=lambda pair: pair[0])}


def draw_chance(panels: list[Any], rows: list[style.Row]) -> None:
    """A dotted line at each level of chance, across all panels; its tasks are named in the right margin, apart."""
    panel, levels = panels[-1], chance_levels(rows)
    texts = [layout.broken(f"chance {level:g}: {', '.join(names)}", LABEL_WIDTH) for level, names in levels.items()]
    bottom, top = panel.get_ylim()
    heights = [LABEL_HEIGHT * (top - bottom) * (text.count("\n") + 1) for text in texts]
    for level, place, text in zip(levels, push_apart(levels, heights, top), texts, strict=True):
        for each in panels:
            each.axhline(level, color=GREY, linestyle=":", linewidth=1)
        beside: Any = {"transform": panel.get_yaxis_transform(), "va": "center", "fontsize": 6, "color": GREY}
        panel.text(1.01, place, text, **beside)


def ends_of(rows: list[style.Row]) -> tuple[float, float]:
    """The ends of an axis of scores: 0 to 100, and below 0 as far as a correlation or its interval goes."""
    below = [row[key] for row in rows if row["metric"] == "mcc" for key in ("value", "low") if known(row, key)]
    return max(20.0 * floor(min([0, *below]) / 20), MCC.low), POINTS.high


def name_axis(bottom: float) -> str:
    """The name of an axis of scores that begins there."""
    return "Score (0 to 100)" if bottom >= 0 else "Score (0 to 100, MCC from -100)"


def new_panels(
    rows: list[style.Row], baselines: list[style.Row], width: float, height: float, room: float
) -> tuple[Any, Any]:
    """A figure with a panel of curves, if there are rows, and one of baselines, with `room` inches a name, if any."""
    names = list(dict.fromkeys(row["name"] for row in baselines))
    widths = [4.0] * bool(rows) + [max(room * len(names), 0.5)] * bool(names)
    longest = max((len(part) for name in names for part in re.split("[/@]", name)), default=0)  # of upright print
    height += 0.05 * min(longest, 20)
    return style.new_figure(width, height, columns=len(widths), sharey=True, width_ratios=widths)


def draw_baselines(panel: Any, curves: dict[str, list[style.Row]], looks: dict[str, tuple[int, bool]]) -> None:
    """A place a baseline, and in it, about its name, a point for each curve that has one of any baseline."""
    beside = {label: ours for label, mine in curves.items() if (ours := [row for row in mine if row["step"] is None])}
    names = list(dict.fromkeys(row["name"] for mine in curves.values() for row in mine if row["step"] is None))
    apart = min(MOST_APART, ROOM / len(beside))
    for number, (label, mine) in enumerate(beside.items()):
        found, (place, hollow) = {row["name"]: row for row in mine}, looks[label]
        points = [found.get(name, {"value": None, "low": None, "high": None}) for name in names]
        shift, measure = apart * (number - (len(beside) - 1) / 2), style.measure_of(mine[0]["metric"])
        style.draw_points(panel, label, points, place, shift, hollow=hollow, measure=measure)
    style.name_ticks(panel.xaxis, names)
    panel.tick_params(axis="x", labelrotation=90, labelsize=6)
    panel.set(xlim=(-0.5, len(names) - 0.5), title="Baselines")
    panel.grid(axis="x", visible=False)


def draw_tasks(
    rows: list[style.Row], baselines: list[style.Row], looks: dict[tuple[Any, ...], tuple[int, bool]], axis: str | None
) -> Any:
    """One line a task with its 95% band, dotted lines at the chance levels; baselines as points in a panel beside.

    Without rows: the baselines alone.
    """
    curves = find_curves([*rows, *baselines])
    room = min(max(0.3, 0.04 * len(curves)), 0.8)
    figure, axes = new_panels(rows, baselines, style.PAGE, 2.9 + 0.07 * len(curves), room)
    mine_look = {label: looks[curve_of(mine[0])] for label, mine in curves.items()}
    for label, mine in curves.items():
        steps = [row for row in mine if row["step"] is not None]
        if steps:
            style.draw_curve(axes[0, 0], label, steps, *mine_look[label], style.measure_of(mine[0]["metric"]))
    if baselines:
        draw_baselines(axes[0, -1], curves, mine_look)
    ends = ends_of([*rows, *baselines])
    axes[0, 0].set(ylim=ends, ylabel=name_axis(ends[0]))
    for panel in axes.flat:
        style.keep_whole(panel)
    draw_chance(list(axes.flat), [*rows, *baselines])
    if rows:
        style.label_steps(axes[0, 0], rows, axis)
    layout.add_legend(figure, layout.handles_of(axes.flat), 2)
    return figure


def draw_held_out(rows: list[style.Row], baselines: list[style.Row], axis: str | None) -> Any:
    """Bits per byte, one line a language: lower is better, so a rising line is forgetting; baselines as for tasks."""
    by_language = style.group([*rows, *baselines], "language")
    languages = {style.LANGUAGES.get(language, language): mine for language, mine in by_language.items()}
    looks = style.looks(dict(zip(languages, range(len(languages)), strict=True)))
    figure, axes = new_panels(rows, baselines, style.PAGE if baselines else style.COLUMN, 2.4, 0.3)
    for language, mine in languages.items():
        steps = [row for row in mine if row["step"] is not None]
        if steps:
            style.draw_curve(axes[0, 0], language, steps, *looks[language])
    if baselines:
        draw_baselines(axes[0, -1], languages, looks)
    axes[0, 0].set_ylabel("Bits per byte (lower is better)")
    axes[0, 0].set_ylim(bottom=0)
    for panel in axes.flat:
        style.bound(panel, BITS)
    if rows:
        style.label_steps(axes[0, 0], rows, axis)
    layout.add_legend(figure, layout.handles_of(axes.flat), max(len(languages), 1))
    return figure


def split_ways(rows: list[style.Row]) -> dict[Way, list[style.Row]]:
    """Rows by the way they were scored."""
    ways: dict[Way, list[style.Row]] = {}
    for row in rows:
        ways.setdefault(way_of(row), []).append(row)
    return ways


def split_figures(rows: list[style.Row]) -> dict[Way, list[style.Row]]:
    """Rows by the way they were scored, few-shot and zero-shot ones together: the curves of one run tell them apart.

    The way of a figure that has both says neither.
    """
    figures: dict[tuple[Any, ...], list[style.Row]] = {}
    for row in rows:
        figures.setdefault(way_of(row)[:3], []).append(row)
    ways: dict[Way, list[style.Row]] = {}
    for (scorer, version, split), mine in figures.items():
        told = {way_of(row)[3] for row in mine} - {None}
        ways[scorer, version, split, told.pop() if len(told) == 1 else None] = mine
    return ways


def split_series(rows: list[style.Row]) -> tuple[list[style.Row], dict[str, list[style.Row]]]:
    """The baselines among rows of one way of scoring, each by a name of its own, and the figures that they stand in: a
    series each, or alone.
    """
    baselines = [{**row, "name": model_name(row)} for row in rows if row["step"] is None]
    series = style.group([row for row in rows if row["step"] is not None], "series")
    return baselines, series or ({"baselines": []} if baselines else {})


def is_number(row: style.Row) -> bool:
    return row["value"] is not None and row["value"] == row["value"]


def draw(inputs: style.Inputs, folder: Path) -> None:
    """All figures: of every series and way of scoring, of tasks and of held-out text; what has no score is said."""
    rows = [row for row in read_json(inputs["scores"] / "scores.json")["rows"] if row["primary"]]
    rows.sort(key=lambda row: row["step"] or 0)
    counts = style.read_axes(inputs)
    for row in (row for row in rows if not is_number(row)):
        what = row.get("name") or f"step {row['step']}"
        print(f"not drawn, no score: {row['series']} {what} {row['dataset']}", flush=True)
    ways = split_figures([row for row in rows if row["metric"] != style.HELD_OUT])
    rows = [row for row in rows if is_number(row)]
    for way, scored in ways.items():
        looks, (baselines, series) = looks_of(scored), split_series([row for row in scored if is_number(row)])
        for name, ours in series.items():
            figure = draw_tasks(ours, baselines, looks, counts.get(name))
            title, where = f"Task scores over steps, series {name}", f"tasks-{name}{name_way(way, list(ways))}"
            style.save(figure, folder, where, title, f"{tell(way, counts.get(name))}; dotted: chance")
    ways = split_ways([row for row in rows if row["metric"] == style.HELD_OUT])
    for way, mine in ways.items():
        baselines, series = split_series(mine)
        for name, ours in series.items():
            figure = draw_held_out(ours, baselines, counts.get(name))
            title, where = f"Held-out text over steps, series {name}", f"held-out-{name}{name_way(way, list(ways))}"
            style.save(figure, folder, where, title, tell(way, counts.get(name)))


def tell_shots(few_shot: bool | None) -> str:
    return "" if few_shot is None else "few-shot" if few_shot else "zero-shot"


def tell_way(way: Way) -> str:
    """Who scored, and how: "builtin 3, bfloat16, test split, few-shot"."""
    scorer, version, split, few_shot = way
    who = " ".join(str(part) for part in (scorer, version and version.replace(" ", ", ")) if part)
    return (
        ", ".join(part for part in (who, f"{split} split" if split else "", tell_shots(few_shot)) if part) or "not told"
    )


def tell_interval(way: Way) -> str:
    """What an interval is of, as far as the scorer is known."""
    return f"95% interval {INTERVALS[way[0] == OURS]}" if way[0] else "95% interval"


def tell(way: Way, axis: str | None) -> str:
    """What the x axis counts, what bands are, and who scored."""
    return f"Over {axis or 'pre-training steps'}; bands and brackets: {tell_interval(way)}; scorer: {tell_way(way)}"


def find(run: Run) -> style.Inputs:
    return {"scores": run.folder("collect"), **style.find_axes(run)}


def main() -> None:
    style.run("plot_scores", __doc__, find, draw)


if __name__ == "__main__":
    run_script(main)
