"""Draw how far the weights have moved, by each comparison that was made: over the steps, by layer, by parameter type.

python plot/divergence.py --config configs/tiny.yaml

The subspace angle is the paper's measure. It is 0 by construction ("degenerate") for a matrix with no more rows than
columns, whose column space is the whole space; such types are marked, and well-posed measures stand beside. Marked,
too, are angles that are undetermined: of a matrix that has changed by more than the gap that holds its span.
"""

from collections.abc import Callable, Iterable
from math import isnan
from pathlib import Path
from statistics import fmean, pstdev

from plot import style
from plot.extents import ANGLES, DEGREES, RATIO, WEIGHT, Measure
from snakmodel.comparisons import FIRST
from snakmodel.config import run_script

PARAMETERS, MEASURES = style.NAMES["parameters"], style.NAMES["measures"]
PANELS = ("subspace_angle", "left_singular_angle", "relative_frobenius")
SUMMED = "subspace_angle"  # over a layer, as in the paper
EXTENTS = {"delta": WEIGHT, "subspace_angle": DEGREES, "left_singular_angle": DEGREES, "relative_frobenius": RATIO}
ENDS = ("EMB", "LMH", "N")  # outside the layers, in another colour
BARS_NOTE = "A panel a measure; in brackets: degenerate, 0 by construction; *: undetermined in a matrix"
MANY = 12  # bars beyond which a panel's names need smaller print

Bars = dict[str, float]


def over_steps(rows: list[style.Row]) -> list[style.Row]:
    """Mean over a type's layers at each step; the band is one standard deviation either side. The base is at 0."""
    is_base = rows[0]["against"] == "base"
    curve = [{"step": rows[0]["against_step"], "value": 0.0, "low": 0.0, "high": 0.0}] if is_base else []
    for step, mine in sorted(style.group(rows, "step").items()):
        values = [row["value"] for row in mine]
        mean, deviation = fmean(values), pstdev(values)
        curve.append({"step": step, "value": mean, "low": mean - deviation, "high": mean + deviation})
    return curve


def by_layer(rows: list[style.Row], combine: Callable[[Iterable[float]], float]) -> Bars:
    """EMB, L0, ..., LMH -> the values of the layer's matrices, combined."""
    named = [{**r, "name": PARAMETERS[r["type"]] if r["layer"] is None else f"L{r['layer']}"} for r in rows]
    groups = style.group(named, "name").items()
    return {name + star(mine): combine(row["value"] for row in mine) for name, mine in groups}


def by_type(rows: list[style.Row]) -> Bars:
    """EMB, Q, ..., LMH -> mean over the layers; a type for which the measure is degenerate stands in brackets."""
    bars = {}
    for kind, mine in style.group(rows, "type").items():
        name = f"({PARAMETERS[kind]})" if mine[0]["degenerate"] else PARAMETERS[kind]
        bars[name + star(mine)] = fmean(row["value"] for row in mine)
    return bars


def star(rows: list[style.Row]) -> str:
    """What marks a mean of angles of which one is undetermined."""
    return "*" if any(row["undetermined"] for row in rows) else ""


def draw_steps(
    title: str, measures: dict[str, list[style.Row]], folder: Path, name: str, axis: str | None = None
) -> None:
    """A panel a measure, a line a parameter type from 0 at the base step; the legend has the last panel's place."""
    figure, axes = style.new_figure(style.PAGE, 4.4, rows=2, columns=2)
    *panels, rest = axes.flat
    for panel, measure in zip(panels, PANELS, strict=True):
        for kind, mine in style.group(measures[measure], "type").items():
            degenerate = mine[0]["degenerate"]
            label = PARAMETERS[kind] + (" (degenerate)" if degenerate else "")
            curve = over_steps(mine)
            style.draw_curve(panel, label, curve, list(PARAMETERS).index(kind), hollow=degenerate)
            loose = {row["step"] for row in mine if row["undetermined"]}
            if crossed := [(point["step"], point["value"]) for point in curve if point["step"] in loose]:
                panel.plot(*zip(*crossed, strict=True), "kx", label=f"{label}, undetermined")
        panel.set_title(MEASURES[measure])
        panel.set_ylim(bottom=0)
        style.bound(panel, EXTENTS[measure])
        style.label_steps(panel, [], axis)
    handles, labels = panels[0].get_legend_handles_labels()
    rest.legend(handles, labels, loc="center", title="Mean over layers; band: one std\n×: undetermined", handlelength=3)
    rest.axis("off")
    note = "A panel a measure; mean over a type's layers; bands and brackets: one standard deviation"
    style.save(figure, folder, name, title, note)


