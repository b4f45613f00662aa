"""One table of everything that was tuned: the settings in which variants differ, and what came of them.

python finetune/compare.py --config configs/tiny.yaml

Writes comparison.json and comparison.txt. Derived: where something was tuned, merged or scored since, it is made anew.
"""

from pathlib import Path
from typing import Any, NamedTuple

from snakmodel.config import BadInput, NoSettings, read_command, run_script
from snakmodel.paths import Run, step_of
from snakmodel.printed_tables import to_text
from snakmodel.records import begin, missing, read_json, write_json, write_text

FACTS = ("examples", "optimiser_steps", "trained_parameters", "learnt_tokens", "loss", "held_out_loss")  # of a tuning
MERGED = ("base_difference", "adapter_difference", "adapter_divergence", "same_text")  # of a merge


class Model(NamedTuple):
    """A tuned model: the step of a variant, or what a tuning has kept on its way there."""

    tuning: Path
    series: str
    step: str  # the name of its folder


def main() -> None:
    command = read_command(NoSettings, "compare", __doc__)
    run, folder = command.run, command.run.folder("compare")
    adapters = run.folder("finetune")
    tuned = [path.parent for path in sorted(adapters.glob("*/step-*/run.json"))]
    if not tuned:
        raise BadInput(missing(adapters / "*/step-*/run.json"))
    inputs: dict[str, str | Path] = {f"adapter {path.relative_to(adapters)}": path for path in tuned}
    models = [Model(path, path.parent.name, path.name) for path in tuned]
    for path in tuned:
        kept = sorted((path / "kept").glob("step-*"))
        models += [Model(path, f"{path.parent.name}@{step_of(path.name)}", each.name) for each in kept]
    for model in models:
        merged = run.series(model.series) / model.step
        inputs |= {f"merged {model.series}/{model.step}": merged} if (merged / "run.json").is_file() else {}
    scores = run.folder("collect")
    inputs |= {"scores": scores} if (scores / "run.json").is_file() else {}
    work = begin(command, folder, inputs, derived=True)
    if work is None:
        return
    rows = compare([gather(model, run) for model in models], read_scores(scores) if "scores" in inputs else {})
    write_json(folder / "comparison.json", {"rows": rows})
    write_text(folder / "comparison.txt", align(rows))
    work.finish(counts={"rows": len(rows)})
    print(f"{folder / 'comparison.txt'}: {len(rows)} tuned models")


def gather(model: Model, run: Run) -> dict[str, Any]:
    """What is known of one tuned model: its settings, and the facts of its tuning and merging."""
    record, merged = read_json(model.tuning / "run.json"), run.series(model.series) / model.step / "run.json"
    last = model.series == model.tuning.parent.name  # what is known at the end is not known of what was kept before
    facts = {name: record.get(name) for name in FACTS} if last else {}
    if merged.is_file():
        told = read_json(merged)
        facts |= {name: told.get(name) for name in MERGED} | {"unchanged": told.get("unchanged", {}).get("all")}
    return {"variant": model.series, "step": step_of(model.step), "settings": record["settings"], "facts": facts}


def read_scores(folder: Path) -> dict[tuple[str, int], dict[str, float]]:
    """Series and step -> the primary score of each data set; of several scorers or splits, each by its name."""
    scores: dict[tuple[str, int], dict[str, float]] = {}
    rows = [row for row in read_json(folder / "scores.json")["rows"] if row["primary"]]
    several = len({made_by(row) for row in rows}) > 1
    for row in rows:
        name = f"{row['dataset']} ({made_by(row)})" if several else row["dataset"]
        scores.setdefault((row["series"], row["step"]), {})[name] = row["value"]
    return scores


def made_by(row: dict[str, Any]) -> str:
    """Scorer, version and split of a score: only where these are the same are scores compared."""
    return " ".join(row[name] for name in ("scorer", "scorer_version", "split") if row.get(name))


def compare(models: list[dict[str, Any]], scores: dict[tuple[str, int], dict[str, float]]) -> list[dict[str, Any]]:
    """One flat row a model: variant and step, the settings that are not the same for all, facts, scores."""
    names = list(dict.fromkeys(name for model in models for name in model["settings"]))
    had = {name: {repr(m["settings"][name]) for m in models if name in m["settings"]} for name in names}
    differ = [name for name in names if name != "variant" and len(had[name]) > 1]
    rows = []
    for model in models:
        row = {"variant": model["variant"], "step": model["step"]}
        row |= {name: model["settings"].get(name) for name in differ}
        row |= {name: value for name, value in model["facts"].items() if value is not None}
        rows.append(row | scores.get((model["variant"], model["step"]), {}))
    return rows


def align(rows: list[dict[str, Any]]) -> str:
    """The rows as a table of text, one column a key; a dash where there is nothing."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[tell(row.get(key)) for key in keys] for row in rows]
    return to_text(keys, cells, names=0)


def tell(value: Any) -> str:
    """A cell: numbers to four digits."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    run_script(main)
