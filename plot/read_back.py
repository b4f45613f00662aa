"""What a figure shows, read from the figure itself: as rows, as CSV and in words for readers who cannot see it."""

import csv
import io
from itertools import groupby
from math import nan
from operator import itemgetter
from typing import Any

MOST_SPOKEN = 30  # points of a dense curve that are told in words; the CSV has all

INSIDE = "\u200b"  # at the end of a line that breaks where no space is: it takes no room

Row = dict[str, Any]


def read_back(figure: Any) -> list[Row]:
    """What is drawn, read from the figure itself: a row a point, bar or cell, with panel, curve, x, value, low, high.

    x is a number, or the name that stands at the axis; low and high are None without an interval.
    """
    return [row for axes in figure.axes for row in read_panel(axes)]


def read_panel(axes: Any) -> list[Row]:
    """The rows of one panel, in the order in which lines, bars and cells were drawn."""
    from matplotlib.container import BarContainer

    columns, lines = names_at(axes.xaxis), names_at(axes.yaxis)
    found: list[tuple[str, Any, float, Any]] = []  # curve, x, value, ends of the interval
    bands: dict[str, list[Any]] = {}
    for each in axes.collections:
        bands.setdefault(each.get_label(), []).extend(path.vertices.tolist() for path in each.get_paths())
    for line in axes.get_lines():
        curve, across = line.get_label(), bool(lines) and not columns
        corners = [corner[::-1] if across else corner for path in bands.get(f"_{curve}", ()) for corner in path]
        for point in line.get_xydata().tolist() if not curve.startswith("_") else []:
            place, value = point[::-1] if across else point
            ends = [end for at, end in corners if at == place]
            found.append((curve, (lines if across else columns).get(round(place), place), value, ends))
    all_bars: list[Any] = [each for each in axes.containers if isinstance(each, BarContainer)]
    for bars in all_bars:
        names = (lines if bars.orientation == "horizontal" else columns).values()
        curve = "" if bars.get_label().startswith("_") else bars.get_label()
        found += [(curve, name, value, []) for name, value in zip(names, bars.datavalues, strict=True)]
    for image in axes.images:
        for line, cells in enumerate(image.get_array().tolist()):
            found += [(lines[line], columns[place], value, []) for place, value in enumerate(cells)]
    return [
        {"panel": name_panel(axes), "curve": curve, "x": x, "value": nan if value is None else float(value)}
        | {"low": min(ends, default=None), "high": max(ends, default=None)}
        for curve, x, value, ends in found
    ]


def names_at(axis: Any) -> dict[int, str]:
    """Place -> name, of an axis whose ticks are names."""
    from matplotlib.category import StrCategoryLocator
    from matplotlib.ticker import FixedLocator

    if not isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator):
        return {}
    places = axis.get_majorticklocs()
    names = axis.get_major_formatter().format_ticks(places)
    return {round(place): whole(name) for place, name in zip(places, names, strict=True)}


def name_panel(axes: Any) -> str:
    """What stands above a panel, or at its axes."""
    return whole(axes.get_title() or axes.get_ylabel() or axes.get_xlabel())


def whole(name: str) -> str:
    """A name that stands on several lines as one; where it was not broken at a space, the line ends so."""
    return name.replace(f"{INSIDE}\n", "").replace("\n", " ")


def to_csv(rows: list[Row]) -> str:
    """The rows as CSV, numbers in full; empty: there is none."""
    file = io.StringIO()
    writer = csv.DictWriter(file, ("panel", "curve", "x", "value", "low", "high"), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None or value != value else value for key, value in row.items()})
    return file.getvalue()


def in_words(figure: Any) -> list[str]:
    """What each panel shows: a line a curve, set of bars or row of cells with its values, and the panel's notes."""
    lines = []
    for axes in figure.axes:
        lines.append(name_panel(axes))
        for curve, rows in groupby(read_panel(axes), itemgetter("curve")):
            values = "; ".join(row_in_words(row) for row in thin(list(rows)))
            lines.append(f"{curve}: {values}" if curve else values)
        lines += [whole(text.get_text()) for text in axes.texts if not text.get_label().startswith("_")]
    return [line for line in lines if line]


def thin(rows: list[Row]) -> list[Row]:
    """Of a dense curve every so many points, up to its last; of names all."""
    every = 1 if isinstance(rows[0]["x"], str) else -(-len(rows) // MOST_SPOKEN)
    return rows[::-1][::every][::-1]


def row_in_words(row: Row) -> str:
    """ "50: 3 [2.75, 3.25]", "EMB 3"."""
    low, high = row["low"], row["high"]
    interval = f" [{in_digits(low)}, {in_digits(high)}]" if low is not None and low < high else ""
    x = f"{row['x']}" if isinstance(row["x"], str) else f"{in_digits(row['x'])}:"
    return f"{x} {in_digits(row['value'])}{interval}"


def in_digits(value: float) -> str:
    """ "12,500", "0.3333"."""
    if value != value:
        return "not known"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
