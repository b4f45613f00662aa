"""Draw the scores of clean and of contaminated test items apart, and their difference, over the steps of every series.

python plot/contamination.py --config configs/tiny.yaml

A gap that opens as a series goes on is what leaked items are worth; merely easier items show it from the start.
"""

from pathlib import Path
from typing import Any

from plot import style
from plot.chart import known
from snakmodel.config import BadInput, run_script
from snakmodel.paths import Run, stage_of
from snakmodel.records import read_json

COLUMNS = 3
PARTS = ("clean", "contaminated")


def label(dataset: str) -> str:
    """ "Sentiment (angry-tweets)"; an unknown set goes by its own name."""
    return f"{style.TASKS[dataset][1]} ({dataset})" if dataset in style.TASKS else dataset


def curves(rows: list[style.Row]) -> dict[str, dict[str, list[style.Row]]]:
    """Data set, as it is called -> clean and contaminated -> rows over steps, of one series; without intervals."""
    alone = {"low": None, "high": None}
    return {
        label(dataset): {part: [{**row, "value": row[part], **alone} for row in mine] for part in PARTS}
        for dataset, mine in style.group(sorted(rows, key=lambda row: row["step"]), "dataset").items()
    }


def gaps(rows: list[style.Row]) -> dict[str, list[style.Row]]:
    """Data set -> contaminated less clean over steps, of one series, where both have items."""
    ordered = sorted((row for row in rows if known(row, "difference")), key=lambda row: row["step"])
    named = style.group([{**row, "value": row["difference"]} for row in ordered], "dataset")
    return {label(dataset): mine for dataset, mine in named.items()}


def tell_items(parts: dict[str, list[style.Row]]) -> str:
    """ "80 clean, 20 contaminated items"; "78 to 80" where steps differ."""
    words = []
    for part, mine in parts.items():
        counts = sorted({row[f"{part}_items"] for row in mine})
        words.append(f"{counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "") + f" {part}")
    return f"{', '.join(words)} items"


def draw_parts(series: str, rows: list[style.Row], axis: str | None, folder: Path) -> None:
    """A panel a data set: clean items solid, contaminated ones dashed and hollow."""
    panels = curves(rows)
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = style.new_figure(style.PAGE / COLUMNS * max(columns, 2), 0.6 + 1.95 * lines, lines, columns)
    handles: dict[str, Any] = {}
    for panel, (title, parts) in zip(axes.flat, panels.items(), strict=False):
        for place, (part, mine) in enumerate(parts.items()):
            if any(known(row, "value") for row in mine):
                style.draw_curve(panel, part, mine, place, hollow=part == "contaminated")
        name = title.replace(" (", "\n(")  # too long for one line of a narrow panel
        panel.set_title(f"{name}\n{tell_items(parts)}", fontsize=7)
        style.label_steps(panel, [], axis)
        handles |= dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    for panel in axes[:, 0]:
        panel.set_ylabel("Mean score of items")
    for panel in axes.flat[len(panels) :]:
        panel.axis("off")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, handlelength=3)
    title = f"Scores of clean and of contaminated items, series {series}"
    note = f"Over {axis or 'pre-training steps'}, a panel a data set; mean score of its items, 0 to 100"
    style.save(figure, folder, f"parts-{series}", title, f"{note}; hollow: contaminated items")


def draw_gaps(series: str, rows: list[style.Row], axis: str | None, folder: Path) -> None:
    """Contaminated less clean, a line a data set, with its interval."""
    found = gaps(rows)
    if not found:
        print(f"{series}: difference not drawn: no data set has both clean and contaminated items", flush=True)
        return
    figure, axes = style.new_figure(style.COLUMN, 2.4 + 0.12 * len(found))
    panel, order = axes[0, 0], style.order_of([row["dataset"] for row in rows])
    for name, mine in found.items():
        style.draw_curve(panel, name, mine, order[mine[0]["dataset"]])
    panel.axhline(0, color="black", linewidth=0.6, linestyle=":", label="_zero")
    panel.set_ylabel("Contaminated less clean (points)")
    style.label_steps(panel, [], axis)
    figure.legend(loc="outside lower center", ncols=1)
    title = f"What contaminated items score above clean ones, series {series}"
    note = f"Over {axis or 'pre-training steps'}; bands and brackets: 95% interval of the difference, over items"
    style.save(figure, folder, f"gaps-{series}", title, note)


def find(run: Run) -> style.Inputs:
    """contrasts/contamination.json."""
    path = run.folder("contrast") / "contamination.json"
    if not path.is_file():
        raise BadInput(f"{path} not found: run {stage_of('contrast').script} first")
    return {"contamination": path, **style.find_axes(run)}


def draw(inputs: style.Inputs, folder: Path) -> None:
    """Two figures a series; models beside them have no steps, and stand in contrasts/contrasts.md."""
    axes, rows = style.read_axes(inputs), read_json(inputs["contamination"])["rows"]
    steps = style.group([row for row in rows if row["step"] is not None], "series")
    if not steps:
        print("nothing to draw: of no series are clean and contaminated items known", flush=True)
    for series, mine in steps.items():
        draw_parts(series, mine, axes.get(series), folder)
        draw_gaps(series, mine, axes.get(series), folder)


def main() -> None:
    style.run("plot_contamination", __doc__, find, draw)


if __name__ == "__main__":
    run_script(main)
