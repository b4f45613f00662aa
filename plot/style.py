"""How every figure looks, what things are called, and how a figure is saved with its text alternative.

matplotlib is imported inside the functions: the report needs the names alone, and a finished stage must say so at once.
"""

import re
from collections.abc import Callable, Iterable
from math import isfinite, nan
from pathlib import Path
from typing import Any
from zlib import crc32

import yaml

from plot.chart import unbroken
from plot.extents import BITS, MCC, POINTS, Measure, widen
from plot.read_back import INSIDE, Row, in_words, read_back, read_panel, to_csv
from snakmodel.config import BadInput, NoSettings, read_command
from snakmodel.paths import PRETRAINED, Run, stage_of
from snakmodel.records import begin, read_json, write_beside, write_text

COLUMN, PAGE = 3.03, 6.3  # inches: one column and the full text width of an ACL paper
# Paul Tol's "muted" scheme, safe for colour-blind readers; the markers tell the curves apart in grey print.
COLOURS = ("#332288", "#CC6677", "#117733", "#DDAA33", "#44AA99", "#882255", "#88CCEE", "#999933", "#AA4499")
MARKERS = "osD^vPX<>"
MOST_MARKERS = 15  # points of a dense curve that are marked

NAMES = yaml.safe_load(Path(__file__).with_name("names.yaml").read_text(encoding="utf-8"))
TASKS, METRICS, LANGUAGES = NAMES["tasks"], NAMES["metrics"], NAMES["languages"]
HELD_OUT = "bits_per_byte"  # the metric of held-out text, of which less is better

Inputs = dict[str, Path]


def run(section: str, doc: str | None, find: Callable[[Run], Inputs], draw: Callable[[Inputs, Path], None]) -> None:
    """Draws the figures of one script from the inputs that it finds in a run, unless that is done."""
    command = read_command(NoSettings, section, doc)
    inputs, folder = find(command.run), command.run.folder(section)
    work = begin(command, folder, dict(inputs), derived=True)
    if work is not None:
        draw(inputs, folder)
        work.finish()


def find_analysis(run: Run, section: str, ending: str) -> Inputs:
    """analysis/SECTION.parquet or .json, all series and steps together, and what find_axes finds."""
    path = run.folder(section).with_suffix(ending)
    if not path.is_file():
        raise BadInput(f"{path} not found: run {stage_of(section).script} first")
    return {section: path, **find_axes(run)}


def find_series(run: Run) -> Inputs:
    """series.json of every series that has one here."""
    files = {PRETRAINED: run.series(PRETRAINED) / "series.json"}
    files |= {path.parent.name: path for path in sorted(run.folder("merge").glob("*/series.json"))}
    return {f"series.{series}": path for series, path in files.items() if path.is_file()}


def find_axes(run: Run) -> Inputs:
    """series.json of every series whose steps are not those of pre-training."""
    return {name: path for name, path in find_series(run).items() if read_json(path).get("axis")}


def read_series(inputs: Inputs) -> dict[str, Any]:
    """Series -> its series.json, of those that find_series or find_axes has found."""
    found = {name.removeprefix("series."): path for name, path in inputs.items() if name.startswith("series.")}
    return {series: read_json(path) for series, path in found.items()}


def read_axes(inputs: Inputs) -> dict[str, str]:
    """Series -> what its steps count ("epochs"), where that is not steps of pre-training."""
    return {series: found["axis"] for series, found in read_series(inputs).items() if found.get("axis")}


def group(rows: list[Row], key: str) -> dict[Any, list[Row]]:
    """Rows by their value of `key`, in the order in which the values first come."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups


def short_name(row: Row) -> str:
    """A score's task in brief; an unknown data set goes by its own name."""
    return TASKS.get(row["dataset"], [row["dataset"]])[0]


def place_of(dataset: str) -> int:
    """The number of a data set's look, by its name alone: the same in every figure of every run, whatever stands there.

    Known tasks have the first ones, in any language. Others have none of theirs; what two share, `looks` tells apart.
    """
    known = list(dict.fromkeys(short for short, _ in TASKS.values()))
    if dataset in TASKS:
        return known.index(TASKS[dataset][0])
    return len(COLOURS) + crc32(dataset.encode()) % (len(COLOURS) * (len(MARKERS) - 1))


