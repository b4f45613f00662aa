"""Draw loss, held-out bits per byte by language, and learning rate over the steps of pre-training.

python plot/training.py --config configs/tiny.yaml

A branch (`pretrain.branch_from`) is drawn with the steps of its parent before it.
"""

from pathlib import Path
from typing import Any

from plot import style
from plot.extents import BITS, NATS
from snakmodel.config import BadInput, run_script
from snakmodel.records import read_json, read_jsonl
from snakmodel.series import parse_branch

Row = dict[str, Any]


def history(folder: Path) -> tuple[list[Row], int]:
    """The log of a run after those of the runs it branched from, steps and tokens counted on; and its own step 0."""
    settings = read_json(folder / "started.json")["settings"]
    rows: list[Row] = []
    if settings.get("branch_from"):
        run, step = parse_branch(settings["branch_from"])
        before, begins = history(run / folder.name)
        rows = [row for row in before if row["step"] <= begins + step]
    steps, tokens = (rows[-1]["step"], rows[-1]["tokens"]) if rows else (0, 0)
    own = [
        {**row, "step": steps + row["step"], "tokens": tokens + row["tokens"]}
        for row in read_jsonl(folder / "log.jsonl")
    ]
    return rows + own, steps


def draw(inputs: style.Inputs, folder: Path) -> None:
    """Writes the figure: loss above, bits per byte of each language in the middle, learning rate below."""
    rows, begins = history(Path(inputs["pretrain"]))
    if not rows:
        raise BadInput(f"{inputs['pretrain']}/log.jsonl holds no step; run pretrain/train.py with steps above 0")
    figure, axes = style.new_figure(style.PAGE * 0.75, 4.6, rows=3, sharex=True, height_ratios=[3, 2, 1])
    losses, held_out, rates = axes[:, 0]
    learnt = [row for row in rows if "loss" in row]  # a skipped step has none
    steps = [row["step"] for row in learnt]
    losses.plot(steps, [row["loss"] for row in learnt], color=style.COLOURS[6], linewidth=0.8, label="training")
    losses.set_ylabel("Loss (nats per token)")
    validated = [row for row in rows if "bits_per_byte" in row]
    for place, language in enumerate(dict.fromkeys(name for row in validated for name in row["bits_per_byte"])):
        points = [(row, row["bits_per_byte"][language]) for row in validated if language in row["bits_per_byte"]]
        curve = [{**row, "value": value, "low": value, "high": value} for row, value in points]  # no interval
        style.draw_curve(held_out, language, curve, place)
    held_out.set_ylabel("Bits per byte, held out")
    style.bound(losses, NATS)
    style.bound(held_out, BITS)
    if validated:
        held_out.legend(loc="upper right", ncols=2)
    trained = [row for row in rows if "learning_rate" in row]  # step 0 has none
    rates.plot(
        [row["step"] for row in trained],
        [row["learning_rate"] for row in trained],
        color=style.COLOURS[0],
        label="rate",
    )
    rates.set_ylabel("Learning rate")
    rates.set_ylim(bottom=0)
    rates.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for panel in (losses, held_out, rates):
        if begins:
            panel.axvline(begins, color="black", linewidth=0.6, linestyle=":", label="_branch")
    style.label_steps(rates, [])
    style.label_steps(losses, rows)
    losses.set_xlabel("")
    note = "Over pre-training steps; loss, held-out text, learning rate; of dense curves only some points are told"
    note += f"; a branch of {begins:,} earlier steps" if begins else ""
    style.save(figure, folder, "loss", "Loss, held-out text and learning rate of pre-training", note)


def main() -> None:
    style.run("plot_training", __doc__, lambda run: {"pretrain": run.folder("pretrain")}, draw)


if __name__ == "__main__":
    run_script(main)
