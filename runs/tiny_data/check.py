"""Hold a run against its bars: was what was planted removed, did the model learn the language, did it forget another?

python runs/tiny_data/check.py --config configs/tiny.yaml

Writes `checks.json` whatever the outcome, and `run.json` only where every bar is passed; a failed bar ends with
exit status 1.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import read_command, run_script
from snakmodel.paths import PRETRAINED
from snakmodel.records import begin, read_json, write_json
from snakmodel.settings import BadInput, knob

Rows = list[dict[str, Any]]
Counts = dict[str, dict[str, Any]]  # source -> seen, kept, dropped
STEPS = ("read_sources", "filter_language", "deduplicate")  # of the corpus, each reads what the one before it kept


@dataclass
class Settings:
    truth: str | None = knob(None, "truth.json of the raw data; null: nobody knows what is in this corpus")
    language: str = knob("da", "language that is learnt")
    min_fall_bits_per_byte: float | None = knob(
        None, "least fall on its held-out text since step 0, as a share of step 0's; null: no bar", above=0, high=1
    )
    min_tasks_above_chance: int = knob(0, "least tasks that are above chance at the last step, not at step 0", low=0)
    forgetting_language: str | None = knob(None, "language whose bits per byte must rise; null: no bar")
    min_foreign_removed: float = knob(0.95, "least share of planted foreign documents to go", low=0, high=1)
    min_junk_removed: float = knob(0.95, "least share of planted junk to go", low=0, high=1)
    min_exact_duplicates_removed: float = knob(0.95, "least share of planted exact copies to go", low=0, high=1)
    # what MinHash estimates spreads around what is: 0.94 went in the miniature
    min_near_duplicates_removed: float = knob(0.7, "least share of planted near copies to go", low=0, high=1)
    max_clean_lost: float = knob(0.02, "greatest share of clean documents to go", low=0, high=1)


@dataclass(frozen=True)
class Check:
    """One bar."""

    name: str
    value: float
    bound: float
    passed: bool
    what: str


def main() -> None:
    command = read_command(Settings, "check", __doc__)
    settings, run = command.settings, command.run
    folder = run.folder("check")
    inputs: dict[str, str | Path] = {"scores": run.folder("collect"), "unique": run.folder("deduplicate")}
    if settings.truth is not None:
        inputs["truth"] = Path(settings.truth)
    work = begin(command, folder, inputs, derived=True)
    if work is None:
        return
    checks = check_scores(read_json(run.folder("collect") / "scores.json")["rows"], settings)
    if settings.truth is not None:
        truth = read_json(Path(settings.truth))
        counts = {step: read_json(run.folder(step) / "run.json")["counts"] for step in STEPS}
        kept = kept_ids(run.folder("deduplicate"))
        checks = [*check_counts(truth, counts), *check_documents(truth, kept, settings), *checks]
    write_json(folder / "checks.json", {"checks": [asdict(check) for check in checks]})
    for check in checks:
        verdict = "pass" if check.passed else "FAIL"
        print(f"{verdict}  {check.name:<24} {check.value:>7.3f}  bar {check.bound:>6.3f}  {check.what}", flush=True)
    if failed := [check.name for check in checks if not check.passed]:
        raise SystemExit(
            f"{len(failed)} of {len(checks)} bars not passed: {', '.join(failed)}; see {folder}/checks.json"
        )
    work.finish(counts={"passed": len(checks)})


def kept_ids(folder: Path) -> set[str]:
    """The ids of all documents of a corpus folder."""
    from snakmodel.documents import document_files, read_documents  # late: a finished stage says so without Arrow

    return {row["id"] for path in document_files(folder) for row in read_documents(path, ["id"])}


def at_least(name: str, value: float, bound: float, what: str) -> Check:
    return Check(name, value, bound, value >= bound, what)


def at_most(name: str, value: float, bound: float, what: str) -> Check:
    return Check(name, value, bound, value <= bound, what)


def check_counts(truth: dict[str, Any], counts: dict[str, Counts]) -> list[Check]:
    """Whether every unit is accounted for: all planted ones are read, and each step sees what the last one kept."""
    wrong = []
    for source, told in truth["danish"].items():
        expected = told["units"]
        for step in STEPS:
            count = counts[step].get(source, {"seen": 0, "kept": 0, "dropped": {}})
            dropped = sum(count["dropped"].values())
            if count["seen"] != expected:
                wrong.append(f"{step}: {source}: {count['seen']:,} seen, {expected:,} expected")
            if count["seen"] != count["kept"] + dropped:
                wrong.append(f"{step}: {source}: {count['seen']:,} seen, {count['kept']:,} kept, {dropped:,} dropped")
            if step == STEPS[0] and count["dropped"] != told["dropped_by_reader"]:
                wrong.append(f"{step}: {source}: dropped {count['dropped']}, planted {told['dropped_by_reader']}")
            expected = count["kept"]
    what = "; ".join(wrong) or "every unit is read, and kept or dropped by each step"
    return [at_most("units not accounted for", len(wrong), 0, what)]


def share_gone(ids: list[str], kept: set[str]) -> float:
    """1 of nothing: what was not planted is not left."""
    return sum(id not in kept for id in ids) / len(ids) if ids else 1.0


def copies_gone(groups: list[list[str]], kept: set[str]) -> float:
    """Of all members but one of each group, the share that is gone. Which one stays is for the order of reading."""
    left = sum(max(sum(id in kept for id in group) - 1, 0) for group in groups)
    return 1 - left / count_copies(groups) if groups else 1.0


def count_copies(groups: list[list[str]]) -> int:
    return sum(len(group) - 1 for group in groups)


def check_documents(truth: dict[str, Any], kept: set[str], settings: Settings) -> list[Check]:
    """What became of the planted documents, and of the clean ones."""
    sources, exact, near = truth["danish"].values(), truth["exact_duplicates"], truth["near_duplicates"]
    foreign = [id for source in sources for ids in source["foreign"].values() for id in ids]
    junk = [id for source in sources for id in source["junk"]]
    clean = [id for source in sources for id in source["clean"]]
    heirs = {id: group for group in exact + near for id in group}  # a clean document lives on in its copy
    lost = [id for id in clean if kept.isdisjoint([id, *heirs.get(id, [])])]
    bars = (
        ("foreign removed", share_gone(foreign, kept), settings.min_foreign_removed, len(foreign)),
        ("junk removed", share_gone(junk, kept), settings.min_junk_removed, len(junk)),
        (
            "exact duplicates removed",
            copies_gone(exact, kept),
            settings.min_exact_duplicates_removed,
            count_copies(exact),
        ),
        ("near duplicates removed", copies_gone(near, kept), settings.min_near_duplicates_removed, count_copies(near)),
    )
    what = f"{len(lost):,} of {len(clean):,} clean documents are gone, and so are their copies"
    return [
        *(at_least(name, value, bound, f"share of {planted:,} planted") for name, value, bound, planted in bars),
        at_most("clean lost", len(lost) / max(len(clean), 1), settings.max_clean_lost, what),
    ]


def check_scores(rows: Rows, settings: Settings) -> list[Check]:
    """What the last step of the pre-trained series has learnt and forgotten since step 0, by the bars that are set."""
    rows = [row for row in rows if row["series"] == PRETRAINED and row["primary"]]
    if not rows:
        raise BadInput(f"scores.json: no scores of the series {PRETRAINED!r}; run evaluate/builtin.py, then collect.py")
    first, last = min(row["step"] for row in rows), max(row["step"] for row in rows)
    before = {(row["dataset"], row["language"]): row for row in rows if row["step"] == first}
    after = {(row["dataset"], row["language"]): row for row in rows if row["step"] == last}
    checks = []
    if settings.min_fall_bits_per_byte is not None:
        old, new = (bits_per_byte(scores.values(), settings.language) for scores in (before, after))
        fall = 1 - new["value"] / old["value"]
        what = f"{settings.language}: {old['value']:.2f} bits per byte at step {first}, {new['value']:.2f} at {last}"
        checks.append(at_least("fall in bits per byte", fall, settings.min_fall_bits_per_byte, what))
    if settings.min_tasks_above_chance:
        risen = [
            key[0]
            for key, row in after.items()
            if row["chance"] is not None and row["low"] > row["chance"]
            if key in before and before[key]["low"] <= row["chance"]
        ]
        what = f"above chance at step {last}, not at {first}: {', '.join(risen) or 'none'}"
        checks.append(at_least("tasks above chance", len(risen), settings.min_tasks_above_chance, what))
    if settings.forgetting_language is not None:
        old, new = (bits_per_byte(scores.values(), settings.forgetting_language) for scores in (before, after))
        rise = new["low"] - old["high"]
        what = f"bits per byte of {settings.forgetting_language} between the intervals of steps {first} and {last}"
        checks.append(Check("forgetting", rise, 0, rise > 0, what))
    return checks


def bits_per_byte(rows: Iterable[dict[str, Any]], language: str) -> dict[str, Any]:
    """The row of held-out text in this language."""
    for row in rows:
        if row["metric"] == "bits_per_byte" and row["language"] == language:
            return row
    raise BadInput(f"scores.json: no held-out text in {language!r}; add it to builtin.held_out")


if __name__ == "__main__":
    run_script(main)
