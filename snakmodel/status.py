"""What of a run is done, what is partial, what comes next, and the command to type.

python -m snakmodel.status out/tiny        # or: make status RUN=out/tiny
"""

import argparse
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, read_recipe, run_script
from snakmodel.paths import PRETRAINED, STAGES, Run, Stage, step_name, step_of
from snakmodel.records import read_json
from snakmodel.series import choose, read_series


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    run = Run(parser.parse_args().run_dir)
    config = recipe_of(run)
    recipe = read_recipe(config)[0]
    print(f"{run.root} ({config})")
    left = None
    for stage in STAGES:
        if not stage.folder or stage.section not in recipe:
            continue
        state, detail = status(stage, run, recipe)
        print(f"  {stage.section:<16} {state:<8} {detail}".rstrip())
        if state != "done" and left is None:
            left = stage
    print(f"next: {command(left, config)}" if left else "next: nothing, all is done")


def recipe_of(run: Run) -> Path:
    """The recipe that the run's stages were started with."""
    records = sorted(run.root.glob("**/started.json"), key=lambda p: p.stat().st_mtime)
    if not records:
        raise BadInput(f"{run.root} holds no stage that was started; run: bash runs/tiny.sh")
    return Path(read_json(records[-1])["config"])


def command(stage: Stage, config: Path) -> str:
    """The command that carries the stage on."""
    if stage.section == "pretrain":
        return f"torchrun --nproc-per-node RANKS {stage.script} --config {config}"
    return f"python {stage.script} --config {config}"


def status(stage: Stage, run: Run, recipe: dict[str, Any]) -> tuple[str, str]:
    """A stage's state (done, partial, to do) and what is there of it."""
    folder = run.folder(stage.section)
    if stage.section == "pretrain":
        saved = [p.parent.name for p in sorted(folder.glob("step-*/run.json"))]
        detail = f"{len(saved)} checkpoints" + (f", last {saved[-1]}" if saved else "")
        return (whole(folder), detail)
    if not stage.per_step:
        return (whole(folder), "")
    wanted = expected_steps(stage.section, run, recipe[stage.section] or {})
    done = [folder for folder in wanted if (folder / "run.json").is_file()]
    missing = [f"{p.parent.name}/{p.name}" for p in wanted if p not in done]
    if wanted and not missing:
        return ("done", f"{len(done)} steps")
    detail = f"{len(done)} of {len(wanted)} steps; missing {', '.join(missing)}" if wanted else ""
    return ("partial" if done else "to do", detail)


def whole(folder: Path) -> str:
    """The state of a stage that is one folder."""
    if (folder / "run.json").is_file():
        return "done"
    return "partial" if (folder / "started.json").is_file() else "to do"


def expected_steps(section: str, run: Run, settings: dict[str, Any]) -> list[Path]:
    """The step folders that a stage should write, as far as the stages before it have come."""
    folder = run.folder(section)
    if section == "export":
        return [folder / p.parent.name for p in sorted(run.folder("pretrain").glob("step-*/run.json"))]
    if section == "merge":
        adapters = run.folder("finetune") / settings["variant"]
        return [run.series(settings["variant"]) / p.parent.name for p in sorted(adapters.glob("step-*/run.json"))]
    if section == "finetune":
        return [
            folder / settings["variant"] / name for name in steps_of(run, PRETRAINED, str(settings.get("steps", "all")))
        ]
    names = settings.get("series") or [PRETRAINED]
    found = [folder / name / step for name in names for step in steps_of(run, name, str(settings.get("steps", "all")))]
    if section == "builtin":
        return found
    return [path for path in found if step_of(path.name) != first_step(run, path.parent.name)]


def steps_of(run: Run, series: str, steps: str) -> list[str]:
    """Names of the chosen steps of a series; none where it is not there yet."""
    if not (run.series(series) / "series.json").is_file():
        return []
    return [step_name(c.step) for c in choose(read_series(run.series(series)), steps, series)]


def first_step(run: Run, series: str) -> int:
    """The step that the others of a series are compared with."""
    return read_series(run.series(series))[0].step


if __name__ == "__main__":
    run_script(main)
