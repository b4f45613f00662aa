"""Measure how far every weight of every step has moved: from the first step, the step before, or another series.

python analyze/weights.py --config configs/tiny.yaml
python analyze/weights.py --config configs/snakmodel-7b.yaml measures=change,norm       # the cheap ones; others later
python analyze/weights.py --config configs/tiny.yaml series=adapters:all-r8-chat        # LoRA, from its factors

Tensor by tensor over all steps, so that a base is decomposed once for the whole series. Each group of measures of each
comparison of a step has a record of its own, so that asking for more adds, and never makes anything again.
analysis/weights.parquet has a row for each series, step, comparison, tensor and measure: all that is done, whatever was
asked for last. What each means stands in analyze/README.md.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from analyze.pairs import Row, SeriesSettings, Step, all_finished, find_steps, write_table
from analyze.tensors import Model, describe, open_model
from snakmodel.comparisons import GROUPS, Group
from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.records import begin, read_json, write_json, write_jsonl

VOCABULARY = ("embed_tokens", "lm_head")  # a row a token: what models of one series may have different numbers of
COLUMNS = {"series": "string", "step": "int64", "against": "string", "against_step": "int64", "tensor": "string"}
COLUMNS |= {"layer": "int64", "type": "string", "measure": "string", "k": "int64", "unit": "string"}
COLUMNS |= {"value": "double", "degenerate": "bool", "undetermined": "bool"}


@dataclass
class Settings(SeriesSettings):
    measures: list[Group] = knob(
        list(GROUPS),
        "change: one reading; norm: some products; singular_angles: some more; the others decompose: hours a 7B step "
        "without a GPU",
    )
    k: int = knob(8, "singular vectors whose span is compared, the k largest; smaller matrices: all", low=1)
    energy: float = knob(0.5, "energy_angles: as many as hold this share of A's sum of squares", above=0, high=1)
    device: Literal["auto", "cpu", "cuda"] = knob("auto", "that computes; auto: cuda where it is", execution=True)


@dataclass(frozen=True)
class Part:
    """A group of measures of a step, against one other step."""

    step: Step
    against: str
    group: Group

    @property
    def folder(self) -> Path:
        return self.step.folder / self.against / self.group

    @property
    def inputs(self) -> dict[str, str | Path]:
        """As records.begin takes them."""
        return {name: self.step.inputs[name] for name in ("model", self.against)}

    @property
    def where(self) -> str:
        return f"{self.step.series} {self.step.folder.name}"


def main() -> None:
    command: Command[Any] = read_command(Settings, "weights", __doc__)
    s = command.settings
    steps, asked = find_steps(command)
    todo = []
    for part in parts_of(asked, s.measures):
        alone = replace(command, settings=shaping_of(part.group, s))  # others may come and go
        work = begin(alone, part.folder, part.inputs)
        if work is not None:
            todo.append((part, work))
    left_out = measure_all([part for part, _ in todo], s) if todo else {}
    for part, work in todo:
        rows = [row for _, mine in sorted(read_partial(part.folder).items()) for row in mine]
        write_json(part.folder / "rows.json", {"rows": rows})
        work.finish(rows=len(rows), left_out=left_out[part.folder])
        partial_file(part.folder).unlink()
        print(f"{part.where}: {part.group} against {part.against}: {len(rows)} rows", flush=True)
    if not command.check:
        folder = command.run.folder("weights")
        places = all_finished(folder, {part.folder: part.inputs for part in parts_of(steps, GROUPS)})
        rows = [row for place in places for row in read_json(place / "rows.json")["rows"]]
        write_table(folder.with_suffix(".parquet"), rows, COLUMNS)


def parts_of(steps: list[Step], groups: Sequence[Group]) -> list[Part]:
    """All groups of all comparisons of steps."""
    return [Part(step, against, group) for step in steps for against in step.others for group in groups]


def shaping_of(group: Group, s: Settings) -> dict[str, Any]:
    """What of the settings shapes the values of a group."""
    if group == "singular_angles":
        return {"k": s.k}
    return {"energy": s.energy} if group == "energy_angles" else {}


def measure_all(parts: list[Part], s: Settings) -> dict[Path, list[str]]:
    """Appends the rows of every tensor to the partial file of each part. Returns what a part's rows leave out."""
    from tqdm import tqdm  # late, as all that follows: a finished stage says so at once

    from analyze.lora import Adapter, open_adapter

    models: dict[str, Model | Adapter] = {}
    for checkpoint in (c for part in parts for c in (part.step.checkpoint, part.step.others[part.against])):
        if checkpoint.location not in models:
            models[checkpoint.location] = open_adapter(checkpoint.location) or open_model(checkpoint)
    names, left_out = {}, {}
    for part in parts:
        other = models[part.step.others[part.against].location]
        names[part.folder], left_out[part.folder] = shared_names(models[part.step.checkpoint.location], other)
        done = read_partial(part.folder)
        names[part.folder] -= done.keys()
        write_jsonl(partial_file(part.folder), [{"tensor": name, "rows": rows} for name, rows in done.items()])
    for where, line in sorted({(part.where, line) for part in parts for line in left_out[part.folder]}):
        print(f"{where}: left out: {line}", flush=True)  # once for all groups
    with tqdm(total=sum(map(len, names.values())), unit=" tensors", leave=False, disable=None) as bar:
        for name in sorted(set().union(*names.values())):
            measure_tensor(name, [part for part in parts if name in names[part.folder]], models, s, bar)
    return left_out