def order_of(dataset: str) -> tuple[int, str]:
    """Where a data set stands among others: known tasks first, others by their names."""
    return (place_of(dataset) if dataset in TASKS else len(TASKS)), dataset


def looks(wanted: dict[Any, int], dashes: bool = True) -> dict[Any, tuple[int, bool]]:
    """Curve -> the number of its look, and whether it is hollow; no two curves look the same.

    wanted: the number that each has by its name. A curve is hollow where one before it has that marker, so that they
    are told apart in grey print, too; dashes=False where hollow means something else. Where that leaves two the same,
    the later one takes the next marker of its colour that is free, and only when none is, another colour.
    """
    found: dict[Any, tuple[int, bool]] = {}
    for curve, first in wanted.items():
        taken = {(look(place), hollow) for place, hollow in found.values()}
        markers = {marker for (_, marker), _ in taken}
        options = [(place, dashes and look(place)[1] in markers) for place in others_of(first)]
        free = (option for option in options if (look(option[0]), option[1]) not in taken)
        found[curve] = next(free, options[0])  # more than 72 curves are told apart by nobody
    return found


def others_of(place: int) -> list[int]:
    """The number of a look, and those that may stand for it, of its colour first; known tasks' are not among them."""
    ring = len(COLOURS) * (len(MARKERS) - 1)
    moves = [len(COLOURS) * turn + colour for colour in range(len(COLOURS)) for turn in range(len(MARKERS) - 1)]
    return [place, *(len(COLOURS) + (place - len(COLOURS) + move) % ring for move in moves)]


def measure_of(metric: str) -> Measure:
    """What a score by this metric can be."""
    return {HELD_OUT: BITS, "mcc": MCC}.get(metric, POINTS)


def label(row: Row) -> str:
    """What a score is called: "Held-out Danish text (bits per byte)", "Sentiment (Senti, macro F1)"."""
    if row["metric"] == HELD_OUT:
        return f"Held-out {LANGUAGES.get(row['language'], row['language'])} text (bits per byte)"
    kind = NAMES["kinds"].get(row.get("task"), "unknown task")
    short, name = TASKS.get(row["dataset"], [row["dataset"], kind])
    return f"{name} ({short}, {METRICS.get(row['metric'], row['metric'])})"


