"""Write one self-contained page about the run: what was run, what came out, figures, tables, settings.

python plot/report.py --config configs/tiny.yaml

Made again by itself whenever anything of the run has changed; parts that are missing are named as not run.
"""

import base64
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plot import report_tables as tables
from plot.report_parts import Figure, Section
from snakmodel.config import BadInput, read_command, read_recipe, run_script
from snakmodel.paths import PRETRAINED, STAGES, Run, Stage, stage_of
from snakmodel.records import begin, read_json, write_text

TEMPLATE = Path(__file__).with_name("report.html.jinja")
SCALE = 0.72  # CSS pixels for each pixel of a figure: one as wide as a page of print fills the column


@dataclass
class Settings:
    """No settings: the page shows all that the run has."""


def record_files(run: Run) -> list[Path]:
    """Every stage's run.json beneath the run, and started.json where a stage has not finished; not the report's own."""
    started = [path for path in run.root.rglob("started.json") if path.parent != run.folder("report")]
    files = [path.with_name("run.json") if path.with_name("run.json").is_file() else path for path in started]
    return sorted(files)


def data_files(run: Run) -> dict[str, Path]:
    """The JSON files that the page shows, by name, where they are there."""
    files = {
        "scores": run.folder("collect") / "scores.json",
        "embeddings": run.folder("embeddings").with_suffix(".json"),
        "samples": run.folder("samples") / "samples.json",
        "checks": run.folder("check") / "checks.json",
    }
    return {name: path for name, path in files.items() if path.is_file()}


def read_records(run: Run, files: list[Path]) -> tables.Records:
    """The records of finished work by section, each with its folder beneath the run."""
    records: tables.Records = {}
    for path in files:
        if path.name == "run.json":
            record = read_json(path)
            folder = path.parent.relative_to(run.root).as_posix()
            records.setdefault(record["section"], []).append({**record, "folder": folder})
    return records


def read_figures(run: Run, wanted: list[Stage]) -> Section:
    """Every figure with its text alternative, in the order of the stages."""
    section = Section("Figures")
    for stage in wanted:
        if not stage.section.startswith("plot_"):
            continue
        found = run.folder(stage.section).glob("*.png")
        images = sorted(found, key=lambda path: (not path.stem.endswith(PRETRAINED), path.stem))
        for path in images:
            alternative = path.with_suffix(".txt").read_text(encoding="utf-8")
            png = path.read_bytes()
            width, height = struct.unpack(">II", png[16:24])  # of the PNG's header
            size = (round(SCALE * width), round(SCALE * height))
            section.figures.append(Figure(alternative, base64.b64encode(png).decode("ascii"), size))
        if not images:
            section.not_run.append(stage.script)
    return section


def build_page(run: Run, wanted: list[Stage], files: list[Path], data: dict[str, Any]) -> str:
    """The whole page, top to bottom."""
    records = read_records(run, files)
    unfinished = [p.parent.relative_to(run.root).as_posix() for p in files if p.name == "started.json"]
    scores = data.get("scores", {"rows": []})["rows"]
    language = records.get("filter_language", [{}])[0].get("settings", {}).get("language", "da")
    sections = [
        tables.key_results(scores, language),
        tables.checks(data.get("checks")),
        tables.stages(records, wanted, unfinished),
        tables.corpus(records),
        read_figures(run, wanted),
        tables.score_tables(scores),
        tables.changed_tokens(data.get("embeddings")),
        tables.samples(data.get("samples"), language),
        tables.settings(records, wanted),
    ]
    return render(run.root.name, tables.summary(records, wanted, data.get("checks")), sections)


def render(name: str, summary: str, sections: list[Section]) -> str:
    """The page as HTML; everything that comes from a file is escaped."""
    import jinja2  # late: a finished report says so at once

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=name, summary=summary, sections=sections
    )


def main() -> None:
    command = read_command(Settings, "report", __doc__)
    run, folder = command.run, command.run.folder("report")
    records, files = record_files(run), data_files(run)
    if not records:
        raise BadInput(
            f"{run.root} holds no stage's output; run {stage_of('read_sources').script} first, or correct run_dir"
        )
    inputs = {path.relative_to(run.root).as_posix(): path for path in [*records, *files.values()]}
    work = begin(command, folder, dict(inputs), derived=True)
    if work is None:
        return
    recipe = read_recipe(command.config)[0]
    wanted = [s for s in STAGES if s.section in recipe and s.folder and s.section != "report"]
    data = {name: read_json(path) for name, path in files.items()}
    path = folder / "report.html"
    write_text(path, build_page(run, wanted, records, data))
    print(f"{path}: {path.stat().st_size:,} bytes", flush=True)
    work.finish()


if __name__ == "__main__":
    run_script(main)
