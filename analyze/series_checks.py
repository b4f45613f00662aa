"""What must hold among the checkpoints of a series: pure functions of what audit.py has read of each step.

Each check takes the steps in order, and returns step -> what is wrong with it. Of a step: `row` (of series.json), `own`
(False: it is the parent's), `tensors`, `files`, `config`, `manifest`, `unreadable`; see audit.read_step.
"""

import json
from collections import Counter
from fnmatch import fnmatch
from itertools import pairwise
from typing import Any

Step = dict[str, Any]
Faults = dict[int, str]
CHECKS = ("there", "readable", "finite", "manifest", "duplicates", "tensors", "tokens", "shapes", "config", "tokenizer")
PASSING = ("transformers_version", "_name_or_path")  # keys of a config that say nothing about the model
HALF = ("BF16", "F16")


def check_series(steps: list[Step], every: int | None, constant: list[str]) -> list[dict[str, Any]]:
    """A row for every step and check: whether it passed, and what is wrong. Steps that are missing have rows, too."""
    found = {
        "there": missing_steps(steps, every),
        "readable": {number(s): "; ".join(s["unreadable"]) for s in steps if s["unreadable"]},
        "finite": not_finite(steps),
        "manifest": other_than_manifest(steps),
        "duplicates": duplicates(steps),
        "tensors": tensors_of_other_steps(steps, constant),
        "tokens": out_of_line(steps),
        "shapes": other_shapes(steps),
        "config": other_configs(steps),
        "tokenizer": other_tokenizers(steps),
    }
    assert tuple(found) == CHECKS
    numbers = sorted({number(s) for s in steps} | set(found["there"]))
    return [
        {"step": step, "check": check, "passed": step not in found[check], "detail": found[check].get(step, "")}
        for step in numbers
        for check in CHECKS
    ]


def number(step: Step) -> int:
    """The step's number."""
    return int(step["row"]["step"])


def missing_steps(steps: list[Step], every: int | None) -> Faults:
    """Steps without weights, and gaps: multiples of the distance between checkpoints that the series leaves out.

    every: that distance; None: the most common one, the smaller of two; 0: there is none.
    """
    faults = {number(s): f"no weights in {s['location']}" for s in steps if not s["tensors"] and not s["unreadable"]}
    have = sorted(number(s) for s in steps)
    distances = Counter(later - earlier for earlier, later in pairwise(have))
    if every is None and distances:
        every = min(distances, key=lambda distance: (-distances[distance], distance))
    if every and have:
        for step in range(have[0] - have[0] % every, have[-1], every):
            if have[0] < step and step not in have:
                faults[step] = f"not in the series, whose checkpoints lie {every} steps apart"
    return faults


def not_finite(steps: list[Step]) -> Faults:
    """Steps with values that are NaN or infinite."""
    faults = {}
    for s in steps:
        if counts := {name: what["not_finite"] for name, what in s["tensors"].items() if what["not_finite"]}:
            first = next(iter(counts))
            faults[number(s)] = (
                f"{sum(counts.values()):,} values are NaN or infinite, in {len(counts)} tensors ({first})"
            )
    return faults


def other_than_manifest(steps: list[Step]) -> Faults:
    """Steps that are not what their run.json says: its step and tokens, and the hash of every file."""
    faults = {}
    for s in (s for s in steps if s["own"]):
        manifest, wrong = s["manifest"], []
        for key in ("step", "tokens"):
            told, known = manifest[key], s["row"].get(key)
            if told is not None and known is not None and told != known:
                wrong.append(f"its {key} is {told:,} by run.json, {known:,} by the series")
        for name, sha256 in manifest["files"].items():
            found = s["files"].get(name)
            if found is None and (s["whole"] or not name.endswith(".safetensors")):
                wrong.append(f"{name} is missing or unreadable")
            elif found not in (None, sha256):
                wrong.append(f"{name} has another hash than in run.json")
        if wrong:
            faults[number(s)] = "; ".join(wrong)
    return faults


def duplicates(steps: list[Step]) -> Faults:
    """Steps all of whose tensors are those of an earlier one."""
    first: dict[str, int] = {}
    faults = {}
    for s in (s for s in steps if s["tensors"]):
        earlier = first.setdefault(fingerprint(s), number(s))
        if earlier != number(s):
            faults[number(s)] = f"all {len(s['tensors'])} tensors are those of step {earlier}"
    return faults


