"""Draw scores, and bits per byte of held-out text, over the steps of every series, baselines beside them.

python plot/scores.py --config configs/tiny.yaml

Every scorer, its version and split has figures of its own: their scores are never in one curve. Steps are those of
pre-training, also of models tuned on them, or what the series counts instead: epochs, steps of tuning.
"""

import re
from itertools import groupby
from pathlib import Path
from typing import Any

from plot import style
from snakmodel.config import run_script
from snakmodel.paths import Run
from snakmodel.records import read_json

GREY = "#666666"
LABEL_HEIGHT = 5.0  # of a chance level's name, in points of score
OURS = "builtin"  # the scorer that files' names leave out

Way = tuple[Any, Any, Any]  # scorer, its version, split


def way_of(row: style.Row) -> Way:
    """What must be the same in all scores of one figure."""
    return row.get("scorer"), row.get("scorer_version"), row.get("split")


def curve_of(row: style.Row) -> tuple[Any, ...]:
    """What must be the same in all scores of one curve of such a figure."""
    return row["dataset"], row["metric"], row.get("few_shot")


def name_way(way: Way, ways: list[Way]) -> str:
    """ "-scandeval-13.3.0-val": what tells a way of scoring from the built-in scorer's on the test split."""
    scorer, version, split = way
    same = [other for other in ways if other[0] == scorer]
    parts = [] if scorer in (None, OURS) else [scorer]
    parts += [version] if parts or len({other[1] for other in same}) > 1 else []
    parts += [split] if split == "val" or len({other[2] for other in same}) > 1 else []
    return "".join(f"-{part or 'unknown'}" for part in parts)


def find_curves(rows: list[style.Row]) -> dict[str, list[style.Row]]:
    """The curves of a figure by their labels, known tasks first; few-shot and zero-shot are told apart if both are."""
    curves: dict[tuple[Any, ...], list[style.Row]] = {}
    for row in rows:
        curves.setdefault(curve_of(row), []).append(row)
    order, named = style.order_of([row["dataset"] for row in rows]), {}
    for key in sorted(curves, key=lambda key: (order[key[0]], str(key))):
        mine, shots = curves[key], {other[2] for other in curves if other[:2] == key[:2]}
        words = (", few-shot" if key[2] else ", zero-shot") if len(shots) > 1 else ""
        label = style.label(mine[0]) + words
        named[f"{label}, {key[0]}" if label in named else label] = mine  # another set of a task that is there
    return named


def draw_chance(panel: Any, rows: list[style.Row]) -> None:
    """A dotted line at each level of chance, its tasks named in the right margin; names that collide are pushed up."""
    pairs = sorted({(round(row["chance"], 1), style.short_name(row)) for row in rows if row["chance"] is not None})
    place = -LABEL_HEIGHT
    for level, tasks in groupby(pairs, key=lambda pair: pair[0]):
        panel.axhline(level, color=GREY, linestyle=":", linewidth=1)
        place = max(level, place + LABEL_HEIGHT)
        text = f"chance {level:g}: {', '.join(task for _, task in tasks)}"
        panel.text(1.01, place, text, transform=panel.get_yaxis_transform(), va="center", fontsize=6, color=GREY)


