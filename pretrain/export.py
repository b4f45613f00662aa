"""Export every checkpoint as a Hugging Face folder whose logits equal the trained model's, and write series.json.

python pretrain/export.py --config configs/tiny.yaml

The run.json of each folder is its manifest: step, tokens seen, parent, training settings, hashes of tensors and files.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pretrain.checkpoints import check_files
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.older_keys import add_older_keys
from snakmodel.paths import PRETRAINED, step_of
from snakmodel.records import begin, missing, read_json
from snakmodel.series import choose, parse_branch, read_series, resolve_model, write_series

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a number


@dataclass
class Settings:
    dtype: Literal["float32", "bfloat16", "float16"] = knob("float32", "of the exported weights")
    free_space: bool = knob(
        False, "delete the training shards of exported steps that are no longer resumable", execution=True
    )
    tolerance: float = knob(
        1e-3, "root mean square of the logits' differences that is allowed, in their standard deviations", above=0
    )


def main() -> None:
    command = read_command(Settings, "export", __doc__)
    s, run = command.settings, command.run
    checkpoints, models = run.folder("pretrain"), run.series(PRETRAINED)
    started = read_json(checkpoints / "started.json")
    training = started["settings"]
    records = {p.parent: read_json(p) for p in sorted(checkpoints.glob("step-*/run.json"), key=step_number)}
    records = {path: record for path, record in records.items() if record.get("in_series", True)}
    if not records:
        raise BadInput(missing(checkpoints / "step-*/run.json"))
    parent = parent_of(started)
    for checkpoint, record in records.items():
        folder = models / checkpoint.name
        if command.overwrite and not (checkpoint / "model").is_dir():
            raise BadInput(f"{checkpoint} has no weights any more (free_space): its export cannot be made again")
        work = begin(command, folder, {"checkpoint": checkpoint})
        if work is not None:
            from snakmodel.fingerprints import hash_folder  # late: a finished stage says so at once

            check_space(folder, record["files"], s.dtype)
            difference = export(checkpoint, checkpoints / "config", training["tokenizer"], folder, s)
            print(f"{checkpoint.name}: logits differ by {difference:.1e} standard deviations", flush=True)
            facts = {"step": record["step"], "tokens": record["tokens"], "parent": parent}
            facts["training"] = {"settings": training, "commit": started["commit"]}
            work.finish(**facts, logit_difference=difference, **hash_folder(folder))
        exported = (folder / "run.json").is_file() and not command.check  # --check deletes nothing
        if s.free_space and exported and not (checkpoint / "optimizer").is_dir():
            shutil.rmtree(checkpoint / "model", ignore_errors=True)
    if not command.check:
        exports = [models / checkpoint.name for checkpoint in records]
        write_series(models, run.root.name, rows(exports, parent), branch_point(training))


def step_number(record: Path) -> int:
    """Of a checkpoint's record."""
    return step_of(record.parent.name) or 0


def parent_of(started: dict[str, Any]) -> str | None:
    """The location of the model that training really started from; None: from scratch."""
    parent = started["inputs"].get("parent")
    return resolve_model(parent["path"]) if parent else None


def branch_point(training: dict[str, Any]) -> dict[str, Any] | None:
    """Where a branch left its run: folder, step, and the tokens seen by then."""
    if not training.get("branch_from"):
        return None
    run, step = parse_branch(training["branch_from"])
    checkpoint = choose(read_series(run / "models"), str(step), training["branch_from"])[0]
    return {"run": str(run), "step": step, "tokens": checkpoint.row["tokens"]}


def rows(exports: list[Path], parent: str | None) -> list[dict[str, Any]]:
    """The series: every exported step with its parent; step 0 of a continued series refers to the parent itself."""
    table = [{"step": 0, "location": parent, "tokens": 0, "parent": None}] if parent else []
    for folder in exports:
        manifest = read_json(folder / "run.json")
        row = {"step": step_of(folder.name), "tokens": manifest["tokens"], "weights": manifest.get("weights")}
        table.append({**row, "location": folder, "parent": parent})
    return table


def check_space(folder: Path, files: dict[str, Any], dtype: str) -> None:
    """Refuses an export for which the disk has no room; its weights are those of the checkpoint, in another type."""
    need = (
        sum(file["bytes"] for name, file in files.items() if name.startswith("model/"))
        * BYTES[dtype]
        // BYTES["float32"]
    )
    free = shutil.disk_usage(folder).free
    if free < need:
        raise BadInput(
            f"{folder} needs {need / 1e9:.1f} GB, its disk has {free / 1e9:.1f} GB free; make room "
            "(export.free_space deletes what is exported and not resumable), then the same command continues"
        )


def export(checkpoint: Path, config: Path, tokenizer: str, folder: Path, s: Settings) -> float:
    """Writes one Hugging Face folder, loads it again and compares its logits with the live model's.

    Returns the root mean square of the differences, in standard deviations of the logits; refuses too large a one.
    """
    import torch  # late: a finished stage says so at once
    from safetensors.torch import load_file

    from pretrain.models import assemble_model
    from snakmodel.models import load_model, load_tokenizer, typical_difference

    check_files(checkpoint, "model/", checksums=True)
    model = assemble_model(checkpoint, config).to(getattr(torch, s.dtype))
    model.save_pretrained(folder)
    load_tokenizer(tokenizer).save_pretrained(folder)
    add_older_keys(folder)
    probe = load_file(checkpoint / "probe.safetensors")
    exported = load_model(folder, dtype=getattr(torch, s.dtype))
    with torch.no_grad():
        logits_BTV = exported(input_ids=probe["tokens"]).logits.float()
    difference = typical_difference(logits_BTV, probe["logits"])
    if not difference <= s.tolerance:  # not <=: a NaN is refused too
        raise BadInput(
            f"{folder}: logits differ from the trained model's by {difference:.3g} standard deviations, "
            f"more than export.tolerance {s.tolerance}: the export is wrong, or dtype {s.dtype} too coarse"
        )
    return difference


if __name__ == "__main__":
    run_script(main)
