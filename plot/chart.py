"""Curves over steps as the report draws them: places for an inline SVG, the numbers in words, and both as JSON.

The picture needs no script. Its texts are placed in percent, so that they keep their size on a narrow screen.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, floor, isfinite, log10
from typing import Any

from plot.extents import Measure, widen

Row = dict[str, Any]
MOST_MARKED = 30  # points of a curve that are marked one by one
LABEL_HEIGHT = 7.0  # of a dotted line's name: percent of the plot
MOST_POINTS = 240  # of a dense curve, which is drawn by the means of its stretches


@dataclass(frozen=True)
class Chart:
    """Curves by name, each of rows with step, value, low and high; the rows' tokens are told where they are known."""

    title: str
    unit: str  # of the values, as the axis names it
    curves: dict[str, list[Row]]
    note: str = ""  # what the values and the bands are
    digits: str = ",.4g"  # how a value is written
    measure: Measure | None = None  # whose span and ends the value axis has
    ends: tuple[float | None, float | None] = (None, None)  # of the value axis; None: by the values
    limits: dict[str, Measure] = field(default_factory=dict)  # curve -> its own measure, where there are several
    levels: dict[str, float] = field(default_factory=dict)  # dotted lines by name: chance, say
    hollow: frozenset[str] = frozenset()  # curves that are dashed, and their markers open
    places: dict[str, int] = field(default_factory=dict)  # curve -> number of its look; those not named: by their order
    series: str = ""  # whose steps they are


def known(row: Row, key: str) -> bool:
    """Whether a row has a finite number there."""
    return row.get(key) is not None and isfinite(row[key])


def thin(rows: list[Row], key: str, most: int = MOST_POINTS) -> tuple[list[Row], int]:
    """Rows of a dense log as at most `most` points, means with their range, and how many rows make a point."""
    found = [row for row in rows if known(row, key)]
    every = max(1, ceil(len(found) / most))
    stretches = [found[start : start + every] for start in range(0, len(found), every)]
    points = []
    for stretch in stretches:
        values = [row[key] for row in stretch]
        ends = {"value": sum(values) / len(values), "low": min(values), "high": max(values)}
        points.append({"step": stretch[-1]["step"], "tokens": stretch[-1]["tokens"], **ends})
    return points, every


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from `low` to `high`, at most `most` + 1 of them: 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / most
    power = 10.0 ** floor(log10(rough))
    apart = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [place * apart for place in range(ceil(low / apart - 1e-9), floor(high / apart + 1e-9) + 1)]


def in_digits(value: float) -> str:
    """A tick: "12,500", "0.25", "-2", "1e-06"."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def value_range(chart: Chart) -> tuple[float, float]:
    """The ends of the value axis: what is drawn, and a little room."""
    rows = [row for curve in chart.curves.values() for row in curve]
    values = [row[key] for row in rows for key in ("value", "low", "high") if known(row, key)]
    values += chart.levels.values()
    (bottom, top), room = chart.ends, 0.05 * (max(values) - min(values))
    if chart.measure is None:
        room = room or abs(max(values)) or 1.0
    low, high = min(values) - room if bottom is None else bottom, max(values) + room if top is None else top
    if chart.measure is None:
        return low, max(high, low + room)
    widths = [row["high"] - row["low"] for row in rows if known(row, "low") and known(row, "high")]
    return widen(low, high, chart.measure, widths)


def told(chart: Chart, row: Row) -> str:
    """ "61.2 [58.1, 64.3]"; without an interval where there is none."""
    if not known(row, "value"):
        return "not a number"
    value, *ends = (format(row[key], chart.digits) for key in ("value", "low", "high") if known(row, key))
    return f"{value} [{', '.join(ends)}]" if len(ends) == 2 and ends[0] != ends[1] else value


@dataclass(frozen=True)
class Frame:
    """The ends of both axes."""

    first: float
    last: float
    low: float
    high: float

    def across(self, step: float) -> float:
        """Percent from the left."""
        return round(100 * (step - self.first) / (self.last - self.first), 3)

    def down(self, value: float) -> float:
        """Percent from the top; what lies beyond an end lies on it."""
        return round(100 * (self.high - min(max(value, self.low), self.high)) / (self.high - self.low), 3)


def lay_out(chart: Chart, axis: str | None = None) -> dict[str, Any]:
    """Everything the page needs of a chart: places in percent from the left and the top, paths, texts and JSON.

    axis: what the series' steps count ("epochs"); None: steps of pre-training.
    """
    rows = [row for curve in chart.curves.values() for row in curve]
    tokens = {row["step"]: row.get("tokens") for row in rows}
    steps = sorted(tokens)
    words = {name: {row["step"]: told(chart, row) for row in mine} for name, mine in chart.curves.items()}
    facts: dict[str, Any] = {"chart": chart, "axis": axis, "steps": steps, "words": words}
    if not any(known(row, "value") for row in rows):
        return {**facts, "empty": True}
    alone = steps[0] == steps[-1]
    low, high = value_range(chart)
    frame = Frame(steps[0] - alone, steps[-1] + alone, low, high)
    data = {
        "at": [{"step": step, "x": frame.across(step), "label": label(step, tokens[step], axis)} for step in steps],
        "curves": [
            {"name": name, "points": {row["step"]: [height(frame, row), words[name][row["step"]]] for row in mine}}
            for name, mine in chart.curves.items()
        ],
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    whole = [step for step in ticks(frame.first, frame.last, 6) if step == int(step)]
    return {
        **facts,
        "empty": False,
        "curves": [draw(chart, frame, name, order) for order, name in enumerate(chart.curves)],
        "across": [(frame.across(step), f"{step:,.0f}") for step in whole],
        "down": [(frame.down(value), in_digits(value)) for value in ticks(low, high, 5)],
        "levels": label_levels(chart, frame),
        "data": text.replace("<", "\\u003c"),  # no name can end the script element
    }


def label_levels(chart: Chart, frame: Frame) -> list[tuple[float, float, str]]:
    """Each dotted line's place, that of its name just above it, in percent from the top, and the name."""
    ordered = sorted(chart.levels.items(), key=lambda named: named[1])
    places = [frame.down(value) for _, value in ordered]
    above = push_apart([100 - place for place in places], [LABEL_HEIGHT] * len(places), 100 + LABEL_HEIGHT / 2)
    return [(place, round(100 - up, 3), name) for place, up, (name, _) in zip(places, above, ordered, strict=True)]


