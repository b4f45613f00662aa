"""How every figure looks, what tasks and measures are called, and how a figure is saved with its text alternative.

matplotlib is imported inside the functions: the report needs the names alone, and a finished stage must say so at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakmodel.records import write_beside, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.03, 6.3  # inches: one column and the full text width of an ACL paper
# Paul Tol's "muted" scheme, safe for colour-blind readers; the markers tell the curves apart in grey print.
COLOURS = ("#332288", "#CC6677", "#117733", "#DDAA33", "#44AA99", "#882255", "#88CCEE", "#999933", "#AA4499")
MARKERS = "osD^vPX<>"
MOST_MARKERS = 15  # on a curve; a denser one has markers at some of its points only
GREY = "#666666"
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,  # TrueType: text stays text, as publishers ask
}

TASKS = (  # short name, name, data sets: the experiment's and the miniature's
    ("LA", "linguistic acceptability", ("scala-da", "tiny-acceptability")),
    ("Senti", "sentiment", ("angry-tweets", "tiny-sentiment")),
    ("TM", "idioms", ("danske-talemaader",)),
    ("CT", "citizenship tests", ("danish-citizen-tests",)),
    ("CSR", "common-sense reasoning", ("hellaswag-da",)),
    ("QA", "question answering", ("scandiqa-da",)),
    ("NER", "named entities", ("dansk",)),
    ("Summ", "summarisation", ("nordjylland-news",)),
    ("Know", "knowledge", ("tiny-knowledge",)),
)
METRICS = {"macro_f1": "macro F1", "micro_f1": "micro F1", "f1": "F1", "mcc": "MCC", "bertscore": "BERTScore"}
LANGUAGES = {"da": "Danish", "en": "English", "no": "Norwegian", "sv": "Swedish"}
PARAMETERS = {  # in the paper's order
    "embed_tokens": "EMB",
    "q_proj": "Q",
    "k_proj": "K",
    "v_proj": "V",
    "o_proj": "O",
    "gate_proj": "G",
    "up_proj": "W↑",
    "down_proj": "W↓",
    "lm_head": "LMH",
}
MEASURES = {
    "delta": "Mean absolute change",
    "subspace_angle": "Subspace angle",
    "left_singular_angle": "Left singular angle",
    "relative_frobenius": "Relative Frobenius change",
}


@dataclass(frozen=True)
class Point:
    """A value of a curve, with the band's ends where there are any."""

    x: float
    value: float
    low: float | None = None
    high: float | None = None


def task_name(dataset: str) -> tuple[str, str]:
    """Short and full name of a data set's task; an unknown one goes by its own name."""
    return next(((short, name) for short, name, datasets in TASKS if dataset in datasets), (dataset, dataset))


def task_places(datasets: set[str]) -> dict[str, int]:
    """Data set -> its place in TASKS, which fixes its look, in that order; unknown ones follow by name."""
    places = {dataset: place for place, (_, _, known) in enumerate(TASKS) for dataset in known if dataset in datasets}
    unknown = sorted(datasets - set(places))
    return places | {dataset: len(TASKS) + place for place, dataset in enumerate(unknown)}


def look(index: int) -> dict[str, Any]:
    """Colour and marker number `index`; beyond the ninth, colours return with other markers."""
    turn, place = divmod(index, len(COLOURS))
    return {"color": COLOURS[place], "marker": MARKERS[(place + turn) % len(MARKERS)]}


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple["Figure", Any]:
    """An empty figure of `width` x `height` inches and its array of axes [rows, columns]."""
    import matplotlib
    from matplotlib.figure import Figure  # not pyplot: no global state, and Agg is its canvas

    matplotlib.rcParams.update(STYLE)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def draw_curve(axes: "Axes", points: list[Point], *, label: str, hollow: bool = False, **options: Any) -> None:
    """A line with its band; a single point is a marker with an error bar. Hollow curves are dashed."""
    if hollow:
        options |= {"linestyle": "--", "markerfacecolor": "white"}
    x, y = [p.x for p in points], [p.value for p in points]
    lows = [p.value if p.low is None else p.low for p in points]
    highs = [p.value if p.high is None else p.high for p in points]
    if len(points) == 1:
        error = [[y[0] - lows[0]], [highs[0] - y[0]]]
        axes.errorbar(x, y, yerr=error, label=label, capsize=2, **(options | {"linestyle": "none"}))
        return
    axes.plot(x, y, label=label, markevery=-(-len(points) // MOST_MARKERS), **options)
    axes.fill_between(x, lows, highs, color=options["color"], alpha=0.15, linewidth=0)


def label_steps(axes: "Axes", rows: Sequence[dict[str, Any]] = ()) -> None:
    """Names the x axis. Where the rows say that a step always holds as many tokens, an axis above counts tokens."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_xlabel("Pre-training steps")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    steps = {row["step"] for row in rows}
    if len(steps) == 1:
        axes.set_xticks(list(steps))
    rate = tokens_per_step(rows)
    if len(steps) < 2 or rate is None:
        return
    most = rate * max(steps)
    unit, name = next((u, n) for u, n in ((1e9, " (billions)"), (1e6, " (millions)"), (1, "")) if most >= u)

    def to_tokens(steps: Any) -> Any:
        return steps * rate / unit

    def to_steps(tokens: Any) -> Any:
        return tokens * unit / rate

    above = axes.secondary_xaxis("top", functions=(to_tokens, to_steps))
    above.set_xlabel(f"Tokens{name}")
    above.spines["top"].set_visible(True)


def tokens_per_step(rows: Sequence[dict[str, Any]]) -> float | None:
    """Tokens that a step trains on, or None where rows do not say or differ by more than 1%."""
    rates = [row["tokens"] / row["step"] for row in rows if row["step"] > 0 and row.get("tokens")]
    return rates[-1] if rates and max(rates) <= 1.01 * min(rates) else None


def describe(title: str, axes: str, curves: dict[str, list[Point]]) -> str:
    """A figure in words: its title, its axes, and a line a curve with its values [low, high]."""
    lines = [title, axes]
    for name, points in curves.items():
        values = [
            f"{point.x:,g}: {point.value:.4g}"
            + (f" [{point.low:.4g}, {point.high:.4g}]" if point.low is not None and point.high is not None else "")
            for point in points
        ]
        lines.append(f"{name}: {'; '.join(values)}")
    return "\n".join(lines) + "\n"


def save(figure: "Figure", folder: Path, name: str, alternative: str) -> None:
    """Writes NAME.pdf, NAME.png and NAME.txt (the text alternative); equal figures give equal bytes."""
    metadata = {"Title": alternative.splitlines()[0]}
    for kind, extra in (("pdf", {"CreationDate": None}), ("png", {})):
        with write_beside(folder / f"{name}.{kind}") as temporary:
            figure.savefig(temporary, format=kind, dpi=200, metadata={**metadata, **extra})
    write_text(folder / f"{name}.txt", alternative)
    print(f"{folder / name}: pdf, png, txt", flush=True)
