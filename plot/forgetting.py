"""Draw what each step has gained and lost: bits per byte of the same texts by language, and one against the other.

python plot/forgetting.py --config configs/tiny.yaml

Two figures a series: over the steps, and the losses of the others against the gain of the language that gained most.
"""

from pathlib import Path
from typing import Any

from plot import style
from plot.chart import known
from plot.extents import BITS, CHANGE, widen
from snakmodel.config import run_script
from snakmodel.records import read_json

NOTE = "the same texts at every step; bands and brackets: 95% interval over documents"
MEASURES = {
    "bits_per_byte": ("Held-out text (lower is better)", "Bits per byte"),
    "change": ("Change (below 0: gained)", "Bits per byte"),
}
EXTENTS = {"bits_per_byte": BITS, "change": CHANGE}


def curves(rows: list[style.Row], measure: str) -> dict[str, list[style.Row]]:
    """Language -> rows over steps, of one series; all sources of a language together."""
    mine = [row for row in rows if row["measure"] == measure and row["source"] is None]
    by_language = style.group(sorted(mine, key=lambda row: row["step"]), "language")
    return {style.LANGUAGES.get(language, language): found for language, found in by_language.items()}


def since(rows: list[style.Row]) -> str:
    """What a change is counted from: "the first step", or "the same step of OTHER"."""
    series, against = rows[0]["series"], rows[0]["against"]
    return "the first step" if against.split(" ")[0] == series else f"the same step of {against.split(' ')[0]}"


def draw_steps(series: str, rows: list[style.Row], axis: str | None, folder: Path) -> None:
    """Two panels: bits per byte, and their change; a line a language."""
    figure, axes = style.new_figure(style.PAGE, 2.6, columns=2)
    for panel, (measure, (name, unit)) in zip(axes.flat, MEASURES.items(), strict=True):
        for place, (language, mine) in enumerate(curves(rows, measure).items()):
            style.draw_curve(panel, language, mine, place)
        panel.set(title=name, ylabel=unit)
        style.label_steps(panel, rows, axis)
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 1].axhline(0, color="black", linewidth=0.6, linestyle=":", label="_zero")
    for panel, measure in zip(axes.flat, MEASURES, strict=True):
        style.bound(panel, EXTENTS[measure])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    title = f"Held-out text by language, series {series}: its bits per byte, and their change since {since(rows)}"
    style.save(figure, folder, f"steps-{series}", title, f"Over {axis or 'pre-training steps'}; {NOTE}")


def draw_trade(series: str, rows: list[style.Row], folder: Path) -> None:
    """What the other languages lost against what the one gained that gained most; a point a step, joined in order."""
    changes = curves([row for row in rows if known(row, "value")], "change")
    last = {language: mine[-1]["value"] for language, mine in changes.items()}
    learnt = min(last, key=lambda language: last[language], default="")
    if len(last) < 2 or last[learnt] >= 0:
        why = "no language has gained" if len(last) > 1 else "it needs two languages"
        print(f"{series}: gain against loss not drawn: {why}", flush=True)
        return
    figure, axes = style.new_figure(style.COLUMN, 2.6)
    panel, gained = axes[0, 0], {row["step"]: 0 - row["value"] for row in changes.pop(learnt)}
    shown: set[int] = set()
    for place, (language, mine) in enumerate(changes.items(), start=1):
        both = [row for row in mine if row["step"] in gained]
        if not both:
            continue  # no step has a number for both
        style.draw_curve(panel, language, [{**row, "step": gained[row["step"]]} for row in both], place)
        shown |= {row["step"] for row in both}
    panel.axhline(0, color="black", linewidth=0.6, linestyle=":", label="_zero")
    panel.margins(x=0.15)
    left, right = panel.get_xlim()
    panel.set_xlim(widen(left, right, CHANGE))
    ends = sorted({min(shown), max(shown)}, key=lambda step: gained[step]) if shown else []
    for step, side, by in zip(ends, ("right", "left"), (-2, 2), strict=False):  # apart, however near the steps lie
        panel.axvline(gained[step], color="black", linewidth=0.6, linestyle=":", label="_step")
        above: Any = {"xycoords": panel.get_xaxis_transform(), "textcoords": "offset points", "ha": side, "fontsize": 6}
        panel.annotate(f"step {step:,}", (gained[step], 1), (by, 3), **above)
    style.bound(panel, CHANGE)
    panel.set(xlabel=f"{learnt}: gained (bits per byte)", ylabel="Lost (bits per byte)")
    figure.legend(loc="outside lower center", ncols=3)
    title = f"What is lost against what {learnt} gains, series {series}"
    note = f"A point a step: gain of {learnt}, loss of the other; bands and brackets: 95% interval of the loss"
    style.save(figure, folder, f"trade-{series}", title, note)


def draw(inputs: style.Inputs, folder: Path) -> None:
    """Two figures a series."""
    axes = style.read_axes(inputs)
    for series, rows in style.group(read_json(inputs["forgetting"])["rows"], "series").items():
        draw_steps(series, rows, axes.get(series), folder)
        draw_trade(series, rows, folder)


def main() -> None:
    style.run("plot_forgetting", __doc__, lambda run: style.find_analysis(run, "forgetting", ".json"), draw)


if __name__ == "__main__":
    run_script(main)
