"""Draw several runs, or a run and the paper, in one figure: scores, held-out text, divergence.

python plot/compare.py --config configs/tiny.yaml runs=out/tiny,out/other
python plot/compare.py --config configs/tiny.yaml paper=true over=share

Runs of different length are laid over each other by steps, or by the share of the run that is done. Scores are
compared only where scorer, version, split and prompting are the same. The paper's are ScandEval's, test, few-shot.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from plot import layout, style
from plot.divergence import EXTENTS, over_steps, read_distances
from plot.extents import DEGREES, Measure
from plot.paper import FILES, choose, read_paper
from plot.scores import Way, find_curves, is_number, name_axis, name_way, split_ways, tell, tell_way
from plot.shared_axis import SHARE, STEPS, find_axis, last_steps, scale_steps
from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.paths import PRETRAINED, Run, stage_of
from snakmodel.records import begin, read_json

PARAMETERS, MEASURES = style.NAMES["parameters"], style.NAMES["measures"]
PAPER, PAPER_STEPS = "paper", 12_500
PAPER_ROWS = ("LLaMA2-7B base", "SnakModel-7B base", "SnakModel-7B instruct")  # drawn as levels
PAPER_BASE, PAPER_CURVE = {"comparison": "llama2-base"}, f"{PAPER}: SnakModel-7B base"  # of its distances
TYPES = ("lm_head", "embed_tokens", "gate_proj")  # whose angles over the steps the paper shows apart

Curves = dict[str, list[style.Row]]


@dataclass
class Settings:
    runs: list[str] = knob([], "folders of the runs; none: the recipe's own")
    paper: bool = knob(False, "the published numbers beside them")
    series: list[str] = knob([PRETRAINED], "series of each run that are drawn")
    over: Literal["steps", "share"] = knob("steps", "x axis: what the series count, or the share of the run in percent")


def main() -> None:
    command = read_command(Settings, "plot_compare", __doc__)
    s, folder = command.settings, command.run.folder("plot_compare")
    found = find_runs(command)
    if len(found) + s.paper < 2:
        raise BadInput(
            f"{command.config}: plot_compare: one run alone, {next(iter(found))}, cannot be compared; "
            "give runs=out/one,out/other or paper=true"
        )
    inputs = {f"{name}.{what}": path for name, files in found.items() for what, path in files.items()}
    work = begin(command, folder, {**inputs, **(FILES if s.paper else {})}, derived=True)
    if work is None:
        return
    scores, weights = {}, {}
    for name, files in found.items():
        scores[name], weights[name] = read_run(s, files)
    if not any([*scores.values(), *weights.values()]):
        raise BadInput(
            f"{command.config}: plot_compare.series: {', '.join(s.series)} is in the scores and weights of none of "
            f"{', '.join(found)}; name a series that was scored or measured"
        )
    axis = find_axis(command.config, s.over, found, {name: [*scores[name], *weights[name]] for name in found})
    drawn = compare_scores(s, scores, axis, folder)
    if s.paper and not drawn:
        print(tell_missing([row for rows in scores.values() for row in rows], recipes_of(command, found)), flush=True)
    compare_divergence(s, weights, axis, folder)
    work.finish()


def find_runs(command: Command[Settings]) -> dict[str, dict[str, Path]]:
    """Name of a run -> its files. A run's name is its folder's, or its path where two are called the same."""
    paths = [Path(path) for path in command.settings.runs] or [command.run.root]
    names = [path.name for path in paths]
    found = {}
    for path in dict.fromkeys(paths):
        run, files = Run(path), {}
        if (run.folder("collect") / "run.json").is_file():
            files["scores"] = run.folder("collect")
        if (weights := run.folder("weights").with_suffix(".parquet")).is_file():
            files["weights"] = weights
        if not files:
            raise BadInput(
                f"{path} holds neither scores nor analysis/weights.parquet: run evaluate/collect.py or "
                "analyze/weights.py of its recipe first, or correct runs"
            )
        files |= style.find_series(run)
        found[path.name if names.count(path.name) == 1 else path.as_posix()] = files
    return found


def read_run(s: Settings, files: dict[str, Path]) -> tuple[list[style.Row], list[style.Row]]:
    """A run's primary scores and distances from the base, of the chosen series, over what the x axis counts."""
    scores, weights = [], []
    if "scores" in files:
        rows = read_json(files["scores"] / "scores.json")["rows"]
        scores = [row for row in rows if row["primary"] and is_number(row) and row["step"] is not None]
        scores.sort(key=lambda row: row["step"])
    if "weights" in files:
        weights = [row for row in read_distances(files["weights"]) if row["against"] == "base"]
    last = last_steps(files, [*scores, *weights])
    scaled = [
        [scale_steps(s.over, row, last[row["series"]]) for row in rows if row["series"] in s.series]
        for rows in (scores, weights)
    ]
    return scaled[0], scaled[1]


