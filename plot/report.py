"""Write one self-contained page about the run: what it cost and what came out, as curves, figures, tables and settings.

python plot/report.py --config configs/tiny.yaml

Made again by itself whenever anything of the run has changed; parts that are missing are named as not run. What the
page says and where stands in page/; its curves are read without a script, and with the page's own tell their values.
"""

import base64
import csv
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from plot import contamination, costs, curves, leakage, scores, style
from plot.chart import Chart, Row, known, lay_out
from plot.divergence import read_distances
from plot.training import history
from snakmodel.config import BadInput, NoSettings, read_command, read_recipe, run_script
from snakmodel.paths import PRETRAINED, STAGES, Run, stage_of
from snakmodel.records import begin, is_shown, read_json, read_jsonl, write_text

PAGE = Path(__file__).with_name("page")
CORPUS = ("read_sources", "filter_language", "filter_quality", "decontaminate", "deduplicate", "make_shards")
# figures of what the page draws itself: stages, or beginnings of names
DRAWN: tuple[str, ...] = ("training/", "throughput/", "scores/", "answers/", "contamination/")
DRAWN += ("divergence/steps-", "forgetting/steps-", "leakage/probes-")
NO_TEXT = r"[\x00-\x08\x0b-\x1f\ud800-\udfff]"  # what an untrained model says is no HTML
HASH_SHOWN = 12  # digits of a commit or a hash


def record_files(run: Run) -> list[Path]:
    """Every stage's run.json beneath the run, and started.json where a stage has not finished; not the report's own."""
    found = [path for path in run.root.rglob("started.json") if is_shown(path, run.root)]
    started = [path for path in found if path.parent != run.folder("report")]
    return sorted(path.with_name("run.json") if path.with_name("run.json").is_file() else path for path in started)


def data_files(run: Run) -> dict[str, Path]:
    """The files with numbers that the page shows, by what they hold, where they are there."""
    names = {"check": "checks.json", "collect": "scores.json", "samples": "samples.json", "preflight": "plan.json"}
    files = {section: run.folder(section) / name for section, name in names.items()}
    files |= {"leakage": run.folder("leakage") / "leakage.json", "log": run.folder("pretrain") / "log.jsonl"}
    files |= {section: run.folder(section).with_suffix(".json") for section in ("embeddings", "forgetting", "probes")}
    files |= {"weights": run.folder("weights").with_suffix(".parquet")}
    files |= {"replication": run.folder("replication") / "replication.csv"}
    files |= {name: run.folder("contrast") / f"{name}.json" for name in ("contamination", "paired")}
    files |= {f"answers.{path.stem}": path for path in sorted(run.folder("answers").glob("*.json"))}
    return {name: path for name, path in files.items() if path.is_file()}


def cut(commit: str) -> str:
    """Twelve digits of a commit, and "+changes" where the tree differed."""
    digits, plus, changes = commit.partition("+")
    return digits[:HASH_SHOWN] + plus + changes


def read_record(run: Run, path: Path) -> Row:
    """The record of finished work with its commit cut short, its folder beneath the run, its facts and its inputs."""
    record = read_json(path)
    facts = {key: record[key] for key in ("commit", "config", "settings")}
    text = yaml.safe_dump(facts, allow_unicode=True, sort_keys=False)
    made_from = [
        f"{name}: {given['path']}" + (f" ({given['hash'][:HASH_SHOWN]})" if given["hash"] != given["path"] else "")
        for name, given in record.get("inputs", {}).items()
    ]
    folder = path.parent.relative_to(run.root).as_posix()
    return {**record, "commit": cut(record["commit"]), "folder": folder, "facts": text, "made_from": made_from}


def read_figures(folder: Path) -> list[Row]:
    """A stage's images that the page does not draw itself: width in pixels and text alternative, pre-trained first."""
    figures = []
    for path in sorted(folder.glob("*.png"), key=lambda path: (PRETRAINED not in path.stem, path.stem)):
        if not f"{folder.name}/{path.stem}".startswith(DRAWN):
            png, text = path.read_bytes(), path.with_suffix(".txt").read_text(encoding="utf-8")
            width = int.from_bytes(png[16:20])  # where a PNG says so
            figures.append({"png": base64.b64encode(png).decode(), "width": width, "text": text})
    return figures


def read_scores(path: Path | None, axes: dict[str, str]) -> list[Row]:
    """Primary scores by scorer, its version, split and series, which are never one curve; models beside them.

    `by`: who scored; `interval`: what its 95% intervals are of; `looks`: of its curves, as in the figures.
    """
    rows = [row for row in read_json(path)["rows"] if row["primary"]] if path else []
    groups: list[Row] = []
    for way, mine in scores.split_figures(rows).items():
        told: Row = {"by": scores.tell_way(way), "interval": scores.tell_interval(way)}
        told |= {"looks": scores.looks_of(mine)}
        for label, curve in scores.find_curves(mine).items():
            for row in curve:
                row["label"] = label
        beside, by_series = scores.split_series(sorted(mine, key=lambda row: row["step"] or 0))
        for series, found in by_series.items():
            counted = axes.get(series, "step")
            groups.append({"series": series, **told, "counted": counted, "rows": found, "beside": beside})
            beside = []
    return groups


