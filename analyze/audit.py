"""Audit a series of checkpoints, here or on the Hub, for what has gone wrong in published ones; exit status 1: a fault.

python analyze/audit.py --config configs/tiny.yaml
python analyze/audit.py --config configs/tiny.yaml series=hub:ORG/NAME      # by range requests; nothing is kept

Duplicate steps, tensors of another step, gaps, steps out of line in tokens, another tokenizer or config, values that
are not finite, files that are not what their manifest says. Weights are read once, in pieces of 64 MiB.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyze.series_checks import CHECKS, check_series
from analyze.tensors import Files, files_of
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.records import begin, read_json, write_json
from snakmodel.series import is_own, read_series

SMALL_FILES = ("*.json", "*.model", "*.jinja", "*.txt")  # config and tokenizer; hashed whole
NO_PART = ("run.json", "started.json", "series.json")


@dataclass
class Settings:
    series: list[str] = knob([PRETRAINED], "pretrained, tuned variants, or hub:ORG/NAME", execution=True)
    bytes_per_tensor: int | None = knob(
        None, "read only the beginning of every tensor: less to fetch, less found; null: all of it", low=1_024
    )
    every: int | None = knob(
        None, "steps between checkpoints; null: as most of them lie; 0: wherever they lie", low=0, execution=True
    )
    constant: list[str] = knob(
        ["*rotary_emb.inv_freq", "*.masked_bias"],
        "tensors that need not move, by name, besides those that the training settings call frozen",
        execution=True,
    )


def main() -> None:
    command = read_command(Settings, "audit", __doc__)
    s, folder = command.settings, command.run.folder("audit")
    table, read_anew = [], False
    for name in s.series:
        place, steps = command.run.series(name), []
        for checkpoint in read_series(place, whole=False):
            if (files := files_of(checkpoint, is_own(checkpoint, place))) is None:
                print(f"{name} step {checkpoint.step} is {checkpoint.location}, which is not here: not read")
                continue
            inputs = {"model": checkpoint.source, "files": files.state}
            step = folder / name / step_name(checkpoint.step)
            if (work := begin(command, step, inputs, derived=True)) is not None:
                write_json(step / "contents.json", read_step(files, s.bytes_per_tensor))
                work.finish()
                read_anew = True
                print(f"{name} {step.name}: read", flush=True)
            if not command.check:
                facts = {"row": checkpoint.row, "own": is_own(checkpoint, place), "location": checkpoint.location}
                steps.append(facts | read_json(step / "contents.json"))
        if not command.check:
            table += [{"series": name, **row} for row in check_series(steps, s.every, s.constant)]
    if command.check:
        return
    write_json(folder / "audit.json", {"rows": table})
    faults = [row for row in table if not row["passed"]]
    if read_anew or faults or sys.stdout.isatty():  # a log has seen it
        print(as_text(table), flush=True)
    if faults:
        print("\n".join(f"{row['series']} step {row['step']}: {row['check']}: {row['detail']}" for row in faults))
        print("a step of yours is made again by its stage (pretrain/export.py) once its folder is deleted")
        raise SystemExit(1)


def read_step(files: Files, limit: int | None) -> dict[str, Any]:
    """What a step holds: hashes of its tensors and files, its config and manifest, and what cannot be read."""
    from tqdm import tqdm  # late: a finished audit says so at once

    from snakmodel.fingerprints import scan

    tensors: dict[str, Any] = {}
    hashes, unreadable = dict(files.stated), []
    weights = [name for name in files.sizes if name.endswith(".safetensors")]
    for name in tqdm(weights, unit=" files", leave=False, disable=None):
        try:
            with files.open(name) as file:
                contents = scan(file, files.sizes[name], limit)
        except BadInput as error:
            unreadable.append(f"{name} {error}")
            continue
        tensors |= {tensor: what | {"file": name} for tensor, what in contents.tensors.items()}
        if contents.sha256:
            hashes[name] = contents.sha256
    small = [name for name in files.sizes if any(Path(name).match(pattern) for pattern in SMALL_FILES)]
    texts = {}
    for name in small:
        with files.open(name) as file:
            texts[name] = file.read()
        if name not in NO_PART:
            hashes[name] = hashlib.sha256(texts[name]).hexdigest()
    config, index, record = (
        as_json(name, texts, unreadable) for name in ("config.json", "model.safetensors.index.json", "run.json")
    )
    for tensor, name in index.get("weight_map", {}).items():
        if tensors.get(tensor, {}).get("file") != name:
            unreadable.append(f"{name} should hold {tensor} by the index, and does not")
    try:
        manifest = manifest_of(record)
    except (KeyError, TypeError, AttributeError):
        manifest = manifest_of({})
        unreadable.append("run.json is no manifest of ours")
    return {
        "tensors": tensors,
        "files": hashes,
        "whole": limit is None,
        "config": config,
        "manifest": manifest,
        "unreadable": unreadable,
    }


def manifest_of(record: dict[str, Any]) -> dict[str, Any]:
    """What an audit needs of a step's run.json; tuned steps have no hashes in theirs."""
    return {
        "step": record.get("step"),
        "tokens": record.get("tokens"),
        "files": {name: what["sha256"] for name, what in record.get("files", {}).items()},
        "frozen": record.get("training", {}).get("settings", {}).get("frozen", []),
    }


def as_json(name: str, texts: dict[str, bytes], unreadable: list[str]) -> dict[str, Any]:
    """A JSON file of a step; empty where there is none."""
    try:
        value = json.loads(texts.get(name, b"{}"), parse_constant=str)  # Infinity stays what it is called
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    unreadable.append(f"{name} holds no JSON object")
    return {}


def as_text(table: list[dict[str, Any]]) -> str:
    """The table as text: a line a step, a column a check."""
    widths = [max(len(check), 5) for check in CHECKS]
    wide = max(len(f"{row['series']} {step_name(row['step'])}") for row in table)
    lines = [" ".join([" " * wide, *(check.ljust(width) for check, width in zip(CHECKS, widths, strict=True))])]
    passed = {(row["series"], row["step"], row["check"]): row["passed"] for row in table}
    for series, step in dict.fromkeys((row["series"], row["step"]) for row in table):
        words = ["ok" if passed[series, step, check] else "FAULT" for check in CHECKS]
        cells = (word.ljust(width) for word, width in zip(words, widths, strict=True))
        lines.append(" ".join([f"{series} {step_name(step)}".ljust(wide), *cells]))
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    run_script(main)
