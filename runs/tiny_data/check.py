"""Hold a run against its bars: was what was planted removed, did the model learn the language, did it forget another?

python runs/tiny_data/check.py --config configs/tiny.yaml

Writes `checks.json` whatever the outcome, and `run.json` only where every bar is passed; a failed bar ends with
exit status 1.
"""

from collections import Counter, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import read_command, run_script
from snakmodel.paths import PRETRAINED, stage_of
from snakmodel.records import begin, read_json, write_json
from snakmodel.settings import BadInput, knob

Rows = list[dict[str, Any]]
Check = namedtuple("Check", "name value bound passed what")
# of the corpus, in order
STEPS = ("read_sources", "filter_language", "filter_quality", "decontaminate", "deduplicate")


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


def main() -> None:
    command = read_command(Settings, "check", __doc__)
    settings, run = command.settings, command.run
    folder, scores, unique = run.folder("check"), run.folder("collect"), run.folder("deduplicate")
    inputs: dict[str, str | Path] = {"scores": scores, "unique": unique}
    ledger = run.folder("forgetting").with_suffix(".json")
    if settings.forgetting_language is not None:
        if not ledger.is_file():
            raise BadInput(f"{ledger} not found: run {stage_of('forgetting').script} first")
        inputs["ledger"] = ledger
    if settings.truth is not None:
        inputs["truth"] = Path(settings.truth)
    work = begin(command, folder, inputs, derived=True)
    if work is None:
        return
    checks = list(check_scores(read_json(scores / "scores.json")["rows"], settings))
    if "ledger" in inputs:
        checks.append(check_ledger(read_json(ledger)["rows"], settings))
    if settings.truth is not None:
        truth = read_json(Path(settings.truth))
        records = {step: run.folder(step) / "run.json" for step in STEPS}  # a recipe may leave a step out
        counts = {step: read_json(path)["counts"] for step, path in records.items() if path.is_file()}
        read, kept = (read_ids(run.folder(step)) for step in list(counts)[-2:])
        checks = [check_counts(truth, counts, read, settings), *check_documents(truth, kept, settings), *checks]
    write_json(folder / "checks.json", {"checks": [check._asdict() for check in checks]})
    for name, value, bound, passed, what in checks:
        print(f"{'pass' if passed else 'FAIL'}  {name:<24} {value:>7.3f}  bar {bound:>6.3f}  {what}", flush=True)
    if failed := [check.name for check in checks if not check.passed]:
        count = f"{len(failed)} of {len(checks)}"
        raise SystemExit(f"{count} bars not passed: {', '.join(failed)}; see {folder}/checks.json")
    work.finish(counts={"passed": len(checks)})


def read_ids(folder: Path) -> set[str]:
    """The ids of the documents that a step of the corpus has kept."""
    from snakmodel.documents import document_files, read_documents  # late: a finished stage says so without Arrow

    return {row["id"] for path in document_files(folder) for row in read_documents(path, ["id"])}


def copies(groups: list[list[str]], ids: set[str]) -> int:
    """How many of the ids are copies of others among them; the order of reading says which one is the original."""
    return sum(max(len(ids.intersection(group)) - 1, 0) for group in groups)


def check_counts(truth: dict[str, Any], counts: dict[str, Any], in_language: set[str], bars: Settings) -> Check:
    """Whether each step reports to have seen what the last one kept, and to have dropped what was planted for it.

    Exactly, but for the language filter and near-duplicates: these have their bars, and may drop as many more as
    clean documents may be lost. in_language: the ids that deduplication reads.
    """
    facts: list[tuple[str, int, int, int]] = []  # what, its number in the reports, the least and the most allowed
    twins, spare = Counter[str](), 0
    for source, told in truth["danish"].items():
        expected, dropped = told["units"], {}
        for step in counts:
            count = counts[step].get(source, {"seen": 0, "kept": 0, "dropped": {}})
            seen, dropped[step] = count["seen"], Counter[str](count["dropped"])
            facts.append((f"{step}: {source}: seen", seen, expected, expected))
            facts.append((f"{step}: {source}: kept or dropped", count["kept"] + dropped[step].total(), seen, seen))
            expected = count["kept"]
        read, planted = dropped["read_sources"], Counter[str](told["dropped_by_reader"])
        facts += [(f"{source}: {reason}", read[reason], planted[reason], planted[reason]) for reason in read | planted]
        foreign, junk = sum(map(len, told["foreign"].values())), len(told["junk"])
        least = round(bars.min_foreign_removed * foreign + bars.min_junk_removed * junk)
        losable = round(bars.max_clean_lost * len(told["clean"]))
        alien = sum(dropped[step].total() for step in ("filter_language", "filter_quality") if step in dropped)
        facts.append((f"{source}: foreign or junk", alien, least, foreign + junk + losable))
        twins += dropped["deduplicate"]
        spare += losable
    exact, near = (copies(truth[f"{kind}_duplicates"], in_language) for kind in ("exact", "near"))
    least = round(bars.min_near_duplicates_removed * near)
    facts.append(("exact duplicates", twins["exact duplicate"], exact, exact))
    facts.append(("near-duplicates", twins["near duplicate"], least, near + spare))
    wrong = [f"{what}: {n:,}, not {low:,} to {high:,}" for what, n, low, high in facts if not low <= n <= high]
    what = "; ".join(wrong) or "each step reports what the last one kept, and what was planted for it"
    return Check("units not accounted for", len(wrong), 0, not wrong, what)


