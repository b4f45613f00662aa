"""The x axis that several runs share: what their series count, or the share of each run that is done."""

from pathlib import Path

from plot import style
from snakmodel.config import BadInput
from snakmodel.paths import HUB

STEPS, SHARE = "pre-training steps", "share of the run (%)"


def find_axis(config: Path, over: str, found: dict[str, style.Inputs], runs: dict[str, list[style.Row]]) -> str:
    """What the x axis is: the share of a run, or what all series that are drawn count. runs: what is drawn of each."""
    if over == "share":
        return SHARE
    counted: dict[str, list[str]] = {}
    for name, rows in runs.items():
        axes = style.read_axes(found[name])
        for series in style.group(rows, "series"):
            counted.setdefault(axes.get(series, STEPS), []).append(f"{name}: {series}")
    if len(counted) > 1:
        told = "; ".join(f"{', '.join(names)} by {axis}" for axis, names in counted.items())
        raise BadInput(f"{config}: plot_compare: on no one axis: {told}; choose series, or say over=share")
    return next(iter(counted))


def last_steps(files: style.Inputs, rows: list[style.Row]) -> dict[str, int]:
    """Series -> the last step of its run: of all its series.json, or where there is none of `rows`.

    rows: all that was scored or measured of the run. A series on the Hub, one that counts something else than steps of
    pre-training (its epochs, say), or one that goes on beyond, has its own last step.
    """
    axes = style.read_axes(files)
    listed = {series: [row["step"] for row in found["steps"]] for series, found in style.read_series(files).items()}
    drawn = {series: [row["step"] for row in mine] for series, mine in style.group(rows, "series").items()}
    here = {series: steps for series, steps in drawn.items() if not series.startswith(HUB)}

    def last_of(series: str, steps: dict[str, list[int]]) -> int:
        alike = [mine for other, mine in steps.items() if other == series or not {other, series} & axes.keys()]
        return max((step for mine in alike for step in mine), default=0)

    ends = {series: last_of(series, listed) or last_of(series, here) for series in here}
    return {series: max(ends.get(series, 0), *steps) for series, steps in drawn.items()}


def scale_steps(over: str, row: style.Row, last: int) -> style.Row:
    """A row whose steps are what the x axis counts; last: the last step of its run."""
    factor = 1 if over == "steps" else 100 / max(last, 1)
    return row | {key: row[key] * factor for key in ("step", "against_step") if key in row}
