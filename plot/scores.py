"""Draw scores, and bits per byte of held-out text, over the steps of every series.

python plot/scores.py --config configs/tiny.yaml
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plot import style
from snakmodel.config import read_command, run_script
from snakmodel.paths import PRETRAINED, Run
from snakmodel.records import begin, read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HELD_OUT = "bits_per_byte"
LABEL_HEIGHT = 5  # of a chance level's name, in points of score


@dataclass
class Settings:
    """No settings: every series with scores is drawn."""


def curves_of(rows: list[dict[str, Any]], key: str) -> dict[str, list[style.Point]]:
    """Rows as one curve for each value of `key`, by step."""
    curves: dict[str, list[style.Point]] = {}
    for row in sorted(rows, key=lambda row: (row[key], row["step"])):
        curves.setdefault(row[key], []).append(style.Point(row["step"], row["value"], row.get("low"), row.get("high")))
    return curves


def chance_levels(rows: list[dict[str, Any]]) -> dict[float, list[str]]:
    """Chance level, to one decimal -> short names of the tasks that share it, each level once, rising."""
    levels: dict[float, list[str]] = {}
    for level, dataset in sorted({(round(r["chance"], 1), r["dataset"]) for r in rows if r["chance"] is not None}):
        levels.setdefault(level, []).append(style.task_name(dataset)[0])
    return levels


def draw_chance(panel: "Axes", levels: dict[float, list[str]]) -> None:
    """A dotted line at each level, named in the right margin; names that would collide are pushed up."""
    place = -float(LABEL_HEIGHT)
    for level, tasks in levels.items():
        panel.axhline(level, color=style.GREY, linestyle=":", linewidth=1)
        place = max(level, place + LABEL_HEIGHT)
        text = f"chance {level:g}: {', '.join(tasks)}"
        panel.text(1.01, place, text, transform=panel.get_yaxis_transform(), va="center", fontsize=6, color=style.GREY)


def draw_tasks(series: str, rows: list[dict[str, Any]], folder: Path) -> None:
    """One line a task with its 95% band, and dotted lines at the chance levels."""
    metrics = {row["dataset"]: style.METRICS.get(row["metric"], row["metric"]) for row in rows}
    curves, levels = curves_of(rows, "dataset"), chance_levels(rows)
    figure, axes = style.new_figure(style.PAGE, 2.9 + 0.14 * -(-len(curves) // 2))
    panel = axes[0, 0]
    spoken = {}
    for dataset, place in style.task_places(set(curves)).items():
        short, name = style.task_name(dataset)
        label = f"{short}: {name} ({metrics[dataset]})" if short != name else f"{name} ({metrics[dataset]})"
        style.draw_curve(panel, curves[dataset], label=label, **style.look(place))
        spoken[label] = curves[dataset]
    draw_chance(panel, levels)
    panel.set(ylim=(0, 100), ylabel="Score (0 to 100)")
    style.label_steps(panel, rows)
    figure.legend(loc="outside lower center", ncols=2)
    chance = ", ".join(f"{level:g} ({', '.join(tasks)})" for level, tasks in levels.items()) or "not known"
    text = f"x: pre-training steps; y: score, 0 to 100; brackets and bands: 95% interval; dotted: chance, {chance}"
    alternative = style.describe(f"Task scores over steps, series {series}", text, spoken)
    style.save(figure, folder, f"tasks-{series}", alternative)


def draw_held_out(series: str, rows: list[dict[str, Any]], folder: Path) -> None:
    """Bits per byte, one line a language: lower is better, so a rising line is forgetting."""
    curves = curves_of(rows, "language")
    figure, axes = style.new_figure(style.COLUMN, 2.4)
    panel = axes[0, 0]
    named = {style.LANGUAGES.get(language, language): points for language, points in curves.items()}
    for place, (name, points) in enumerate(named.items()):
        style.draw_curve(panel, points, label=name, **style.look(place))
    panel.set_ylabel("Bits per byte (lower is better)")
    panel.set_ylim(bottom=0)
    style.label_steps(panel, rows)
    figure.legend(loc="outside lower center", ncols=len(named))
    text = "x: pre-training steps; y: bits per byte, lower is better; brackets and bands: 95% interval"
    alternative = style.describe(f"Held-out text over steps, series {series}", text, named)
    style.save(figure, folder, f"held-out-{series}", alternative)


def series_names(run: Run, rows: list[dict[str, Any]]) -> list[str]:
    """Every series that the run has on disk or scores for: the pre-trained one first, then by name."""
    names = {row["series"] for row in rows} | {p.parent.name for p in run.folder("merge").glob("*/series.json")}
    return sorted(names | {PRETRAINED}, key=lambda name: (name != PRETRAINED, name))


def main() -> None:
    command = read_command(Settings, "plot_scores", __doc__)
    run, folder = command.run, command.run.folder("plot_scores")
    work = begin(command, folder, {"scores": run.folder("collect")}, derived=True)
    if work is None:
        return
    rows = read_json(run.folder("collect") / "scores.json")["rows"]
    for series in series_names(run, rows):
        mine = [row for row in rows if row["series"] == series and row["primary"] and row["value"] is not None]
        held_out = [row for row in mine if row["metric"] == HELD_OUT]
        tasks = [row for row in mine if row["metric"] != HELD_OUT]
        if tasks:
            draw_tasks(series, tasks, folder)
        if held_out:
            draw_held_out(series, held_out, folder)
        for part, what in ((tasks, "task scores"), (held_out, "scores of held-out text")):
            if not part:
                print(f"{series}: no {what} in {run.folder('collect') / 'scores.json'}; not drawn", flush=True)
    work.finish()


if __name__ == "__main__":
    run_script(main)