def shared_names(model: Any, other: Any) -> tuple[set[str], list[str]]:
    """The tensors that a model (or adapter) and another have in one shape; what is left out of its vocabulary."""
    left_out = {}
    for name in sorted(model.shapes if model.is_part else model.shapes | other.shapes):
        there, here = (str(list(m.shapes[name])) if name in m.shapes else "missing" for m in (other, model))
        if there != here and describe(name)["type"] in VOCABULARY:
            left_out[name] = f"{name} is {there} in {other.name}, {here} here"
        elif there != here:
            fault = f"{name} is {there} in the first, {here} in the second"
            raise BadInput(f"{other.name} and {model.name} differ: {fault}")
    return set(model.shapes) - left_out.keys(), list(left_out.values())


def measure_tensor(name: str, parts: list[Part], models: dict[str, Any], s: Settings, bar: Any) -> None:
    """Appends the rows of one tensor to the partial file of each part; a base is read, and decomposed, once."""
    import torch

    from analyze.distances import Matrix
    from analyze.lora import Update
    from analyze.measures import MEASURES, compare

    device = ("cuda" if torch.cuda.is_available() else "cpu") if s.device == "auto" else s.device
    if device == "cuda" and not torch.cuda.is_available():
        raise BadInput("weights.device cuda: there is no CUDA device; take auto")

    @lru_cache(maxsize=1 + len(s.against))
    def load(location: str) -> Any:
        value = models[location].read(name)
        if isinstance(value, Update):
            return Update(value.up_RK.to(device), value.down_KC.to(device))
        return Matrix(value.to(device)) if value.ndim == 2 else value.to(device)

    for (step, against), same_pair in groupby(parts, lambda part: (part.step, part.against)):
        mine = {part.group: part for part in same_pair}
        here, there = step.checkpoint.location, step.others[against].location
        try:
            rows = list(compare(load(there), load(here), list(mine), s.k, s.energy))
        except BadInput as error:
            raise BadInput(f"{there} or {here}: {name} has {error}") from None
        facts = step.columns(against) | describe(name)
        for group, part in mine.items():
            line = {"tensor": name, "rows": [facts | row for row in rows if MEASURES[row["measure"]][0] == group]}
            with partial_file(part.folder).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            bar.update()


def partial_file(folder: Path) -> Path:
    """The rows of a part that is under way, a line a tensor."""
    return folder / "partial.jsonl"


def read_partial(folder: Path) -> dict[str, list[Row]]:
    """Tensor -> its rows; a last line that was cut off is none."""
    path = partial_file(folder)
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    return {line["tensor"]: line["rows"] for line in map(json.loads, lines)}


if __name__ == "__main__":
    run_script(main)