def draw_tasks(rows: list[style.Row], baselines: list[style.Row], axis: str | None) -> Any:
    """One line a task with its 95% band, dotted lines at the chance levels; baselines as points in a panel beside.

    Without rows: the baselines alone.
    """
    curves, names = find_curves([*rows, *baselines]), list(dict.fromkeys(row["name"] for row in baselines))
    widths = [4.0] * bool(rows) + [max(0.3 * len(names), 0.5)] * bool(names)
    longest = max((len(part) for name in names for part in re.split("[/@]", name)), default=0)  # of upright print
    height = 2.9 + 0.07 * len(curves) + 0.05 * min(longest, 20)
    figure, axes = style.new_figure(style.PAGE, height, columns=len(widths), sharey=True, width_ratios=widths)
    order = style.order_of([row["dataset"] for row in [*rows, *baselines]])
    seen: set[int] = set()
    for label, mine in curves.items():
        place, steps = order[mine[0]["dataset"]], [row for row in mine if row["step"] is not None]
        again = place in seen  # another set or metric of a task that is there, or few-shot beside zero-shot
        seen.add(place)
        if steps:
            style.draw_curve(axes[0, 0], label, steps, place, hollow=again)
        if names:
            found = {row["name"]: row for row in mine if row["step"] is None}
            absent = {"value": None, "low": None, "high": None}
            shift = 0.06 * (list(curves).index(label) - (len(curves) - 1) / 2)
            style.draw_points(axes[0, -1], label, [found.get(name, absent) for name in names], place, shift)
    draw_chance(axes[0, -1], [*rows, *baselines])
    axes[0, 0].set(ylim=(0, 100), ylabel="Score (0 to 100)")
    if rows:
        style.label_steps(axes[0, 0], rows, axis)
    if names:
        style.name_ticks(axes[0, -1].xaxis, names)
        axes[0, -1].tick_params(axis="x", labelrotation=90, labelsize=6)
        axes[0, -1].set(xlim=(-0.5, len(names) - 0.5), title="Baselines")
        axes[0, -1].grid(axis="x", visible=False)
    handles = {
        label: handle for panel in axes.flat for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=2)
    return figure


def draw_held_out(rows: list[style.Row], axis: str | None) -> Any:
    """Bits per byte, one line a language: lower is better, so a rising line is forgetting."""
    languages = style.group(rows, "language")
    figure, axes = style.new_figure(style.COLUMN, 2.4)
    panel = axes[0, 0]
    for place, (language, mine) in enumerate(languages.items()):
        style.draw_curve(panel, style.LANGUAGES.get(language, language), mine, place)
    panel.set_ylabel("Bits per byte (lower is better)")
    panel.set_ylim(bottom=0)
    style.label_steps(panel, rows, axis)
    figure.legend(loc="outside lower center", ncols=len(languages))
    return figure


def split_ways(rows: list[style.Row]) -> dict[Way, list[style.Row]]:
    """Rows by the way they were scored."""
    ways: dict[Way, list[style.Row]] = {}
    for row in rows:
        ways.setdefault(way_of(row), []).append(row)
    return ways


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
    rows = [row for row in rows if is_number(row)]
    ways = split_ways([row for row in rows if row["metric"] != style.HELD_OUT])
    for way, mine in ways.items():
        baselines = [row for row in mine if row["step"] is None]
        series = style.group([row for row in mine if row["step"] is not None], "series")
        for name, ours in (series or {"baselines": []}).items():  # or baselines alone
            figure = draw_tasks(ours, baselines, counts.get(name))
            title, where = f"Task scores over steps, series {name}", f"tasks-{name}{name_way(way, list(ways))}"
            style.save(figure, folder, where, title, f"{tell(way, counts.get(name))}; dotted: chance")
    ways = split_ways([row for row in rows if row["metric"] == style.HELD_OUT and row["step"] is not None])
    for way, mine in ways.items():
        for name, ours in style.group(mine, "series").items():
            figure = draw_held_out(ours, counts.get(name))
            title, where = f"Held-out text over steps, series {name}", f"held-out-{name}{name_way(way, list(ways))}"
            style.save(figure, folder, where, title, tell(way, counts.get(name)))


def tell(way: Way, axis: str | None) -> str:
    """What the x axis counts, what bands are, and who scored: "builtin 1, test split"."""
    scorer, version, split = way
    who = " ".join(str(part) for part in (scorer, version) if part) + (f", {split} split" if split else "")
    return f"Over {axis or 'pre-training steps'}; bands and brackets: 95% interval; scorer: {who or 'not told'}"


def find(run: Run) -> style.Inputs:
    return {"scores": run.folder("collect"), **style.find_axes(run)}


def main() -> None:
    style.run("plot_scores", __doc__, find, draw)


if __name__ == "__main__":
    run_script(main)
