"""Draw how far the weights have moved from the first step: over the steps, by layer and by parameter type.

python plot/divergence.py --config configs/tiny.yaml

The subspace angle is the paper's measure. It is 0 by construction ("degenerate") for a matrix with no more rows than
columns, whose column space is the whole space; such types are hollow and dashed, and well-posed measures stand beside.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plot import style
from snakmodel.config import BadInput, read_command, run_script
from snakmodel.paths import stage_of
from snakmodel.records import begin, read_json

PANELS = ("subspace_angle", "left_singular_angle", "relative_frobenius")  # the paper's measure, then well-posed ones
ENDS = ("EMB", "LMH")  # outside the layers, in another colour
MANY = 12  # bars beyond which a panel's labels need smaller print

Rows = list[dict[str, Any]]
Bars = dict[str, float]


@dataclass
class Settings:
    """No settings: every series with distances is drawn."""


def over_layers(rows: Rows, measure: str) -> dict[str, list[style.Point]]:
    """Parameter type -> mean over its layers at each step, the band one standard deviation either side."""
    groups: dict[str, dict[int, list[float]]] = {kind: {} for kind in style.PARAMETERS}
    for row in rows:
        if row["measure"] == measure and row["type"] in style.PARAMETERS:
            groups[row["type"]].setdefault(row["step"], []).append(row["value"])
    curves: dict[str, list[style.Point]] = {}
    for kind, steps in groups.items():
        for step, values in sorted(steps.items()):
            mean, deviation = statistics.fmean(values), statistics.pstdev(values)
            band = (mean - deviation, mean + deviation) if len(values) > 1 else (None, None)
            curves.setdefault(kind, []).append(style.Point(step, mean, *band))
    return curves


def by_layer(rows: Rows, measure: str) -> Bars:
    """EMB, L0, ..., LMH -> mean over the layer's matrices; of subspace angles the sum, as in the paper's figure."""
    layers: dict[int, list[float]] = {}
    ends: dict[str, list[float]] = {}
    for row in rows:
        if row["measure"] == measure and row["type"] in style.PARAMETERS:
            if row["layer"] is None:
                ends.setdefault(style.PARAMETERS[row["type"]], []).append(row["value"])
            else:
                layers.setdefault(row["layer"], []).append(row["value"])
    first, last = ({end: ends[end]} if end in ends else {} for end in ENDS)
    groups = {**first, **{f"L{layer}": values for layer, values in sorted(layers.items())}, **last}
    combine = sum if measure == "subspace_angle" else statistics.fmean
    return {name: float(combine(values)) for name, values in groups.items()}


def by_type(rows: Rows, measure: str) -> Bars:
    """EMB, Q, ..., LMH -> mean over the layers; a type for which the measure is degenerate stands in brackets."""
    hollow = degenerate_types(rows, measure)
    return {
        f"({style.PARAMETERS[kind]})" if kind in hollow else style.PARAMETERS[kind]: points[-1].value
        for kind, points in over_layers(rows, measure).items()
    }


def degenerate_types(rows: Rows, measure: str) -> set[str]:
    """The types whose values of this measure are 0 by construction."""
    return {row["type"] for row in rows if row["measure"] == measure and row["degenerate"]}


def measures_in(rows: Rows, wanted: tuple[str, ...]) -> dict[str, str]:
    """Those of the wanted measures that the rows have -> their names with the unit."""
    units = {row["measure"]: row["unit"] for row in rows}
    return {measure: f"{style.MEASURES[measure]} ({units[measure]})" for measure in wanted if measure in units}


def draw_steps(title: str, base: int, rows: Rows, folder: Path, name: str) -> None:
    """A panel a measure, a line a parameter type from 0 at the base step; the legend has the last panel's place."""
    measures = measures_in(rows, PANELS)
    figure, axes = style.new_figure(style.PAGE, 4.4, rows=2, columns=2)
    *panels, rest = axes.flat
    spoken: dict[str, list[style.Point]] = {}
    lines: dict[str, Any] = {}  # type -> its line in the first panel that has it
    for panel, (measure, what) in zip(panels, measures.items(), strict=False):
        hollow = degenerate_types(rows, measure)
        for kind, points in over_layers(rows, measure).items():
            label = style.PARAMETERS[kind] + (" (degenerate)" if kind in hollow else "")
            curve = [style.Point(base, 0.0), *points]
            place = list(style.PARAMETERS).index(kind)
            style.draw_curve(panel, curve, label=label, hollow=kind in hollow, **style.look(place))
            spoken[f"{what}, {label}"] = curve
            lines.setdefault(kind, panel.get_lines()[-1])
        panel.set_title(what)
        panel.set_ylim(bottom=0)
        style.label_steps(panel)
    for panel in [*panels[len(measures) :], rest]:
        panel.axis("off")
    rest.legend(handles=list(lines.values()), loc="center", title="Mean over layers; band: one std", handlelength=3)
    text = "a panel a measure; x: pre-training steps; y: mean over layers; brackets and bands: one standard deviation"
    style.save(figure, folder, name, style.describe(title, text, spoken))


