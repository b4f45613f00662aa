"""What of a run is done, what is partial, what comes next, and the command to type.

python -m snakmodel.status out/tiny        # or: make status RUN=out/tiny
python -m snakmodel.status configs/my.yaml # by its recipe: nothing needs to have been started
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snakmodel.adapters import adapter_steps
from snakmodel.comparisons import ADAPTERS, FIRST, GROUPS, OWN, compared, words_of
from snakmodel.config import BadInput, read_recipe, run_script
from snakmodel.paths import BASELINES, PRETRAINED, STAGES, Run, Stage, step_name
from snakmodel.record_places import builtin_places, named, scandeval_places
from snakmodel.records import is_shown, read_json
from snakmodel.series import choose, read_series
from snakmodel.settings import convert

MOST_NAMED = 8  # folders, or stages, that a line names
PLACES = {"builtin": builtin_places, "scandeval": scandeval_places}  # what lies in each model's folder
UNITS = {"weights": "parts", **dict.fromkeys(PLACES, "scores")}


def main() -> None:
    config, recipe, run = find_run(Path(sys.argv[1] if len(sys.argv) == 2 else "out/tiny"))
    print(f"{run.root} ({config})")
    stages = [stage for stage in STAGES if stage.folder and stage.section in recipe]
    width = max((len(stage.section) for stage in stages), default=0)
    todo, ready = [], []
    for stage in stages:
        wanted = wanted_folders(stage.section, run, recipe[stage.section] or {})
        state, detail = look_at(stage, wanted, run)
        print(f"  {stage.section:<{width}}  {state:<7}  {detail}".rstrip())
        if state != "done":
            todo.append(stage)
        if state != "done" and wanted:  # the others wait for what comes before them
            ready.append(stage)
    if not todo:
        print("next: nothing, all is done")
        return
    first = (ready or todo)[0]
    print(f"next: {command_of(first, config)}")
    if others := [stage.section for stage in todo if stage is not first]:
        print(f"then: {name_some(others)}")


def find_run(given: Path) -> tuple[Path, dict[str, Any], Run]:
    """A recipe and its run, of a recipe, or of a run by the stage that was started last."""
    if given.suffix == ".yaml":
        recipe = read_recipe(given)[0]
        return given, recipe, Run(Path(convert(recipe.get("run_dir"), str, f"{given}: run_dir")))
    run = Run(given)
    folders = [run.folder(stage.section) for stage in STAGES if stage.folder]
    records = [path for folder in folders for path in folder.glob("**/started.json") if is_shown(path, folder)]
    if not records:
        raise BadInput(f"{given} holds no stage that was started; type: bash runs/tiny.sh, or give a recipe")
    config = Path(read_json(max(records, key=lambda path: path.stat().st_mtime))["config"])
    return config, read_recipe(config)[0], run


def look_at(stage: Stage, wanted: list[Path], run: Run) -> tuple[str, str]:
    """What a stage has come to, and how much of it is there or missing."""
    done = [folder for folder in wanted if (folder / "run.json").is_file()]
    begun = [folder for folder in wanted if (folder / "started.json").is_file()]
    if wanted and done == wanted:
        state = "done"
    else:
        state = "partial" if begun or (run.folder(stage.section) / "started.json").is_file() else "to do"
    if stage.section == "pretrain":
        return state, ", ".join(p.parent.name for p in sorted(run.folder("pretrain").glob("step-*/run.json")))
    if not stage.per_step or not wanted:
        return state, ""
    detail = f"{len(done)} of {len(wanted)} {UNITS.get(stage.section, 'steps')}"
    if state == "partial":
        missing = [str(place.relative_to(run.folder(stage.section))) for place in wanted if place not in done]
        detail += f"; missing {name_some(missing)}"
    return state, detail


def command_of(stage: Stage, config: Path) -> str:
    """What to type for a stage; pre-training takes several processes."""
    if stage.section == "pretrain":
        return f"bash runs/pretrain.sh {config} 2"
    return f"python {stage.script} --config {config}"


def name_some(names: list[str]) -> str:
    """The first of many names."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


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
    if section in ("audit", "forgetting", "probes", *PLACES):
        beside = [folder / BASELINES / name for name in named(settings.get("baselines"))]
        series = settings.get("series", [PRETRAINED])
        models = [folder / name / step for name in series for step in steps_of(run, name, steps)] + beside
        return (
            [model / place for model in models for place in PLACES[section](settings)] if section in PLACES else models
        )
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
        there = read_series(run.series(series), whole=False)  # steps that were scored may be deleted
    else:
        return []
    try:
        return [c.step for c in choose(there, steps, series)] if there else []
    except BadInput:  # a step that the series has not come to yet
        return [c.step for c in there]


if __name__ == "__main__":
    run_script(main)
