"""Item by item: clean items beside those that the corpus holds, and one checkpoint beside another.

python evaluate/contrast.py --config configs/tiny.yaml

What evaluate/builtin.py has kept of each item is enough, no model loads. `contrasts/contamination.json`: each scored
model's mean over items that analyze/leakage.py did not find in the corpus, and over those that it found.
`contrasts/paired.json`: how much better one model does on the same items than another. Both with 95 % intervals by the
bootstrap over items (Efron 1979), the second one paired; `contrasts/contrasts.md` shows them as tables. All numbers are
means of the items' own scores times 100: accuracy where an option is chosen, and else the mean of F1, ROUGE-L or the
like. Cheap and derived: where something has been scored anew, it starts afresh by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scorer.kept import find_records, parts_of, read_scores

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import BASELINES, PRETRAINED, Run, step_name, step_of
from snakmodel.printed_tables import to_markdown
from snakmodel.records import begin, missing, read_jsonl, write_json, write_text

Row = dict[str, Any]
Scores = dict[str, float]  # item -> its score, 0..1
Sets = dict[str, tuple[Row, Scores]]  # data set and split -> record and items of one model
Model = tuple[str, str]  # series and the step's folder, or "baselines" and a name
ALIKE = ("split", "scorer_version", "few_shot")  # items of one number are others in another split
SEARCHED = "test"  # the split whose items leakage.py looks for
INSTRUCTIONS = "instructions"  # the corpus of leakage.py that pre-trained models have not read


@dataclass
class Settings:
    pairs: list[list[str]] = knob(
        [],
        "[ONE, OTHER] as SERIES@STEP (number, first, last) or a baseline's NAME; []: each series' first and last step",
    )
    resamples: int = knob(1_000, "bootstrap resamples of items", low=100)
    seed: int = knob(4242, "of the resamples", low=0)


def main() -> None:
    command = read_command(Settings, "contrast", __doc__)
    s, run = command.settings, command.run
    scored = find_scored(run)
    models = list(scored)
    pairs = [(find_model(models, one), find_model(models, other)) for one, other in checked(s.pairs)]
    pairs = pairs or list(ends(models))
    for one, other in pairs if s.pairs else []:  # of the ends of a series, those that were scored alike
        if one == other:
            raise BadInput(f"contrast.pairs: {name_of(one)} beside itself; name two models")
        check_alike(read_records(scored[one]), read_records(scored[other]))
    leakage, folder = run.folder("leakage"), run.folder("contrast")
    inputs: dict[str, str | Path] = {
        path.relative_to(run.root).as_posix(): path for paths in scored.values() for path in paths
    }
    inputs |= {"leakage": leakage} if (leakage / "run.json").is_file() else {}
    work = begin(command, folder, inputs, derived=True)
    if work is None:
        return
    found = read_found(leakage / "items.parquet") if "leakage" in inputs else {}
    read = {model: read_sets(paths) for model, paths in scored.items()}
    others = sum(record["split"] != SEARCHED for sets in read.values() for record, _ in sets.values())
    if found and others:
        print(f"leakage.py searches for items of the test split: {others} scores are of another")
    contaminated = [row for sets in read.values() for row in contamination_rows(sets, found, s)]
    paired = [row for one, other in pairs for row in paired_rows(read[one], read[other], s)]
    write_json(folder / "contamination.json", {"rows": contaminated})
    write_json(folder / "paired.json", {"rows": paired})
    write_text(folder / "contrasts.md", as_markdown(contaminated, paired))
    work.finish(counts={"models": len(models), "contamination": len(contaminated), "paired": len(paired)})
    told = "" if found else "; nothing is known of leakage: run analyze/leakage.py for clean and contaminated items"
    print(f"{folder / 'contrasts.md'}: {len(contaminated)} and {len(paired)} rows of {len(models)} models{told}")


def find_scored(run: Run) -> dict[Model, list[Path]]:
    """Each model whose items have been scored, in order -> the folders of its data sets."""
    current, stale = find_records(run)
    found = [path for path in current if (path / "items.parquet").is_file()]
    for path, reason in stale.items():
        if path.is_relative_to(run.folder("builtin")):
            print(f"left out, {reason}: {path}")
    if not found:
        raise BadInput(missing(run.folder("builtin") / "*/items.parquet"))
    models: dict[Model, list[Path]] = {}
    for path in found:
        models.setdefault(parts_of(path, run)[:2], []).append(path)
    return {model: models[model] for model in sorted(models, key=place_of)}


def checked(pairs: list[list[str]]) -> list[list[str]]:
    """The pairs, if they are such."""
    for pair in pairs:
        if len(pair) != 2:
            raise BadInput(f"contrast.pairs: {pair} should be two models, [pretrained@0, pretrained@last], say")
    return pairs


def place_of(model: Model) -> tuple[bool, str, int, str]:
    """Where a model stands: the pre-trained series first, steps by their number."""
    series, name = model
    return series != PRETRAINED, series, step_of(name) or 0, name


def find_model(models: list[Model], name: str) -> Model:
    """The model of SERIES@STEP, or baselines@NAME."""
    series, at, step = name.partition("@")
    if not at:  # as the leaderboard names it
        series, step = BASELINES, name
    steps = [model for model in models if model[0] == series]
    if step in ("first", "last") and steps and series != BASELINES:
        return steps[0 if step == "first" else -1]
    for model in steps:
        if model[1] in (step, step_name(int(step)) if step.isdecimal() else step):
            return model
    have = ", ".join(map(name_of, models))
    raise BadInput(f"contrast.pairs: {name!r} is not scored; choose from {have}, or run evaluate/builtin.py")


def name_of(model: Model) -> str:
    """ "pretrained@320", or "baselines@NAME"."""
    series, name = model
    step = step_of(name)
    return f"{series}@{name if step is None else step}"


def ends(models: list[Model]) -> Iterator[tuple[Model, Model]]:
    """The first and the last step of each series of which two steps or more are scored."""
    for series in dict.fromkeys(series for series, _ in models):
        steps = [model for model in models if model[0] == series and step_of(model[1]) is not None]
        if len(steps) > 1:
            yield steps[0], steps[-1]


def read_records(paths: list[Path]) -> dict[str, Row]:
    """The record of each data set of one model; those of the validation split by themselves."""
    records = (read_jsonl(path / "records.jsonl")[0] for path in paths)
    return {f"{record['dataset']} {record['split']}": record for record in records}


def read_sets(paths: list[Path]) -> Sets:
    """Record and items' scores of each data set of one model."""
    found = zip(paths, read_records(paths).items(), strict=True)
    return {name: (record, read_scores(path / "items.parquet")) for path, (name, record) in found}