def draw_panels(
    panels: dict[str, Curves], measures: list[Measure], axis: str, ylabel: str, keep: list[str], **legend: Any
) -> Any:
    """A panel for each of what is compared, a curve a run; `keep`: all curves, so that each has one look."""
    figure, drawn = layout.new_panels(list(panels), 1.8)
    for panel, curves, measure in zip(drawn, panels.values(), measures, strict=True):
        for name, rows in curves.items():
            style.draw_curve(panel, name, rows, keep.index(name), hollow=name.startswith(PAPER))
        style.bound(panel, measure)
        style.label_steps(panel, [], axis, most=3)
    for panel in drawn[:: layout.COLUMNS]:
        panel.set_ylabel(ylabel)
    layout.add_legend(figure, layout.handles_of(drawn), 3, **legend)
    return figure


def compare_scores(s: Settings, runs: dict[str, list[style.Row]], axis: str, folder: Path) -> int:
    """A figure for each way of scoring, which its legend says: a panel a task, or a language of held-out text. How many
    levels are the paper's.
    """
    levels = 0
    for kind in ("tasks", "held-out"):
        of_kind = {
            name: [row for row in rows if (row["metric"] == style.HELD_OUT) == (kind == "held-out")]
            for name, rows in runs.items()
        }
        ways = split_ways([row for rows in of_kind.values() for row in rows])
        for way in ways:
            likewise = {name: ours for name, rows in of_kind.items() if (ours := split_ways(rows).get(way))}
            named = [row | {"curve": f"{name}: {row['series']}"} for name, rows in likewise.items() for row in rows]
            sets = find_curves(named)  # of all runs at once: what one of them calls a set is what all do
            panels: dict[str, Curves] = {label: style.group(rows, "curve") for label, rows in sets.items()}
            measures = [style.measure_of(rows[0]["metric"]) for rows in sets.values()]
            if s.paper and kind == "tasks":
                levels += add_paper_levels(way, panels)
            # by runs, not by panels, so that a run looks the same in all figures; the paper's own come after them
            every = [*(row["curve"] for row in named), *(name for curves in panels.values() for name in curves)]
            names = list(dict.fromkeys(every))
            if len(names) < 2:
                print(f"{names[0]}: {kind} not drawn: nothing beside it by {tell_way(way)}", flush=True)
                continue
            lowest = min(measure.low for measure in measures)
            ylabel = name_axis(lowest) if kind == "tasks" else "Bits per byte"
            legend = {"title": tell_way(way), "title_fontsize": layout.SMALL}
            figure = draw_panels(panels, measures, axis, ylabel, names, **legend)
            title = f"{'Task scores' if kind == 'tasks' else 'Held-out text'}: {', '.join(likewise)} compared"
            style.save(figure, folder, f"{kind}{name_way(way, list(ways))}", title, tell(way, axis))
    return levels


def add_paper_levels(way: Way, panels: dict[str, Curves]) -> int:
    """The paper's rows as levels, in the panels of its data sets and metrics; how many there are."""
    paper, added = read_paper("scandeval"), 0
    alike = (way[0], way[2], way[3]) == ("scandeval", paper["split"], paper["few_shot"])
    for curves in panels.values() if alike else ():
        points = next(iter(curves.values()))
        first, last = points[0]["step"], max(row["step"] for rows in curves.values() for row in rows)
        for column, what in paper["columns"].items():
            if (what["dataset"], what["metric"]) == (points[0]["dataset"], points[0]["metric"]):
                for name in PAPER_ROWS:
                    value = choose(paper, row=name, column=column)[0]["value"]
                    ends = [{"step": at, "value": value, "low": None, "high": None} for at in sorted({first, last})]
                    curves |= {f"{PAPER}: {name}": ends} if value is not None else {}
                    added += value is not None
    return added


def recipes_of(command: Command[Settings], found: dict[str, dict[str, Path]]) -> list[str]:
    """The recipes that the runs were scored by, or this one."""
    records = [read_json(files["scores"] / "run.json") for files in found.values() if "scores" in files]
    return list(dict.fromkeys(record["config"] for record in records if "config" in record)) or [str(command.config)]


def tell_missing(rows: list[style.Row], recipes: list[str]) -> str:
    """What is scored, what the paper has, and the commands that make what can stand beside it."""
    paper = read_paper("scandeval")
    tasks = split_ways([row for row in rows if row["metric"] != style.HELD_OUT])
    here = ", ".join(f"{len(style.group(mine, 'dataset'))} by {tell_way(way)}" for way, mine in tasks.items())
    sets = ", ".join(what["dataset"] for what in paper["columns"].values() if what["dataset"])
    alike = f"split={paper['split']} few_shot={str(paper['few_shot']).lower()}"  # whatever the recipe says
    score, collect = stage_of("scandeval").script, stage_of("collect").script
    make = [f"python {score} --config {recipe} {alike}; python {collect} --config {recipe}" for recipe in recipes]
    likewise = tell_way(("scandeval", None, paper["split"], paper["few_shot"]))
    return (
        f"no score of the paper is drawn: data sets scored here: {here or 'none'}; the paper's: {sets} by {likewise}; "
        f"make these by: make scandeval; {'; '.join(make)}"
    )