def check_documents(truth: dict[str, Any], kept: set[str], bars: Settings) -> Iterator[Check]:
    """What became of the planted documents, and of the clean ones."""
    sources, exact, near = truth["danish"].values(), truth["exact_duplicates"], truth["near_duplicates"]
    foreign = [id for source in sources for ids in source["foreign"].values() for id in ids]
    junk, clean = ([id for source in sources for id in source[kind]] for kind in ("junk", "clean"))
    everything = {id for group in exact + near for id in group}
    for name, planted, left, bound in (
        ("foreign", len(foreign), len(kept.intersection(foreign)), bars.min_foreign_removed),
        ("junk", len(junk), len(kept.intersection(junk)), bars.min_junk_removed),
        ("exact duplicates", copies(exact, everything), copies(exact, kept), bars.min_exact_duplicates_removed),
        ("near duplicates", copies(near, everything), copies(near, kept), bars.min_near_duplicates_removed),
    ):
        share = 1 - left / planted if planted else 1.0
        yield Check(f"{name} removed", share, bound, share >= bound, f"share of {planted:,} planted")
    heirs = {id: group for group in exact + near for id in group}  # a clean document lives on in its copy
    lost = [id for id in clean if kept.isdisjoint([id, *heirs.get(id, [])])]
    share = len(lost) / max(len(clean), 1)
    what = f"{len(lost):,} of {len(clean):,} clean documents are gone, and so are their copies"
    yield Check("clean lost", share, bars.max_clean_lost, share <= bars.max_clean_lost, what)


def check_scores(rows: Rows, settings: Settings) -> Iterator[Check]:
    """What the last step of the pre-trained series has learnt and forgotten since step 0, by the bars that are set."""
    rows = [row for row in rows if row["series"] == PRETRAINED and row["primary"]]
    if not rows:
        raise BadInput(f"scores.json: no scores of the series {PRETRAINED!r}; run evaluate/builtin.py, then collect.py")
    first, last = min(row["step"] for row in rows), max(row["step"] for row in rows)
    before, after = ([row for row in rows if row["step"] == step] for step in (first, last))
    if (bound := settings.min_fall_bits_per_byte) is not None:
        old, new = (held_out(scores, settings.language)["value"] for scores in (before, after))
        fall = 1 - new / old
        what = f"{settings.language}: {old:.2f} bits per byte at step {first}, {new:.2f} at {last}"
        yield Check("fall in bits per byte", fall, bound, fall >= bound, what)
    if bound := settings.min_tasks_above_chance:
        lows = {(row["dataset"], row["language"]): row["low"] for row in before}
        tasks = [row for row in after if row["chance"] is not None and (row["dataset"], row["language"]) in lows]
        risen = [row["dataset"] for row in tasks if row["low"] > row["chance"] >= lows[row["dataset"], row["language"]]]
        what = f"above chance at step {last}, not at {first}: {', '.join(risen) or 'none'}"
        yield Check("tasks above chance", len(risen), bound, len(risen) >= bound, what)
    if (language := settings.forgetting_language) is not None:
        rise = held_out(after, language)["low"] - held_out(before, language)["high"]
        what = f"bits per byte of {language} between the intervals of steps {first} and {last}"
        yield Check("forgetting", rise, 0, rise > 0, what)


def check_ledger(rows: Rows, settings: Settings) -> Check:
    """Whether each document tells the same: what was to be learnt got better, what was not to be read got worse."""
    rows = [row for row in rows if (row["series"], row["measure"], row["source"]) == (PRETRAINED, "change", None)]
    last = max((row["step"] for row in rows), default=0)
    changes = {row["language"]: row for row in rows if row["step"] == last}
    for language in (settings.language, settings.forgetting_language):
        if language not in changes:
            raise BadInput(f"forgetting.json: no text in {language!r} of {PRETRAINED}; add it to forgetting.texts")
    learnt, lost = changes[settings.language], changes[settings.forgetting_language]
    distance = min(-learnt["high"], lost["low"])
    told = ", ".join(f"{row['language']} {row['value']:+.2f}" for row in (learnt, lost))
    what = f"change of bits per byte at step {last}: {told}; how far the intervals are from 0"
    return Check("learnt and forgotten", distance, 0, distance > 0, what)


def held_out(rows: Rows, language: str) -> dict[str, Any]:
    """The row of held-out text in this language."""
    for row in rows:
        if row["metric"] == "bits_per_byte" and row["language"] == language:
            return row
    raise BadInput(f"scores.json: no held-out text in {language!r}; add it to builtin.held_out")


if __name__ == "__main__":
    run_script(main)
