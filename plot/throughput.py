"""Draw how fast pre-training went over its steps: tokens per second, time of a step, and share of the peak and memory.

python plot/throughput.py --config configs/tiny.yaml

Of a long run each point is the mean of a stretch of steps, its band their range.
"""

from pathlib import Path
from typing import Any

from plot import style
from plot.chart import thin
from plot.extents import AMOUNT, SECONDS, SHARE
from plot.training import history
from snakmodel.config import BadInput, run_script

Row = dict[str, Any]
MEASURES = {  # of the log -> name, unit; the last two are of GPUs alone
    "tokens_per_second": ("Throughput", "Tokens per second"),
    "seconds": ("Time of a step", "Seconds"),
    "data_wait": ("Waited for data", "Seconds"),
    "mfu": ("Model FLOPs utilisation", "Share of the peak"),
    "memory_gib": ("Memory allocated", "GiB of a device"),
}
EXTENTS = {"tokens_per_second": AMOUNT, "seconds": SECONDS, "data_wait": SECONDS, "mfu": SHARE, "memory_gib": AMOUNT}


def curves(log: list[Row]) -> dict[str, tuple[list[Row], int]]:
    """Measure -> points over steps and how many steps make one; only measures that the log has."""
    thinned = {measure: thin([row for row in log if row["step"]], measure) for measure in MEASURES}
    return {measure: found for measure, found in thinned.items() if found[0]}


def draw(inputs: style.Inputs, folder: Path) -> None:
    """Writes the figure: a panel a measure."""
    found = curves(history(inputs["pretrain"])[0])
    if not found:
        raise BadInput(
            f"{inputs['pretrain']}/log.jsonl holds no step with its time; run pretrain/train.py to time some"
        )
    figure, axes = style.new_figure(style.PAGE * 0.75, 0.6 + 1.15 * len(found), rows=len(found), sharex=True)
    for place, (panel, (measure, (points, _))) in enumerate(zip(axes[:, 0], found.items(), strict=True)):
        name, unit = MEASURES[measure]
        style.draw_curve(panel, name, points, place)
        panel.set(title=name, ylabel=unit)
        panel.set_ylim(bottom=0)
        style.bound(panel, EXTENTS[measure])
    style.label_steps(axes[-1, 0], [])
    every = max(found[measure][1] for measure in found)
    stretch = f"; each point is the mean of {every:,} steps, bands and brackets their range" if every > 1 else ""
    style.save(figure, folder, "throughput", "Speed of pre-training over its steps", f"A panel a measure{stretch}")


def main() -> None:
    style.run("plot_throughput", __doc__, lambda run: {"pretrain": run.folder("pretrain")}, draw)


if __name__ == "__main__":
    run_script(main)
