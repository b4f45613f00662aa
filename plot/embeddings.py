"""Draw how far the vectors of tokens have moved over the steps of every series, by class of token and by frequency.

python plot/embeddings.py --config configs/tiny.yaml

The sum of absolute changes is the paper's measure; it grows with a vector's size, so the cosine stands beside it.
"""

from pathlib import Path

from plot import style
from plot.divergence import told
from plot.extents import COSINE, MOVED
from snakmodel.config import run_script

PARAMETERS = style.NAMES["parameters"]
MEASURES = {"l1": "Sum of absolute changes (weight)", "cosine": "Cosine with the vector before (1: unmoved)"}
EXTENTS = {"l1": MOVED, "cosine": COSINE}
GROUPINGS = {"class": "class of token", "frequency": "frequency in the training shards"}


def order_of_groups(rows: list[style.Row], grouping: str) -> list[str]:
    """All tokens first; then classes by name, and frequencies upwards."""
    groups = {row["group"] for row in rows if row["grouping"] == grouping}
    by_number = {group: int(group.partition(" ")[0].replace(",", "")) for group in groups if grouping == "frequency"}
    return ["all", *sorted(groups, key=lambda group: (by_number.get(group, 0), group))]


def draw_groups(grouping: str, rows: list[style.Row], axis: str | None, folder: Path) -> None:
    """A column a measure, a line of panels a matrix; a curve a group, its mean over tokens at each step."""
    matrices = style.group(rows, "matrix")
    figure, axes = style.new_figure(style.PAGE, 0.9 + 1.9 * len(matrices), len(matrices), len(MEASURES), sharex=True)
    order = order_of_groups(rows, grouping)
    for line, (matrix, mine) in zip(axes, matrices.items(), strict=True):
        for panel, (measure, name) in zip(line, MEASURES.items(), strict=True):
            panel.set_title(f"{PARAMETERS.get(matrix, matrix)}: {name}")
            for place, group in enumerate(order):
                wanted = ("all" if group == "all" else grouping, group, measure)
                found = [row for row in mine if (row["grouping"], row["group"], row["measure"]) == wanted]
                points = [{**row, "value": row["mean"], "low": row["mean"], "high": row["mean"]} for row in found]
                if points:
                    label = f"{group} ({points[-1]['tokens']:,})"
                    style.draw_curve(panel, label, points, place, hollow=group == "all")
            style.bound(panel, EXTENTS[measure])
    for panel in axes[-1]:
        style.label_steps(panel, [], axis)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    what, name = told(rows[0]["series"], rows[0]["against"], rows[-1]["against_step"])
    title = f"{what} of tokens' vectors by {GROUPINGS[grouping]}, series {rows[0]['series']}"
    note = f"Over {axis or 'pre-training steps'}; mean over a group's tokens, whose number stands in brackets"
    style.save(figure, folder, f"{grouping}-{name}", title, note)


def draw(inputs: style.Inputs, folder: Path) -> None:
    """Two figures of every series and comparison, by class and by frequency; that needs shards."""
    import pyarrow.parquet as pq  # late: a finished figure says so at once

    rows = pq.read_table(inputs["embeddings"], filters=[("measure", "in", list(MEASURES))]).to_pylist()
    rows = [row | {"pair": (row["series"], row["against"])} for row in rows]
    rows.sort(key=lambda row: row["step"])
    axes = style.read_axes(inputs)
    for (series, against), mine in style.group(rows, "pair").items():
        for grouping in GROUPINGS:
            if any(row["grouping"] == grouping for row in mine):
                draw_groups(grouping, mine, axes.get(series), folder)
            else:
                print(f"{series} against {against}: not drawn by {grouping}: it was not measured", flush=True)


def main() -> None:
    style.run("plot_embeddings", __doc__, lambda run: style.find_analysis(run, "embeddings", ".parquet"), draw)


if __name__ == "__main__":
    run_script(main)
