"""What of a run is done, what is partial, what comes next, and the command to type.

python -m snakmodel.status out/tiny        # or: make status RUN=out/tiny
"""

import sys
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, read_recipe, run_script
from snakmodel.paths import PRETRAINED, STAGES, Run, step_name
from snakmodel.records import read_json
from snakmodel.series import choose, read_series


def main() -> None:
    run = Run(Path(sys.argv[1] if len(sys.argv) == 2 else "out/tiny"))
    records = [run.folder(s.section) / "started.json" for s in STAGES if s.folder and not s.per_step]
    records = sorted((path for path in records if path.is_file()), key=lambda path: path.stat().st_mtime)
    if not records:
        raise BadInput(f"{run.root} holds no stage that was started; type: bash runs/tiny.sh")
    config = read_json(records[-1])["config"]
    recipe = read_recipe(Path(config))[0]
    print(f"{run.root} ({config})")
    commands = []
    for stage in (s for s in STAGES if s.folder and s.section in recipe):
        wanted = wanted_folders(stage.section, run, recipe[stage.section] or {})
        done = [folder for folder in wanted if (folder / "run.json").is_file()]
        begun = bool(done) or (run.folder(stage.section) / "started.json").is_file()
        state = "done" if wanted and done == wanted else "partial" if begun else "to do"
        missing = [f"{folder.parent.name}/{folder.name}" for folder in wanted if folder not in done]
        detail = f"{len(done)} of {len(wanted)} steps" if stage.per_step and wanted else ""
        if stage.per_step and state == "partial":
            detail += f"; missing {', '.join(missing)}"
        if stage.section == "pretrain":
            detail = ", ".join(p.parent.name for p in sorted(run.folder("pretrain").glob("step-*/run.json")))
        print(f"  {stage.section:<16} {state:<8} {detail}".rstrip())
        if state != "done":
            launched = stage.section == "pretrain"  # over several processes
            commands.append(
                f"bash runs/pretrain.sh {config} 2" if launched else f"python {stage.script} --config {config}"
            )
    print(f"next: {commands[0] if commands else 'nothing, all is done'}")


def wanted_folders(section: str, run: Run, settings: dict[str, Any]) -> list[Path]:
    """The folders that a stage should finish, as far as the stages before it have come."""
    folder, steps, variant = run.folder(section), str(settings.get("steps", "all")), str(settings.get("variant"))
    if section == "export":
        records = sorted(run.folder("pretrain").glob("step-*/run.json"))
        return [folder / path.parent.name for path in records if read_json(path).get("in_series", True)]
    if section == "finetune":
        return [folder / variant / step for step in steps_of(run, PRETRAINED, steps)]
    if section == "preferences":
        return [folder / variant / step for step in steps_of(run, str(settings.get("base")), steps)]
    if section == "merge":
        adapters = run.folder("finetune") / variant
        return [run.series(variant) / p.parent.name for p in sorted(adapters.glob("step-*/run.json"))]
    if section == "answers":
        asked = [
            folder / name / s for name in settings.get("questions", {}) for s in settings.get("series", [PRETRAINED])
        ]
        return [place / step for place in asked for step in steps_of(run, place.name, steps)]
    if section in ("audit", "weights", "embeddings", "forgetting", "probes", "builtin"):
        found = [folder / s / step for s in settings.get("series", [PRETRAINED]) for step in steps_of(run, s, steps)]
        bases = {folder / s / step for s in settings.get("series", [PRETRAINED]) for step in steps_of(run, s, "first")}
        return [
            path for path in found if section in ("audit", "forgetting", "probes", "builtin") or path not in bases
        ]  # a base has no change
    if section in ("release", "card"):
        name, default = str(settings.get("series", PRETRAINED)), "last" if section == "release" else "all"
        own = {p.name for p in run.series(name).glob("step-*")}  # others' models are theirs to describe
        return [
            folder / name / step for step in steps_of(run, name, str(settings.get("steps", default))) if step in own
        ]
    return [folder]


def steps_of(run: Run, series: str, steps: str) -> list[str]:
    """Names of the chosen steps of a series; none where it is not there yet."""
    if not (run.series(series) / "series.json").is_file():
        return []
    there = read_series(run.series(series))
    try:
        return [step_name(c.step) for c in choose(there, steps, series)]
    except BadInput:  # a step that the series has not come to yet
        return [step_name(c.step) for c in there]


if __name__ == "__main__":
    run_script(main)