def compare_divergence(s: Settings, runs: dict[str, list[style.Row]], axis: str, folder: Path) -> None:
    """Angles over the steps of what the paper shows, and by type at each run's last step."""
    if not any(runs.values()):
        return
    panels: dict[str, Curves] = {f"{PARAMETERS[kind]}: {MEASURES['subspace_angle']}": {} for kind in TYPES}
    bars: dict[str, dict[str, list[style.Row]]] = {"subspace_angle": {}, "delta": {}}
    for name, rows in runs.items():
        for series, mine in style.group(rows, "series").items():
            label, last = f"{name}: {series}", max(row["step"] for row in mine)
            for kind, curves in zip(TYPES, panels.values(), strict=True):
                wanted = [row for row in mine if (row["type"], row["measure"]) == (kind, "subspace_angle")]
                curves |= {label: over_steps(wanted)} if wanted else {}
            for measure, drawn in bars.items():
                drawn[label] = by_type([row for row in mine if row["step"] == last and row["measure"] == measure])
    degenerate = {(row["type"], row["measure"]) for rows in runs.values() for row in rows if row["degenerate"]}
    if s.paper:
        add_paper_types(bars)
        degenerate |= {(kind, "subspace_angle") for kind in read_paper("divergence")["degenerate"]}
    if s.paper and axis in (STEPS, SHARE):
        add_paper_angles(s, panels)
    names = list(dict.fromkeys(name for drawn in bars.values() for name in drawn))
    title = f"Distance from the base: {', '.join(runs)} compared"
    panels = {what: curves for what, curves in panels.items() if curves}
    figure = draw_panels(panels, [DEGREES] * len(panels), axis, "Degrees", names)
    note = f"Over {axis}; mean over layers; bands: one standard deviation; the paper's: tolerance of the measuring"
    style.save(figure, folder, "divergence-steps", title, note)
    figure, axes = style.new_figure(style.PAGE, 2.5, columns=2)
    for panel, (measure, drawn) in zip(axes.flat, bars.items(), strict=True):
        for name, cells in drawn.items():
            shift = 0.6 / len(names) * (names.index(name) - (len(names) - 1) / 2)
            style.draw_points(panel, name, cells, names.index(name), shift)
        marked = [f"({name})" if (kind, measure) in degenerate else name for kind, name in PARAMETERS.items()]
        told = "; (…): degenerate" * any(name.startswith("(") for name in marked)
        panel.set(title=MEASURES[measure] + told, ylim=(0, None))
        style.bound(panel, EXTENTS[measure])
        style.name_ticks(panel.xaxis, marked)
        panel.grid(axis="x", visible=False)
    layout.add_legend(figure, layout.handles_of(axes.flat), 3)
    note = "Mean over layers, at each run's last step; in brackets: degenerate, 0 by construction"
    style.save(figure, folder, "divergence-types", f"{title}, by parameter type", note)


def by_type(rows: list[style.Row]) -> list[style.Row]:
    """A point a parameter type, in display order: its mean over the layers; none where it was not measured."""
    kinds, points = style.group(rows, "type"), []
    for kind in PARAMETERS:
        value = fmean(row["value"] for row in kinds[kind]) if kind in kinds else None
        points.append({"value": value, "low": value, "high": value})
    return points


def add_paper_angles(s: Settings, panels: dict[str, Curves]) -> None:
    """The paper's angles over its steps."""
    paper = read_paper("divergence")
    for kind, curves in zip(TYPES, panels.values(), strict=True):
        cells = choose(paper, **PAPER_BASE, by="step", name=kind)
        points = [
            {**cell, "low": cell["value"] - (cell["tolerance"] or 0), "high": cell["value"] + (cell["tolerance"] or 0)}
            for cell in cells
        ]
        curves[PAPER_CURVE] = [scale_steps(s.over, point, PAPER_STEPS) for point in points]


def add_paper_types(bars: dict[str, dict[str, list[style.Row]]]) -> None:
    """The paper's distances by type."""
    paper = read_paper("divergence")
    for measure, drawn in bars.items():
        known = {cell["name"]: cell for cell in choose(paper, **PAPER_BASE, by="type", measure=measure)}
        values = [known[kind]["value"] if kind in known else None for kind in PARAMETERS]
        drawn[PAPER_CURVE] = [{"value": value, "low": value, "high": value} for value in values]


if __name__ == "__main__":
    run_script(main)
