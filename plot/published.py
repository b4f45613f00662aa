"""Draw what the published numbers allow, without a run, a GPU or torch: the figures of the paper and Munin's table.

python plot/published.py --config configs/published.yaml

`make figures` does it in an environment of its own. The numbers and their sources: plot/published/*.json.
"""

from math import nan
from pathlib import Path
from typing import Any

from plot import style
from plot.divergence import draw_bars
from plot.extents import ANGLES, DEGREES, WEIGHT
from plot.paper import FILES, Cell, choose, overall, read_paper
from snakmodel.config import run_script
from snakmodel.intervals import INTERVALS

PARAMETERS, MEASURES = style.NAMES["parameters"], style.NAMES["measures"]
DARK = 60  # scores above which a cell needs white print
ITALIC = "italic"


def tell_source(paper: dict[str, Any], cells: list[Cell]) -> str:
    """Where the drawn numbers come from, and how they are known."""
    kinds = {(cell["kind"], cell["source"]): None for cell in cells if cell["kind"] != "unknown"}
    return "Sources: " + "; ".join(f"{kind}: {paper['sources'][source]}" for kind, source in kinds)


def draw_table(folder: Path) -> None:
    """Table 3 as a map: a row a model, a column a task, each cell with its number."""
    from numpy import ma

    paper = read_paper("scandeval")
    rows, columns = [*paper["rows"], *paper["further_rows"]], list(paper["columns"])
    cells = [[choose(paper, row=row, column=column)[0] for column in columns] for row in rows]
    figure, axes = style.new_figure(style.PAGE, 3.0)
    panel = axes[0, 0]
    values = ma.masked_invalid([[cell["value"] or float("nan") for cell in line] for line in cells])
    image = panel.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for y, line in enumerate(cells):
        for x, cell in enumerate(line):
            text = "?" if cell["value"] is None else f"{cell['value']:.2f}"
            look = {"color": "white" if (cell["value"] or 0) > DARK else "black", "fontsize": 7, "label": "_cell"}
            look |= {"fontstyle": ITALIC} if cell["kind"] == "second hand" else {}
            panel.text(x, y, text, ha="center", va="center", **look)
    heads = [
        f"{column}\n{style.METRICS.get(what['metric'], what['metric'])}" for column, what in paper["columns"].items()
    ]
    panel.set_xticks(range(len(columns)), [head.replace("mean of the eight", "mean") for head in heads], fontsize=6)
    panel.set_yticks(range(len(rows)), rows)
    panel.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    panel.axhline(len(paper["rows"]) - 0.5, color="black", linewidth=0.8)
    figure.supxlabel("Italic: second hand; ?: not known", fontsize=6)
    figure.colorbar(image, ax=panel, label="Score (0 to 100)", shrink=0.8, pad=0.01)
    note = "Italic: second hand; ?: not known; below the line: rows of which few cells are known. "
    style.save(figure, folder, "scores-table", paper["title"], note + tell_source(paper, sum(cells, [])))


def draw_tasks(folder: Path) -> None:
    """Table 3 by task: a place a task, a marker a model."""
    paper = read_paper("scandeval")
    columns = list(paper["columns"])
    figure, axes = style.new_figure(style.PAGE, 3.2)
    panel = axes[0, 0]
    for place, row in enumerate(paper["rows"]):
        cells = [{**cell, "low": cell["value"], "high": cell["value"]} for cell in choose(paper, row=row)]
        style.draw_points(panel, row, cells, place, shift=0.1 * (place - (len(paper["rows"]) - 1) / 2))
    panel.set_xticks(range(len(columns)), columns)
    panel.set(ylim=(0, 100), ylabel="Score (0 to 100)")
    panel.grid(axis="x", visible=False)
    for edge in range(1, len(columns)):
        panel.axvline(edge - 0.5, color="#e4e4e4", linewidth=0.6, label="_edge")
    figure.legend(loc="outside lower center", ncols=4, handletextpad=0.1)
    note = "A place a task, a marker a model; what is not known is not drawn. "
    cells = [cell for cell in paper["cells"] if cell["row"] in paper["rows"]]
    style.save(figure, folder, "scores-tasks", paper["title"], note + tell_source(paper, cells))


