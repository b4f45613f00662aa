"""Draw the scores of clean and of contaminated test items apart, over the steps of every series.

python plot/contamination.py --config configs/tiny.yaml

A gap that opens as a series goes on is what leaked items are worth; merely easier items show it from the start.
"""

from pathlib import Path
from typing import Any

from plot import style
from plot.scores import find_curves
from snakmodel.config import BadInput, run_script
from snakmodel.paths import Run
from snakmodel.records import missing, read_json

COLUMNS = 3
NOTE = "a panel a data set; bands and brackets: 95% interval; hollow: contaminated items"
PARTS = ("clean", "contaminated")


def curves(rows: list[style.Row]) -> dict[str, dict[str, list[style.Row]]]:
    """Panel, "Sentiment (Senti, macro F1)" -> part -> rows over steps, of one series."""
    ordered = sorted(rows, key=lambda row: row["step"])
    return {
        label: {part: [row for row in mine if row["part"] == part] for part in PARTS}
        for label, mine in find_curves(ordered).items()
    }


def tell_items(parts: dict[str, list[style.Row]]) -> str:
    """ "80 clean, 20 contaminated items"; "78 to 80" where steps differ."""
    words = []
    for part, mine in parts.items():
        counts = sorted({row["items"] for row in mine}) or [0]
        words.append(f"{counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "") + f" {part}")
    return f"{', '.join(words)} items"


def draw_series(series: str, rows: list[style.Row], axis: str | None, folder: Path) -> None:
    """A panel a data set: clean items solid, contaminated ones dashed and hollow."""
    panels = curves(rows)
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = style.new_figure(style.PAGE / COLUMNS * max(columns, 2), 0.6 + 1.85 * lines, lines, columns)
    handles: dict[str, Any] = {}
    for panel, (title, parts) in zip(axes.flat, panels.items(), strict=False):
        for place, (part, mine) in enumerate(parts.items()):
            if mine:
                style.draw_curve(panel, part, mine, place, hollow=part == "contaminated")
        panel.set_title(f"{title}\n{tell_items(parts)}", fontsize=7)
        style.label_steps(panel, [], axis)
        handles |= dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    for panel in axes[:, 0]:
        panel.set_ylabel("Score (0 to 100)")
    for panel in axes.flat[len(panels) :]:
        panel.axis("off")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, handlelength=3)
    title = f"Scores of clean and of contaminated items, series {series}"
    style.save(figure, folder, f"parts-{series}", title, f"Over {axis or 'pre-training steps'}, {NOTE}")


def find(run: Run) -> style.Inputs:
    """scores/contamination.json."""
    path = run.folder("collect") / "contamination.json"
    if not path.is_file():
        raise BadInput(missing(path))
    return {"contamination": path, **style.find_axes(run)}


def draw(inputs: style.Inputs, folder: Path) -> None:
    """A figure a series."""
    axes, rows = style.read_axes(inputs), read_json(inputs["contamination"])["rows"]
    for series, mine in style.group([row for row in rows if row["step"] is not None], "series").items():
        draw_series(series, mine, axes.get(series), folder)


def main() -> None:
    style.run("plot_contamination", __doc__, find, draw)


if __name__ == "__main__":
    run_script(main)