def way(record: Row) -> list[Any]:
    """How items were scored, which must be the same for two of them to be a pair."""
    return [record[key] for key in ALIKE]


def check_alike(one: dict[str, Row], other: dict[str, Row]) -> None:
    """Refuses two models that have no data set in common, or none that was scored alike."""
    pairs = [(a, b) for a in one.values() for b in other.values() if a["dataset"] == b["dataset"]]
    if not pairs:
        names = " and ".join(model_name(next(iter(each.values()))) for each in (one, other))
        raise BadInput(f"contrast.pairs: {names} have no data set in common; score both with one: evaluate/builtin.py")
    if all(way(a) != way(b) for a, b in pairs):
        told = " and ".join(f"{model_name(record)} by {', '.join(map(str, way(record)))}" for record in pairs[0])
        raise BadInput(f"contrast: no pairs of items: {told}")


def read_found(path: Path) -> dict[str, dict[str, dict[str, bool]]]:
    """Corpus -> test set -> item -> whether the corpus holds it; items too short to be looked for are left out."""
    import pyarrow.parquet as pq

    found: dict[str, dict[str, dict[str, bool]]] = {}
    for row in pq.read_table(path, columns=["corpus", "testset", "item", "searched", "held"]).to_pylist():
        if row["searched"]:
            found.setdefault(row["corpus"], {}).setdefault(row["testset"], {})[row["item"]] = row["held"]
    return found


def contamination_rows(sets: Sets, found: dict[str, dict[str, dict[str, bool]]], s: Settings) -> Iterator[Row]:
    """One row for each set that was searched for: the means of clean and of contaminated items, and their difference.

    A tuned model has read the instructions too. A baseline's own corpus is not known: an item that this run's corpus
    holds may be as easy or hard for other reasons, which it shows.
    """
    for record, scores in sets.values():
        dataset = record["dataset"]
        if record["split"] != SEARCHED:
            continue
        read = [corpus for corpus in found if corpus != INSTRUCTIONS or record["series"] != PRETRAINED]
        flags: dict[str, bool] = {}
        for corpus in read:
            for item, held in found[corpus].get(dataset, {}).items():
                flags[item] = held or flags.get(item, False)
        if not flags:
            continue
        groups = [np.array([scores[item] for item in scores if flags.get(item) is held]) for held in (False, True)]
        means = [100 * float(group.mean()) if len(group) else None for group in groups]
        yield {
            **{key: record[key] for key in ("series", "step", "tokens", "name", "scorer", "scorer_version", "split")},
            **{"dataset": dataset, "clean": means[0], "clean_items": len(groups[0])},
            **{"contaminated": means[1], "contaminated_items": len(groups[1])},
            "unsearched_items": len(scores) - sum(map(len, groups)),
            **interval(bootstrap(groups, s) if all(map(len, groups)) else None, groups[1], groups[0]),
        }


