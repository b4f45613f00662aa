"""Gather the instruction sets of the recipe into one file of questions and answers.

python finetune/instructions.py --config configs/tiny.yaml
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.records import begin


@dataclass
class InstructionSet:
    path: str = knob(help="JSONL or Parquet file, or Hub id")
    prompt: list[str] = knob(help="columns joined by a space into the question; empty ones are left out")
    answer: str = knob(help="column of the answer")
    configuration: str | None = knob(None, "of a Hub set")
    split: str = knob("train", "of a Hub set")
    revision: str | None = knob(None, "of a Hub set: pin the commit")


@dataclass
class Settings:
    sets: dict[str, InstructionSet] = knob(help="name -> where it lies and which columns it has")
    identity: list[list[str]] = knob([], "[question, answer] pairs by which the model learns who it is")
    identity_repeats: int = knob(1, "copies of each identity pair", low=1)


def main() -> None:
    command = read_command(Settings, "instructions", __doc__)
    s, folder = command.settings, command.run.folder("instructions")
    for number, pair in enumerate(s.identity):
        if len(pair) != 2:
            raise BadInput(
                f"{command.config}: instructions.identity[{number}] should be [question, answer], got {pair!r}"
            )
    # a Hub set is known by its id and pinned revision, a local one by its bytes
    files: dict[str, str | Path] = {name: as_input(each) for name, each in s.sets.items()}
    work = begin(command, folder, files)
    if work is None:
        return
    import pyarrow as pa  # late: a finished stage says so at once

    from snakmodel.documents import DocumentWriter

    counts = {}
    with DocumentWriter(folder / "train.parquet", {"answer": pa.string()}) as out:
        for name, each in s.sets.items():
            seen = kept = 0
            for question, answer in pairs(name, each):
                if question and answer:
                    out.write({"text": question, "source": name, "id": f"{name}:{seen:08d}", "answer": answer})
                    kept += 1
                seen += 1
            counts[name] = {"seen": seen, "kept": kept, "dropped": {"empty question or answer": seen - kept}}
            print(f"{name}: kept {kept:,} of {seen:,}", flush=True)
        for number, (question, answer) in enumerate(s.identity * s.identity_repeats):
            out.write({"text": question, "source": "identity", "id": f"identity:{number:08d}", "answer": answer})
    counts["identity"] = {"seen": len(s.identity), "kept": len(s.identity) * s.identity_repeats, "dropped": {}}
    work.finish(counts=counts)


def as_input(each: InstructionSet) -> str | Path:
    """The set as an input of records.begin; a path that looks local must be there."""
    path = Path(each.path)
    if path.suffix in (".jsonl", ".json", ".parquet") and not path.is_file():
        raise BadInput(f"instruction set {each.path} not found")
    return path if path.is_file() else f"{each.path}@{each.revision}/{each.configuration}/{each.split}"


def pairs(name: str, each: InstructionSet) -> Iterator[tuple[str, str]]:
    """(question, answer) of every row, streamed."""
    from datasets import load_dataset

    local = Path(each.path)
    try:
        if local.is_file():
            kind = "parquet" if local.suffix == ".parquet" else "json"
            rows = load_dataset(kind, data_files=str(local), split="train", streaming=True)
        else:
            rows = load_dataset(each.path, each.configuration, split=each.split, revision=each.revision, streaming=True)
        for row in rows:
            yield " ".join(text(row, c, name) for c in each.prompt if text(row, c, name)), text(row, each.answer, name)
    except BadInput:
        raise
    except Exception as error:  # the library raises what its back-ends raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"instruction set {name} ({each.path}) cannot be read: {reason}") from error


def text(row: dict[str, Any], column: str, name: str) -> str:
    """One column of a row as stripped text; a missing column is the recipe's mistake."""
    if column not in row:
        raise BadInput(f"instruction set {name} has no column {column!r}; it has {', '.join(row)}")
    return str(row[column] or "").strip()


if __name__ == "__main__":
    run_script(main)
