"""Draw how probable answers are over the steps of every series.

python plot/answers.py --config configs/tiny.yaml
"""

from math import log
from pathlib import Path

from plot import layout, style
from plot.extents import MAGNITUDE
from snakmodel.config import BadInput, run_script
from snakmodel.paths import Run, stage_of
from snakmodel.records import read_json

NOTE = "Over pre-training steps; probability that what the model says begins with the answer, and its share of the sum"


def draw_question(rows: list[style.Row], folder: Path) -> None:
    """Two panels, of probability and of the share among the answers; a line an answer, the right one first."""
    question, series = rows[0]["question"], rows[0]["series"]
    figure, axes = style.new_figure(style.PAGE, 2.6, columns=2)
    probability, share = axes.flat
    for place, (answer, mine) in enumerate(style.group(rows, "answer").items()):
        # not a logarithmic axis: a probability may be too small to be a number
        for panel, values in ((probability, [r["nats"] / log(10) for r in mine]), (share, [r["share"] for r in mine])):
            points = [
                {"step": row["step"], "value": value, "low": value, "high": value}
                for row, value in zip(mine, values, strict=True)
            ]
            style.draw_curve(panel, answer, points, place)
    style.bound(probability, MAGNITUDE)
    probability.set(ylabel="Probability (logarithm to base 10)")
    share.set(ylim=(-0.02, 1.02), ylabel="Share among the answers")
    for panel in axes.flat:
        style.label_steps(panel, [])
    layout.add_legend(figure, layout.handles_of([share]), 4)
    style.save(figure, folder, f"{question}-{series}", f"{rows[0]['prompt']!r}, series {series}", NOTE)


def find(run: Run) -> style.Inputs:
    """A file a question."""
    files = sorted(run.folder("answers").glob("*.json"))
    if not files:
        raise BadInput(f"{run.folder('answers')}/*.json not found: run {stage_of('answers').script} first")
    return {path.stem: path for path in files}


def draw(inputs: style.Inputs, folder: Path) -> None:
    """A figure a question and series."""
    for path in inputs.values():
        for mine in style.group(read_json(path)["rows"], "series").values():
            draw_question(mine, folder)


def main() -> None:
    style.run("plot_answers", __doc__, find, draw)


if __name__ == "__main__":
    run_script(main)
