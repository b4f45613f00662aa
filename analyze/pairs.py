"""What weights.py and embeddings.py share: which step of a series is compared with which other one, and where."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.adapters import adapter_steps, find_base
from snakmodel.comparisons import ADAPTERS, FIRST, OWN, compared, words_of
from snakmodel.config import BadInput, Command, knob
from snakmodel.paths import PRETRAINED, Run, step_name
from snakmodel.records import identity, is_current, missing, read_json, write_beside
from snakmodel.series import Checkpoint, choose, read_series

Row = dict[str, Any]


@dataclass
class SeriesSettings:
    series: list[str] = knob(
        [PRETRAINED], "series to measure: pretrained, tuned variants, hub:ORG/NAME, adapters:VARIANT", execution=True
    )
    steps: str = knob("all", "steps to measure: all, first, last, 500,1000 or 500:12500:500", execution=True)
    against: list[str] = knob(
        ["base"], "what a step is compared with: base (the first), previous, SERIES (its same step), SERIES:first"
    )


@dataclass(frozen=True)
class Step:
    """A step to measure: what it is compared with, and where its rows go."""

    series: str
    checkpoint: Checkpoint
    others: dict[str, Checkpoint]  # a word of `against` -> that step
    folder: Path

    @property
    def inputs(self) -> dict[str, str | Path]:
        """As records.begin takes them."""
        return {"model": self.checkpoint.source, **{word: other.source for word, other in self.others.items()}}

    def columns(self, against: str) -> Row:
        """The columns that every row of a comparison begins with."""
        other = self.others[against].step
        return {"series": self.series, "step": self.checkpoint.step, "against": against, "against_step": other}


def find_steps(command: Command[Any]) -> tuple[list[Step], list[Step]]:
    """All steps that have something to be compared with, and those of them that are asked for."""
    s, run = command.settings, command.run
    steps, asked = [], []
    for name in s.series:
        checkpoints = read_steps(run, name)
        chosen = choose(checkpoints, s.steps, f"{command.config}: {command.section}.steps")
        mine = list(steps_of(command, name, checkpoints))
        steps += mine
        asked += (found := [step for step in mine if step.checkpoint in chosen])
        if not chosen:
            raise BadInput(f"{command.config}: {command.section}.steps: {s.steps!r} is no step of {name}")
        if not found:
            numbers = ", ".join(str(checkpoint.step) for checkpoint in chosen)
            print(f"{name}, step {numbers}: nothing to compare with by against {', '.join(s.against)}", flush=True)
    return steps, asked


def read_steps(run: Run, name: str) -> list[Checkpoint]:
    """The checkpoints of a series, or the adapters of a variant, by step."""
    if not name.startswith(ADAPTERS):
        return read_series(run.series(name))
    folder = run.folder("finetune") / name.removeprefix(ADAPTERS)
    found = adapter_steps(folder)
    if not found:
        raise BadInput(missing(folder / "step-*/adapter_config.json"))
    return found


def steps_of(command: Command[Any], name: str, checkpoints: list[Checkpoint]) -> Iterator[Step]:
    """The steps of a series with what each is compared with; says which comparisons cannot be made."""
    run, folder = command.run, command.run.folder(command.section) / name
    if mistaken := [word for word in command.settings.against if word.startswith(ADAPTERS)]:
        where = f"{command.config}: {command.section}.against {mistaken[0]}"
        raise BadInput(f"{where}: adapters are updates, no models; take the merged series")
    words = words_of(name, command.settings.against)
    others = {word: read_steps(run, word.removesuffix(FIRST)) for word in words if word not in OWN}
    numbers = {word: [checkpoint.step for checkpoint in there] for word, there in others.items()}
    pairs = compared(name, [checkpoint.step for checkpoint in checkpoints], words, numbers)
    for checkpoint in checkpoints:
        found = {}
        for word, number in pairs.get(checkpoint.step, {}).items():
            if word == "base" and name.startswith(ADAPTERS):
                found[word] = Checkpoint(number, find_base(Path(checkpoint.location), run), {})
            else:
                found[word] = next(other for other in others.get(word, checkpoints) if other.step == number)
        if found:
            yield Step(name, checkpoint, found, folder / step_name(checkpoint.step))
    for word in others:
        absent = [str(c.step) for c in checkpoints if word not in pairs.get(c.step, {})]
        if absent:
            print(f"{name}: not compared with {word}, which lacks: step {', '.join(absent)}", flush=True)


def all_finished(folder: Path, known: dict[Path, dict[str, str | Path]]) -> list[Path]:
    """The folders of a stage whose work is done, and was made from what is there now: these with their inputs first,
    then others, which earlier commands asked for.
    """
    mine = [place for place, inputs in known.items() if is_current(place, inputs)]
    return mine + finished_beneath(folder, set(known))


def finished_beneath(folder: Path, known: set[Path]) -> list[Path]:
    """The folders beneath one whose work is finished, and whose inputs are as they were; but those that are known."""
    found = [path.parent for path in sorted(folder.rglob("run.json")) if path.parent not in known]
    inputs = {place: read_json(place / "run.json")["inputs"].values() for place in found}
    now = {path: identity(path) for path in {made["path"] for each in inputs.values() for made in each}}  # once each
    return [place for place in found if all(now[made["path"]] == made["hash"] for made in inputs[place])]


def write_table(path: Path, rows: list[Row], columns: dict[str, str]) -> None:
    """Rows as a Parquet file; columns: name -> Arrow's name of its type. What a row lacks is null."""
    import pyarrow as pa  # late: a finished stage says so at once
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
    with write_beside(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