def draw_munin(folder: Path) -> None:
    """Munin's table with its intervals; the overall score also as the languages give it."""
    paper = read_paper("munin")
    wide: dict[str, Any] = {"width_ratios": [2, 1, 1, 1], "sharey": True}
    figure, axes = style.new_figure(style.PAGE, 2.8, columns=len(paper["columns"]), **wide)
    for panel, column in zip(axes.flat, paper["columns"], strict=True):
        cells = [with_ends(cell, cell["value"], cell["half_width"]) for cell in choose(paper, column=column)]
        is_mean = column == "Overall"
        style.draw_points(panel, "as published", cells, 0, -0.22 if is_mean else 0, across=True)
        if is_mean:
            means = [(c, overall([x for x in choose(paper, row=c["row"]) if x["column"] != column])) for c in cells]
            halves = [with_ends(cell, mean, half) for cell, (mean, half, _) in means]
            independent = [with_ends(cell, mean, half) for cell, (mean, _, half) in means]
            style.draw_points(panel, "mean of the languages, mean of the half-widths", halves, 1, 0, across=True)
            style.draw_points(panel, "the same, errors independent", independent, 2, 0.22, across=True)
        panel.set(title=column, xlim=(0, 75), xlabel="Score (0 to 100)")
        panel.grid(axis="y", visible=False)
    style.name_ticks(axes[0, 0].yaxis, paper["rows"])
    axes[0, 0].invert_yaxis()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    note = f"Bars: half-widths of ScandEval's 95% intervals, {INTERVALS[False]}; Overall recomputed from the three "
    note += "languages beside what was published. "
    style.save(figure, folder, "munin", paper["title"], note + tell_source(paper, paper["cells"]))


def with_ends(cell: Cell, value: float, half: float) -> Cell:
    """A cell with a value and an interval about it."""
    return {**cell, "value": value, "low": value - half, "high": value + half}


def draw_divergence(folder: Path) -> None:
    """From Llama-2 to the last step: by parameter type and by layer, as the paper sums."""
    paper = read_paper("divergence")
    mine = {"comparison": "llama2-base", "step": 12500}
    angles, deltas = (
        {name_type(paper, cell, measure): cell["value"] for cell in choose(paper, **mine, by="type", measure=measure)}
        for measure in ("subspace_angle", "delta")
    )
    note = "In brackets: degenerate, 0 but for numerical rank; changes also of the norms. "
    note += tell_source(paper, choose(paper, **mine, by="type"))
    title = "Change from Llama-2-7B to SnakModel-7B base, step 12,500"
    types = {MEASURES["subspace_angle"]: angles, MEASURES["delta"]: deltas}
    draw_bars(f"{title}, by parameter type", types, [DEGREES, WEIGHT], 2, folder, "divergence-types", note)
    cells = choose(paper, **mine, by="layer", measure="subspace_angle")
    sums = {name_layer(cell): cell["value"] * matrices(paper, cell) for cell in cells}
    means = {name_layer(cell): cell["value"] for cell in choose(paper, **mine, by="layer", measure="delta")}
    layers = {"Subspace angle (degrees), sum over a layer's 7 matrices": sums}
    layers |= {"Mean absolute change (weight), mean over a layer's 9 tensors": means}
    note = "The sum, as the paper draws it, is in effect of G and W↑: the other matrices are degenerate. "
    note += tell_source(paper, choose(paper, **mine, by="layer"))
    draw_bars(f"{title}, by layer", layers, [ANGLES, WEIGHT], 1, folder, "divergence-layers", note)


def matrices(paper: dict[str, Any], cell: Cell) -> int:
    """How many matrices a mean by layer is over: embedding and head are one each."""
    return int(paper["matrices_of_a_layer"]) if cell["name"].startswith("layer_") else 1


def name_type(paper: dict[str, Any], cell: Cell, measure: str) -> str:
    """ "G"; "(Q)" where the measure is degenerate."""
    name = PARAMETERS.get(cell["name"]) or style.NAMES["vectors"][cell["name"]]
    return f"({name})" if cell["name"] in paper["degenerate"] and measure == "subspace_angle" else name


def name_layer(cell: Cell) -> str:
    """ "EMB", "L0", "LMH"."""
    name = cell["name"]
    return name.replace("layer_", "L") if name.startswith("layer_") else (PARAMETERS | style.NAMES["vectors"])[name]