def bootstrap(groups: list[np.ndarray], s: Settings) -> np.ndarray:
    """Contaminated less clean in each resample, each group drawn by itself."""
    rng = np.random.default_rng(s.seed)
    clean, held = (group[rng.integers(0, len(group), (s.resamples, len(group)))].mean(1) for group in groups)
    return 100 * (held - clean)


def interval(differences: np.ndarray | None, one: np.ndarray, other: np.ndarray) -> Row:
    """The difference of two means with its 95 % interval, the 2.5th to the 97.5th percentile of the resamples."""
    if differences is None:
        return {"difference": None, "low": None, "high": None}
    low, high = np.percentile(differences, [2.5, 97.5]).tolist()
    return {"difference": 100 * float(one.mean() - other.mean()), "low": low, "high": high}


def paired_rows(one: Sets, other: Sets, s: Settings) -> Iterator[Row]:
    """One row for each set that both models were asked alike: how much the other is ahead of the one, item by item."""
    for name in (name for name in one if name in other):
        (record, scores), (other_record, others) = one[name], other[name]
        names = [model_name(record), model_name(other_record)]
        items = [item for item in scores if item in others]
        if not items or way(record) != way(other_record):
            continue
        ones_I, others_I = (np.array([each[item] for item in items]) for each in (scores, others))
        rng = np.random.default_rng(s.seed)
        drawn = rng.integers(0, len(items), (s.resamples, len(items)))
        differences = 100 * (others_I - ones_I)[drawn].mean(1)
        yield {
            **{"one": names[0], "other": names[1], "dataset": record["dataset"], "items": len(items)},
            "split": record["split"],
            "unpaired_items": len(scores) + len(others) - 2 * len(items),
            **{"one_value": 100 * float(ones_I.mean()), "other_value": 100 * float(others_I.mean())},
            **interval(differences, others_I, ones_I),
            "share_above_0": float((differences > 0).mean() + (differences == 0).mean() / 2),  # a tie is half of each
        }


def model_name(record: Row) -> str:
    """A record's model, as `pairs` names it."""
    return f"{record['series']}@{record['step'] if record['name'] is None else record['name']}"


def as_markdown(contaminated: list[Row], paired: list[Row]) -> str:
    """Both tables, the first one of models of which both kinds of items are there."""
    head = ["Model", "Data set", "Clean", "Items", "Contaminated", "Items", "Difference", "95 % interval"]
    keys = ("clean", "clean_items", "contaminated", "contaminated_items")
    lines = [
        [model_name(row), row["dataset"], *(told(row[key]) for key in keys), *told_interval(row)]
        for row in contaminated
    ]
    other_head = ["One", "Other", "Data set", "Items", "One's", "Other's", "Difference", "95 % interval", "Above 0"]
    other_lines = [
        [
            *(row["one"], row["other"], told_set(row), told(row["items"]), told(row["one_value"])),
            *(told(row["other_value"]), *told_interval(row), f"{row['share_above_0']:.3f}"),
        ]
        for row in paired
    ]
    return (
        "# Clean and contaminated items\n\nMeans of the items' scores, times 100: each item once, not resampled as in "
        "the leaderboard. Items too short to be looked for are in neither column.\n\n"
        + (to_markdown(head, lines, names=2) if lines else "Nothing is known of leakage.\n")
        + "\n# One model and another on the same items\n\n"
        + "Difference: other's less one's. Above 0: share of the resamples.\n\n"
        + (to_markdown(other_head, other_lines, names=3) if other_lines else "No pair of models.\n")
    )


def told_set(row: Row) -> str:
    """A data set as a table names it."""
    return str(row["dataset"]) if row["split"] == SEARCHED else f"{row['dataset']} ({row['split']})"


def told(value: float | int | None) -> str:
    """A number as a table shows it."""
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.1f}"


def told_interval(row: Row) -> list[str]:
    """Difference and interval as a table shows them."""
    if row["difference"] is None:
        return ["–", "–"]
    return [f"{row['difference']:+.1f}", f"{row['low']:+.1f} to {row['high']:+.1f}"]


if __name__ == "__main__":
    run_script(main)