def draw_bars(
    title: str,
    panels: dict[str, Bars],
    measures: Iterable[Measure],
    columns: int,
    folder: Path,
    name: str,
    note: str = BARS_NOTE,
) -> None:
    """A panel of bars for each measure, the embedding and the head in another colour."""
    lines = -(-len(panels) // columns)
    figure, axes = style.new_figure(style.PAGE, 0.2 + 1.5 * lines, rows=lines, columns=columns)
    for panel, (what, bars), measure in zip(axes.flat, panels.items(), measures, strict=True):
        colours = [style.COLOURS[1 if bar.strip("()*") in ENDS else 0] for bar in bars]
        panel.bar(list(bars), list(bars.values()), 0.7, color=colours)
        style.bound(panel, measure)
        for place, value in enumerate(bars.values()):
            if value == 0 or isnan(value):  # no bar is seen there
                told, rotation = ("not known", 90) if isnan(value) else ("0", 0)
                above = {
                    "textcoords": "offset points",
                    "ha": "center",
                    "va": "bottom",
                    "fontsize": 6,
                    "label": "_value",
                }
                panel.annotate(told, (place, 0), (0, 2), rotation=rotation, **above)
        panel.tick_params(axis="x", labelsize=5 if len(bars) > MANY else 7)
        panel.grid(axis="x", visible=False)
        brackets = "; (…): degenerate" if any(bar.startswith("(") for bar in bars) else ""
        panel.set_title(what + brackets + ("; *: undetermined" if any(bar.endswith("*") for bar in bars) else ""))
    style.save(figure, folder, name, title, note)


def told(series: str, against: str, step: int) -> tuple[str, str]:
    """What the distances of a comparison are, and its figures' name; step: of what the last step is compared with."""
    first = against.removesuffix(FIRST)
    name = series if against == "base" else f"{series}-against-{against}"
    if against == "previous":
        what = "Distance from the step before"
    elif against == "base":
        what = f"Distance from step {step:,}"
    else:
        what = f"Distance from {f'step {step:,}' if against != first else 'the same step'} of {first}"
    return what, name


def read_distances(path: Path) -> list[style.Row]:
    """The rows of the table that are drawn, in the order of types and layers, each with its `pair` of models."""
    import pyarrow.parquet as pq  # late: a finished figure says so at once

    table = pq.read_table(path, filters=[("measure", "in", list(MEASURES))])
    rows = [row for row in table.to_pylist() if row["type"] in PARAMETERS]
    unknown = [row for row in rows if row["value"] is None or isnan(row["value"])]
    for series, mine in style.group(unknown, "series").items():
        steps, types = ({str(row[key]): None for row in mine} for key in ("step", "type"))
        print(f"{series}: {len(mine)} values are no numbers: steps {', '.join(steps)}; {', '.join(types)}", flush=True)
    rows = [row for row in rows if row["value"] is not None and not isnan(row["value"])]
    rows.sort(key=lambda row: (list(PARAMETERS).index(row["type"]), row["layer"] or 0))
    return [row | {"pair": (row["series"], row["against"])} for row in rows]


def draw(inputs: style.Inputs, folder: Path) -> None:
    """Three figures of every series and comparison that has the measures of all panels."""
    axes = style.read_axes(inputs)
    for (series, against), mine in style.group(read_distances(inputs["weights"]), "pair").items():
        if absent := MEASURES.keys() - {row["measure"] for row in mine}:
            print(f"{series} against {against}: not drawn: not measured: {', '.join(sorted(absent))}", flush=True)
            continue
        last = max(row["step"] for row in mine)
        at_last = [row for row in mine if row["step"] == last]
        final = style.group(at_last, "measure")
        layers = {}
        for measure in PANELS:
            how, combine = ("sum", sum) if measure == SUMMED else ("mean", fmean)
            layers[f"{MEASURES[measure]}, {how} over matrices"] = by_layer(final[measure], combine)
        types = {what: by_type(final[measure]) for measure, what in MEASURES.items()}
        (what, name), at = told(series, against, at_last[0]["against_step"]), f"at step {last:,}, series {series}"
        draw_steps(
            f"{what} over steps, series {series}",
            style.group(mine, "measure"),
            folder,
            f"steps-{name}",
            axes.get(series),
        )
        of_layers = [ANGLES if measure == SUMMED else EXTENTS[measure] for measure in PANELS]
        draw_bars(f"{what} by layer {at}", layers, of_layers, 1, folder, f"layers-{name}")
        of_types = [EXTENTS[measure] for measure in MEASURES]
        draw_bars(f"{what} by parameter type {at}", types, of_types, 2, folder, f"types-{name}")


def main() -> None:
    style.run("plot_divergence", __doc__, lambda run: style.find_analysis(run, "weights", ".parquet"), draw)


if __name__ == "__main__":
    run_script(main)