def draw_tuning(folder: Path) -> None:
    """From the base model to the tuned one, and from Llama-2 to it; all measured in the paper's figures."""
    paper = read_paper("divergence")
    pairs = {"base-instruct": "Base→instruct (degrees)", "llama2-instruct": "Llama-2→instruct (degrees)"}
    cells = {pair: choose(paper, comparison=pair, by="type") for pair in pairs}
    found = {pair: {name_type(paper, cell, "subspace_angle"): cell["value"] for cell in cells[pair]} for pair in pairs}
    types = list(dict.fromkeys(name for bars in found.values() for name in bars))
    panels = {told: {name: found[pair].get(name, nan) for name in types} for pair, told in pairs.items()}
    note = "In brackets: degenerate; tolerance of the measuring not known. "
    said = note + tell_source(paper, sum(cells.values(), []))
    title = "Subspace angle to SnakModel-7B instruct"
    draw_bars(f"{title}, by parameter type", panels, [DEGREES] * 2, 2, folder, "divergence-tuning-types", said)
    layers = choose(paper, comparison="base-instruct", by="layer")
    figure, axes = style.new_figure(style.PAGE, 1.7)
    panel = axes[0, 0]
    points = [{"low": cell["value"], "high": cell["value"], **cell} for cell in layers]
    style.draw_points(panel, "sum over a layer's 7 matrices; a bar: read as a range", points, 0)
    style.name_ticks(panel.xaxis, [name_layer(cell) for cell in layers])
    panel.tick_params(axis="x", labelsize=5)
    panel.grid(axis="x", visible=False)
    panel.set(ylim=(0, None), ylabel="Subspace angle (degrees)", title=paper["comparisons"]["base-instruct"])
    panel.legend(loc="upper right")
    note = "Tolerance of the measuring not known. " + tell_source(paper, layers)
    style.save(figure, folder, "divergence-tuning-layers", f"{title}, by layer", note)


def draw_steps(folder: Path) -> None:
    """The angles over the steps of pre-training, as far as they were measured in the paper's figure."""
    paper = read_paper("divergence")
    figure, axes = style.new_figure(style.COLUMN * 1.25, 2.7)
    panel = axes[0, 0]
    for kind, cells in style.group(choose(paper, by="step"), "name").items():
        if kind == "up_proj":  # measured as one with the gate
            continue
        spread = cells[0]["tolerance"]
        rows = [with_ends(cell, cell["value"], spread or 0) for cell in cells]
        name = PARAMETERS[kind] + (" and W↑" if kind == "gate_proj" else "")
        told = f"±{spread:g}" if spread else "by eye"
        style.draw_curve(panel, f"{name} ({told})", rows, list(PARAMETERS).index(kind), hollow=not spread)
    panel.set(ylim=(0, 7), ylabel="Subspace angle (degrees)")
    style.label_steps(panel, [])
    panel.legend(loc="lower right")
    title = "Subspace angles from Llama-2-7B over the steps of SnakModel's pre-training"
    note = "Band: tolerance of the measuring; dashed: by eye. " + tell_source(paper, choose(paper, by="step"))
    style.save(figure, folder, "divergence-steps", title, note)


def draw_dakultur(folder: Path) -> None:
    """How many answers of each model native speakers accepted."""
    paper, head = read_paper("corpus"), "DaKultur acceptance, "
    cells = [cell for cell in paper["cells"] if cell["quantity"].startswith(head)]
    figure, axes = style.new_figure(style.COLUMN * 1.25, 1.2)
    panel = axes[0, 0]
    panel.barh(range(len(cells)), [cell["value"] for cell in cells], 0.6, color=style.COLOURS[0])
    style.name_ticks(panel.yaxis, [cell["quantity"].removeprefix(head) for cell in cells])
    panel.set(xlim=(0, 100), xlabel="Answers accepted (%)")
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    style.save(figure, folder, "dakultur", "DaKultur: answers that native speakers accept", tell_source(paper, cells))


def draw(inputs: style.Inputs, folder: Path) -> None:
    """All figures that the published numbers allow."""
    for each in (draw_table, draw_tasks, draw_munin, draw_divergence, draw_tuning, draw_steps, draw_dakultur):
        each(folder)


def main() -> None:
    style.run("plot_published", __doc__, lambda run: dict(FILES), draw)


if __name__ == "__main__":
    run_script(main)