def draw_bars(title: str, panels: dict[str, Bars], columns: int, folder: Path, name: str) -> None:
    """A panel of bars for each measure; types in brackets are hollow, the embedding and the head in another colour."""
    lines = -(-len(panels) // columns)
    figure, axes = style.new_figure(style.PAGE, 0.2 + 1.5 * lines, rows=lines, columns=columns)
    spoken = [title, "a panel a measure; a bar for each of the names below; in brackets: degenerate, 0 by construction"]
    for panel, (what, bars) in zip(axes.flat, panels.items(), strict=False):
        for place, (bar, value) in enumerate(bars.items()):
            colour = style.COLOURS[1] if bar.strip("()") in ENDS else style.COLOURS[0]
            hollow = {"color": "white", "linestyle": "--"} if bar.startswith("(") else {"color": colour}
            panel.bar(place, value, 0.7, edgecolor=colour, **hollow)
        panel.set_xticks(range(len(bars)), list(bars), fontsize=5 if len(bars) > MANY else 7)
        panel.grid(axis="x", visible=False)
        panel.set_title(what + ("; in brackets: degenerate" if any(bar.startswith("(") for bar in bars) else ""))
        spoken.append(f"{what}: {'; '.join(f'{bar} {value:.4g}' for bar, value in bars.items())}")
    for panel in axes.flat[len(panels) :]:
        panel.axis("off")
    style.save(figure, folder, name, "\n".join(spoken) + "\n")


def draw_series(series: str, rows: Rows, folder: Path) -> None:
    """All figures of one series."""
    base, last = rows[0]["against"], max(row["step"] for row in rows)
    final = [row for row in rows if row["step"] == last]
    draw_steps(f"Distance from step {base} over steps, series {series}", base, rows, folder, f"steps-{series}")
    at = f"at step {last:,}, series {series}"
    layers = {
        what + (", sum over matrices" if measure == "subspace_angle" else ", mean over matrices"): by_layer(
            final, measure
        )
        for measure, what in measures_in(final, PANELS).items()
    }
    draw_bars(f"Distance from step {base} by layer {at}", layers, 1, folder, f"layers-{series}")
    types = {what: by_type(final, measure) for measure, what in measures_in(final, ("delta", *PANELS)).items()}
    draw_bars(f"Distance from step {base} by parameter type {at}", types, 2, folder, f"types-{series}")


def main() -> None:
    command = read_command(Settings, "plot_divergence", __doc__)
    run, folder = command.run, command.run.folder("plot_divergence")
    path = run.folder("weights").with_suffix(".json")  # analysis/weights.json: all series and steps together
    if not path.is_file():
        raise BadInput(f"{path} not found: run {stage_of('weights').script} first")
    work = begin(command, folder, {"weights": path}, derived=True)
    if work is None:
        return
    rows = read_json(path)["rows"]
    for series in sorted({row["series"] for row in rows}):
        draw_series(series, [row for row in rows if row["series"] == series], folder)
    if not rows:
        print(f"{path} holds no step; nothing drawn", flush=True)
    work.finish()


if __name__ == "__main__":
    run_script(main)
