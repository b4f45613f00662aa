"""Draw loss, validation loss and learning rate over the steps of pre-training.

python plot/training.py --config configs/tiny.yaml
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plot import style
from snakmodel.config import BadInput, read_command, run_script
from snakmodel.records import begin, read_jsonl

SPOKEN = 20  # values of a dense curve that its text alternative holds


@dataclass
class Settings:
    """No settings: the log says it all."""


def curve(rows: list[dict[str, Any]], key: str) -> list[style.Point]:
    """The steps that logged `key`, as points."""
    return [style.Point(row["step"], row[key]) for row in rows if row.get(key) is not None]


def thinned(points: list[style.Point]) -> list[style.Point]:
    """At most about SPOKEN of the points, evenly spaced, the last one always among them."""
    return points[:: -(len(points) // SPOKEN + 1)][::-1]


def draw(rows: list[dict[str, Any]], folder: Path) -> None:
    """Writes the figure: losses above, learning rate below."""
    loss, validation, rate = (curve(rows, key) for key in ("loss", "validation_loss", "learning_rate"))
    figure, axes = style.new_figure(style.PAGE * 0.75, 3.4, rows=2, sharex=True, height_ratios=[3, 1])
    losses, rates = axes[:, 0]
    losses.plot([p.x for p in loss], [p.value for p in loss], color=style.COLOURS[6], linewidth=0.8, label="training")
    if validation:
        style.draw_curve(losses, validation, label="validation", color=style.COLOURS[0], marker="o")
    losses.set_ylabel("Loss (nats per token)")
    losses.legend(loc="upper right")
    rates.plot([p.x for p in rate], [p.value for p in rate], color=style.COLOURS[0])
    rates.set_ylabel("Learning rate")
    rates.set_ylim(bottom=0)
    rates.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    style.label_steps(rates)
    style.label_steps(losses, rows)
    losses.set_xlabel("")
    curves = {"training loss": thinned(loss), "validation loss": validation, "learning rate": thinned(rate)}
    axes_text = "x: pre-training steps; y: loss in nats per token; below: learning rate (dense curves are thinned here)"
    style.save(figure, folder, "loss", style.describe("Loss and learning rate of pre-training", axes_text, curves))


def main() -> None:
    command = read_command(Settings, "plot_training", __doc__)
    run, folder = command.run, command.run.folder("plot_training")
    work = begin(command, folder, {"pretrain": run.folder("pretrain")}, derived=True)
    if work is None:
        return
    log = run.folder("pretrain") / "log.jsonl"
    rows = read_jsonl(log)
    if not rows:
        raise BadInput(f"{log} holds no step; run pretrain/train.py with steps above 0")
    draw(rows, folder)
    work.finish()


if __name__ == "__main__":
    run_script(main)