def fingerprint(step: Step) -> str:
    """All hashes of its tensors as one text."""
    return json.dumps({name: what["sha256"] for name, what in step["tensors"].items()}, sort_keys=True)


def tensors_of_other_steps(steps: list[Step], constant: list[str]) -> Faults:
    """Steps some of whose tensors are those of an earlier one, while their other tensors have moved.

    Not counted: tensors that need not move (`constant`, what training froze, integers), and vectors in half precision
    that are still those of the step before: small steps do not always move a norm's weights by a rounding unit.
    """
    frozen = [pattern for s in steps for pattern in s["manifest"]["frozen"]]
    still = [*constant, *frozen]
    seen: dict[tuple[str, str], int] = {}  # name and hash -> the last step that has it
    faults, before, known = {}, None, set()
    for s in steps:
        if fingerprint(s) in known:
            continue  # a duplicate has been told of
        known.add(fingerprint(s))
        same: dict[int, list[str]] = {}
        for name, what in s["tensors"].items():
            earlier = seen.get((name, what["sha256"]))
            seen[name, what["sha256"]] = number(s)
            vector = what["dtype"] in HALF and len(what["shape"]) < 2 and earlier == before
            exempt = not what["dtype"].startswith(("F", "BF")) or any(fnmatch(name, pattern) for pattern in still)
            if earlier is not None and not vector and not exempt:
                same.setdefault(earlier, []).append(name)
        before = number(s)
        if same:
            faults[number(s)] = "; ".join(describe(s, earlier, names) for earlier, names in same.items())
    return faults


def describe(step: Step, earlier: int, names: list[str]) -> str:
    """Which tensors are those of an earlier step, and which files hold nothing else."""
    files = {step["tensors"][name]["file"] for name in names}
    whole = [f for f in sorted(files) if all(n in names for n, what in step["tensors"].items() if what["file"] == f)]
    detail = f"{len(names)} of {len(step['tensors'])} tensors are those of step {earlier} ({names[0]})"
    return detail + (f": all of {', '.join(whole)}" if whole else "")


def out_of_line(steps: list[Step]) -> Faults:
    """Steps that have not seen more tokens than the step before."""
    told = [(number(s), s["row"]["tokens"]) for s in steps if s["own"] and s["row"].get("tokens") is not None]
    return {
        step: f"{tokens:,} tokens, but step {earlier} has seen {before:,}"
        for (earlier, before), (step, tokens) in pairwise(told)
        if tokens <= before
    }


def other_shapes(steps: list[Step]) -> Faults:
    """Steps that lack tensors of most others, or have them in another shape or type."""
    shapes = {
        number(s): {name: [what["dtype"], what["shape"]] for name, what in s["tensors"].items()}
        for s in steps
        if s["own"] and s["tensors"]
    }
    return differing(shapes, "shape or type")


def other_configs(steps: list[Step]) -> Faults:
    """Steps whose config.json is not that of most."""
    configs = {number(s): {k: v for k, v in s["config"].items() if k not in PASSING} for s in steps if has_files(s)}
    return differing(configs, "config.json")


def other_tokenizers(steps: list[Step]) -> Faults:
    """Steps whose tokenizer's files are not those of most."""
    hashes = {
        number(s): {name: sha256 for name, sha256 in s["files"].items() if is_of_tokenizer(name)}
        for s in steps
        if has_files(s)
    }
    return differing(hashes, "tokenizer")


def has_files(step: Step) -> bool:
    """Whether a step is this series' own, and there."""
    return bool(step["own"] and step["files"])


def is_of_tokenizer(name: str) -> bool:
    """Whether a file belongs to the tokenizer."""
    words = ("token", "vocab", "merges", "spiece", "chat_template")
    return any(word in name for word in words) and not name.endswith(".safetensors")


def differing(values: dict[int, dict[str, Any]], what: str) -> Faults:
    """Steps whose value is not the most common one, with the keys in which it differs."""
    texts = {step: json.dumps(value, sort_keys=True) for step, value in values.items()}
    if not texts:
        return {}
    common = Counter(texts.values()).most_common(1)[0][0]
    usual = json.loads(common)
    faults = {}
    for step in (step for step, text in texts.items() if text != common):
        keys = sorted(different(values[step], usual))
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        faults[step] = f"another {what} than most steps: {', '.join(keys[:3])}{more}"
    return faults


def different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Keys whose values differ, or that one of two lacks."""
    return [key for key in one.keys() | other.keys() if one.get(key, ...) != other.get(key, ...)]