def push_apart(places: Iterable[float], heights: list[float], top: float) -> list[float]:
    """Where labels stand whose places, given from the lowest, are too close for their heights; none beyond the top."""
    found: list[float] = []
    for place, height in zip(places, heights, strict=True):
        found.append(max(place, found[-1] + (heights[len(found) - 1] + height) / 2) if found else place)
    for number in reversed(range(len(found))):
        found[number] = min(found[number], top - heights[number] / 2)
        top = found[number] - heights[number] / 2
    return found


def height(frame: Frame, row: Row) -> float | None:
    """Percent from the top, or None where there is no number."""
    return frame.down(row["value"]) if known(row, "value") else None


def draw(chart: Chart, frame: Frame, name: str, order: int) -> dict[str, Any]:
    """One curve: its look, the `d` of its line and band, the places of its marks, and of lone points' intervals."""
    rows = chart.curves[name]
    runs, every = unbroken(rows, "value"), ceil(len(rows) / MOST_MARKED)
    marked = every == 1 or len(chart.curves) > 1  # in grey print, marks tell dense curves apart
    limit = chart.limits.get(name, Measure(0))
    bands = unbroken([cut_off(row, limit) for row in rows], "value", "low", "high")
    places = [(frame.across(row["step"]), height(frame, row)) for row in rows[::-1][::every]]
    return {
        "name": name,
        "place": chart.places.get(name, order),
        "hollow": name in chart.hollow,
        "line": " ".join(path([(frame.across(row["step"]), frame.down(row["value"])) for row in run]) for run in runs),
        "band": " ".join(band(stretch, frame) for stretch in bands if len(stretch) > 1),
        "bars": [
            (frame.across(row["step"]), frame.down(row["low"]), frame.down(row["high"]))
            for row, *others in bands
            if not others
        ],
        "marks": [(x, y) for x, y in places if y is not None and marked],
    }


def label(step: int, tokens: int | None, axis: str | None) -> str:
    """ "Step 40, 163,840 tokens", "Epochs: 2"."""
    return f"{axis.capitalize()}: {step:,}" if axis else f"Step {step:,}" + (f", {tokens:,} tokens" if tokens else "")


def unbroken(rows: list[Row], *keys: str) -> list[list[Row]]:
    """Stretches of rows that have a finite number at all of these keys."""
    runs: list[list[Row]] = [[]]
    for row in rows:
        if all(known(row, key) for key in keys):
            runs[-1].append(row)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def path(points: list[tuple[float, float]]) -> str:
    """The `d` of an SVG path through points."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def cut_off(row: Row, measure: Measure) -> Row:
    """A row whose interval is drawn no further than the measure goes."""
    if not (known(row, "low") and known(row, "high")):
        return row
    return {**row, "low": max(row["low"], measure.low), "high": min(row["high"], measure.high)}


def band(rows: list[Row], frame: Frame) -> str:
    """The closed path between the rows' low and high; nothing where they are all the same."""
    if all(row["low"] == row["high"] for row in rows):
        return ""
    there, back = ([(frame.across(row["step"]), frame.down(row[end])) for row in rows] for end in ("high", "low"))
    return path(there + back[::-1]) + "Z"