def read_sheet(path: Path | None) -> list[Row]:
    """The rows of the replication sheet, as texts."""
    if path is None:
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def draw_charts(data: dict[str, Path], log: list[Row], scored: list[Row], axes: dict[str, str]) -> dict[str, list[Row]]:
    """The charts of each section, laid out."""
    several = len({group["by"] for group in scored}) > 1
    charts = {"training": curves.training_charts(log), "throughput": curves.throughput_charts(log)}
    charts["scores"] = [
        chart
        for group in scored
        for chart in curves.score_charts(group["series"], group["by"] if several else "", group["rows"], group["looks"])
    ]
    parts: dict[str, Callable[[list[Row]], list[Chart]]] = {
        "forgetting": curves.forgetting_charts,
        "probes": curves.probe_charts,
        "contamination": curves.contamination_charts,
    }
    charts |= {part: draw(read_json(data[part])["rows"]) if part in data else [] for part, draw in parts.items()}
    charts["weights"] = curves.divergence_charts(read_distances(data["weights"])) if "weights" in data else []
    answers = [read_json(path)["rows"] for name, path in data.items() if name.startswith("answers.")]
    charts["answers"] = [chart for rows in answers for chart in curves.answer_charts(rows)]
    return {section: [lay_out(chart, axes.get(chart.series)) for chart in found] for section, found in charts.items()}


def score_in_words(row: Row) -> str:
    """ "61.2 [58.1, 64.3]", and how many items had no answer."""
    if not known(row, "value"):
        return "not a number"
    digits = 3 if row["metric"] == style.HELD_OUT else 1
    ends = f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]" if known(row, "low") and known(row, "high") else ""
    return f"{row['value']:.{digits}f}{ends}" + (f", {row['failed']:,} failed" if row.get("failed") else "")


def render(**facts: Any) -> str:
    """The page as HTML; everything that comes from a file is escaped, and nothing but the page's own script may run."""
    import jinja2  # late: a finished report says so at once

    options: Any = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGE), autoescape=True, **options)
    environment.filters |= {
        "group": style.group, "score": score_in_words, "known": known,
        "look": lambda place: f"c{style.COLOURS.index(style.look(place)[0])}",
        "marker": lambda place: f"m{style.MARKERS.index(style.look(place)[1])}",
    }  # fmt: skip
    own = {
        "css": (PAGE / "report.css").read_text(encoding="utf-8"),
        "js": (PAGE / "report.js").read_text(encoding="utf-8"),
    }
    for place, colour in enumerate(style.COLOURS):  # lighter on a dark page
        mixed = f"color-mix(in oklab, {colour} var(--share), var(--toward))"
        own["css"] += f".c{place} {{ color: {colour}; color: {mixed}; }}\n"  # the first for browsers before 2023
    hashes = {
        f"{kind}_hash": base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for kind, text in own.items()
    }
    return environment.get_template("report.html.jinja").render({**facts, **own, **hashes})


def main() -> None:
    command = read_command(NoSettings, "report", __doc__)
    run, folder = command.run, command.run.folder("report")
    found, data = record_files(run), data_files(run)
    if not found:
        first = stage_of("read_sources").script
        raise BadInput(f"{run.root} holds no stage's output; run {first} first, or correct run_dir")
    counting = style.find_axes(run)
    inputs = {path.relative_to(run.root).as_posix(): path for path in [*found, *data.values(), *counting.values()]}
    work = begin(command, folder, dict(inputs), derived=True)
    if work is None:
        return
    recipe = read_recipe(command.config)[0]
    records = style.group([read_record(run, path) for path in found if path.name == "run.json"], "section")
    stages = [stage for stage in STAGES if stage.section in recipe and stage.folder and stage.section != "report"]
    log = history(run.folder("pretrain"))[0] if "log" in data else []
    own_log = read_jsonl(data["log"]) if "log" in data else []
    plan = read_json(data["preflight"]) if "preflight" in data else None
    axes = style.read_axes(counting)
    scored = read_scores(data.get("collect"), axes)
    shown = ("check", "samples", "embeddings", "forgetting", "leakage", "paired")
    page = render(
        name=run.root.name,
        made={"config": str(command.config), "commit": cut(work.started["commit"])},
        stages=stages,
        scripts={stage.section: stage.script for stage in STAGES},
        records=records,
        unfinished=[path.parent.relative_to(run.root).as_posix() for path in found if path.name == "started.json"],
        corpus={section: records[section][0]["counts"] for section in CORPUS if section in records},
        figures={s.section: read_figures(run.folder(s.section)) for s in stages if s.section.startswith("plot_")},
        data={section: read_json(path) for section, path in data.items() if section in shown},
        scores=scored,
        sheet=read_sheet(data.get("replication")),
        rates=leakage.RATES,
        unsearched=contamination.tell_unsearched(read_json(data["leakage"])["rows"]) if "leakage" in data else "",
        costs=costs.compare(plan, records.get("pretrain", [{}])[0], own_log),
        charts=draw_charts(data, log, scored, axes),
    )
    page = re.sub(NO_TEXT, "\ufffd", page)
    write_text(folder / "report.html", page)
    print(f"{folder / 'report.html'}: {len(page.encode()):,} bytes", flush=True)
    work.finish()


if __name__ == "__main__":
    run_script(main)