def file_name(series: str) -> str:
    """A name as part of a file's: "hub:ORG/NAME@REVISION" -> "hub-ORG-NAME-REVISION"."""
    return re.sub(r"[^\w.+-]+", "-", series)


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """An empty figure of `width` x `height` inches and its array of axes [rows, columns]."""
    import matplotlib
    from matplotlib.figure import Figure  # not pyplot: no global state, and Agg is its canvas

    matplotlib.rc_file(Path(__file__).with_name("figures.mplstyle"))
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def draw_curve(
    axes: Any, name: str, rows: list[Row], place: int, hollow: bool = False, measure: Measure | None = None
) -> None:
    """A line of the rows' `value` over `step`, with a band from `low` to `high`, in the look of number `place`.

    A value that is missing or not a number is a gap; one without an interval is a gap in the band. measure: the ends
    at which the band is cut off, where the axis goes further.
    """
    colour, marker = look(place)
    every = -(-len(rows) // MOST_MARKERS)
    values = [nan if row["value"] is None else row["value"] for row in rows]
    steps = [row["step"] for row in rows]
    (line,) = axes.plot(steps, values, label=name, color=colour, marker=marker, markevery=every)
    if hollow:
        line.set(linestyle="--", markerfacecolor="white")
    for stretch in unbroken(rows, "value", "low", "high"):
        steps, lows, highs = ([row[key] for row in stretch] for key in ("step", "low", "high"))
        if len(stretch) == 1:  # no band, but an error bar
            drawn = axes.vlines(steps, lows, highs, color=colour, label=f"_{name}")
        else:
            drawn = axes.fill_between(steps, lows, highs, color=colour, alpha=0.15, linewidth=0, label=f"_{name}")
        cut_off(axes, drawn, measure)


def draw_points(
    axes: Any,
    name: str,
    rows: list[Row],
    place: int,
    shift: float = 0,
    across: bool = False,
    hollow: bool = False,
    measure: Measure | None = None,
) -> None:
    """A marker at each row's `value` with a bar from `low` to `high`, in the look of number `place`.

    The rows stand at 0, 1, ..., moved by `shift`, which the caller names by ticks: from left to right, or `across`,
    from top to bottom. measure: as for curves.
    """
    colour, marker = look(place)
    places = [number + shift for number in range(len(rows))]
    values, lows, highs = ([nan if row[key] is None else row[key] for row in rows] for key in ("value", "low", "high"))
    bars = (axes.hlines if across else axes.vlines)(places, lows, highs, color=colour, linewidth=1, label=f"_{name}")
    cut_off(axes, bars, measure)
    points = (values, places) if across else (places, values)
    (marks,) = axes.plot(*points, label=name, color=colour, marker=marker, markersize=3, linestyle="none")
    if hollow:
        marks.set(markerfacecolor="white", markeredgewidth=0.6)


def cut_off(axes: Any, drawn: Any, measure: Measure | None) -> None:
    """Shows of what is drawn no more than the measure can be; what it holds, and what is read back, stays whole."""
    if measure is not None and isfinite(measure.high):  # an outline has an end
        from matplotlib.path import Path as Outline

        corners = [(0, measure.low), (1, measure.low), (1, measure.high), (0, measure.high), (0, measure.low)]
        drawn.set_clip_path(Outline(corners), axes.get_yaxis_transform())


def bound(panel: Any, measure: Measure) -> None:
    """Gives the value axis its least span and the ends of its measure, once all is drawn."""
    widths = [row["high"] - row["low"] for row in read_panel(panel) if row["low"] is not None]
    low, high = panel.get_ylim()
    low, high = widen(low, high, measure, widths)
    panel.set_ylim(low, high)
    keep_whole(panel)


def keep_whole(panel: Any) -> None:
    """Marks on an end of the value axis are not cut in half; what lies beyond the axis is not shown."""
    low, high = panel.get_ylim()
    for line in panel.get_lines():
        line.set_clip_on(any(value < low or value > high for value in line.get_ydata()))


def look(place: int) -> tuple[str, str]:
    """Colour and marker of number `place`; beyond the ninth, colours return with other markers."""
    turn, index = divmod(place, len(COLOURS))
    return COLOURS[index], MARKERS[(index + turn) % len(MARKERS)]


def name_ticks(axis: Any, names: Iterable[str]) -> None:
    """Names the places 0, 1, ... of an axis; long names ("ORG/NAME@COMMIT") are broken, commits cut."""
    commits = [re.sub(r"@([0-9a-f]{8})[0-9a-f]{4,}$", r"@\1", name) for name in names]
    broken = [name.replace("/", f"/{INSIDE}\n").replace("@", f"{INSIDE}\n@") for name in commits]
    axis.set_ticks(range(len(broken)), broken)


def label_steps(axes: Any, rows: list[Row], axis: str | None = None, most: int = 6) -> None:
    """Names the x axis, once all is drawn; where rows count tokens, an axis above does, too.

    axis: what a step counts, as series.json says; None: steps of pre-training. most: ticks that there is room for.
    """
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_xlabel(axis.capitalize() if axis else "Pre-training steps")
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    tokens_per_step = max((row["tokens"] / max(row["step"], 1) for row in rows if row["tokens"]), default=0)
    if tokens_per_step and not axis:
        unit, name = (1e9, "billions") if tokens_per_step * axes.get_xlim()[1] >= 1e9 else (1e6, "millions")
        scale = tokens_per_step / unit
        above = axes.secondary_xaxis("top", functions=(lambda steps: steps * scale, lambda tokens: tokens / scale))
        above.set_xlabel(f"Tokens ({name})")
        above.spines["top"].set_visible(True)


def save(figure: Any, folder: Path, name: str, title: str, note: str) -> None:
    """Writes NAME.pdf, .png, .svg; as .csv what is drawn; as .txt title, note and that in words. Equal figures give
    equal bytes. What a file's name cannot hold ("ORG/NAME@REVISION") becomes a hyphen in it.
    """
    name = file_name(name)
    undated = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
    for kind, metadata in undated.items():
        with write_beside(folder / f"{name}.{kind}") as temporary:
            figure.savefig(temporary, format=kind, dpi=200, metadata={"Title": title, **metadata})
        figure.set_layout_engine("none")  # what the first has found holds for all, and is half the work
    write_text(folder / f"{name}.csv", to_csv(read_back(figure)))
    write_text(folder / f"{name}.txt", "\n".join([title, note, *in_words(figure)]) + "\n")
    print(f"{folder / name}: {', '.join(undated)}, csv, txt", flush=True)
