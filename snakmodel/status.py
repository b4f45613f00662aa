"""What of a run is done, what is partial, what comes next, and the command to type.

python -m snakmodel.status out/tiny        # or: make status RUN=out/tiny
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snakmodel.adapters import adapter_steps
from snakmodel.comparisons import ADAPTERS, FIRST, GROUPS, OWN, compared, words_of
from snakmodel.config import BadInput, read_recipe, run_script
from snakmodel.paths import BASELINES, PRETRAINED, STAGES, Run, step_name
from snakmodel.records import read_json
from snakmodel.series import choose, read_series

MOST_NAMED = 8  # folders that a line names


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
        missing = [str(folder.relative_to(run.folder(stage.section))) for folder in wanted if folder not in done]
        detail = (
            f"{len(done)} of {len(wanted)} {'parts' if stage.section == 'weights' else 'steps'}"
            if stage.per_step and wanted
            else ""
        )
        if stage.per_step and state == "partial":
            more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
            detail += f"; missing {', '.join(missing[:MOST_NAMED])}{more}"
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
    if section in ("weights", "embeddings"):
        series = settings.get("series", [PRETRAINED])
        return [path for name in series for path in wanted_comparisons(section, folder / name, name, run, settings)]
    if section == "scandeval":
        places = [folder / s / step for s in settings.get("series", [PRETRAINED]) for step in steps_of(run, s, steps)]
        places += [folder / BASELINES / name for name in settings.get("baselines", {})]
        # a folder a data set, beneath one for program and split; what was begun, since the recipe need not name them
        begun = [sorted(path.parent for path in place.glob("*/*/started.json")) or [place] for place in places]
        return [path for paths in begun for path in paths]
    if section in ("audit", "forgetting", "probes", "builtin"):
        beside = [folder / BASELINES / name for name in settings.get("baselines", {})]
        return beside + [
            folder / s / step for s in settings.get("series", [PRETRAINED]) for step in steps_of(run, s, steps)
        ]
    if section in ("release", "card"):
        name, default = str(settings.get("series", PRETRAINED)), "last" if section == "release" else "all"
        own = {p.name for p in run.series(name).glob("step-*")}  # others' models are theirs to describe
        return [
            folder / name / step for step in steps_of(run, name, str(settings.get("steps", default))) if step in own
        ]
    return [folder]


def wanted_comparisons(section: str, folder: Path, name: str, run: Run, settings: dict[str, Any]) -> Iterator[Path]:
    """The folders that weights.py and embeddings.py should finish of a series."""
    against = words_of(name, settings.get("against", ["base"]))
    others = {word: numbers_of(run, word.removesuffix(FIRST)) for word in against if word not in OWN}
    pairs = compared(name, numbers_of(run, name), against, others)
    for step in numbers_of(run, name, str(settings.get("steps", "all"))):
        place = folder / step_name(step)
        if section == "weights":
            groups = settings.get("measures", GROUPS)
            yield from (place / word / group for word in pairs.get(step, {}) for group in groups)
        elif step in pairs:
            yield place


def steps_of(run: Run, series: str, steps: str) -> list[str]:
    """Names of the chosen steps of a series; none where it is not there yet."""
    return [step_name(number) for number in numbers_of(run, series, steps)]


def numbers_of(run: Run, series: str, steps: str = "all") -> list[int]:
    """The chosen steps of a series, or of a variant's adapters; none where it is not there yet."""
    if series.startswith(ADAPTERS):
        there = adapter_steps(run.folder("finetune") / series.removeprefix(ADAPTERS))
    elif (run.series(series) / "series.json").is_file():
        there = read_series(run.series(series))
    else:
        return []
    try:
        return [c.step for c in choose(there, steps, series)] if there else []
    except BadInput:  # a step that the series has not come to yet
        return [c.step for c in there]


if __name__ == "__main__":
    run_script(main)
