"""Measure how far every weight of every step has moved: from the first step, the step before, or another series.

python analyze/weights.py --config configs/tiny.yaml
python analyze/weights.py --config configs/snakmodel-7b.yaml measures=change,norm       # the cheap ones
python analyze/weights.py --config configs/tiny.yaml series=adapters:all-r8-chat        # LoRA, from its factors

Tensor by tensor over all steps, so that a base is decomposed once for the whole series. analysis/weights.parquet has a
row for each series, step, tensor and measure; what each means stands in analyze/README.md.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from analyze.pairs import Row, SeriesSettings, Step, begin_steps, read_finished, write_table
from analyze.tensors import Model, describe, open_model
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.records import write_json, write_jsonl

Measure = Literal["change", "norm", "subspace_angle", "singular_angles", "effective_rank"]
VOCABULARY = ("embed_tokens", "lm_head")  # a row a token: what models of one series may have different numbers of
COLUMNS = {"series": "string", "step": "int64", "against": "string", "against_step": "int64", "tensor": "string"}
COLUMNS |= {"layer": "int64", "type": "string", "measure": "string", "k": "int64", "unit": "string"}
COLUMNS |= {"value": "double", "degenerate": "bool"}


@dataclass
class Settings(SeriesSettings):
    measures: list[Measure] = knob(
        ["change", "norm", "subspace_angle", "singular_angles", "effective_rank"],
        "change: one reading; norm: some products; the others decompose: hours a 7B step without a GPU",
    )
    k: int = knob(8, "singular vectors whose span is compared, the k largest; smaller matrices: all", low=1)
    energy: float = knob(0.5, "and as many as hold this share of A's sum of squares", above=0, high=1)
    device: Literal["auto", "cpu", "cuda"] = knob("auto", "that computes; auto: cuda where it is", execution=True)


def main() -> None:
    command = read_command(Settings, "weights", __doc__)
    steps, todo = begin_steps(command, {})
    left_out = measure_all([step for step, _ in todo], command.settings) if todo else {}
    for step, work in todo:
        rows = [row for _, mine in sorted(read_partial(step.folder).items()) for row in mine]
        write_json(step.folder / "rows.json", {"rows": rows})
        work.finish(rows=len(rows), left_out=left_out[step.folder])
        partial_file(step.folder).unlink()
        print(f"{step.series} {step.folder.name}: {len(rows)} rows against {', '.join(step.others)}", flush=True)
    if not command.check:
        write_table(command.run.folder("weights").with_suffix(".parquet"), read_finished(steps, {}), COLUMNS)


def measure_all(steps: list[Step], s: Settings) -> dict[Path, list[str]]:
    """Appends the rows of every tensor to the partial file of each step. Returns what a step's rows leave out."""
    from tqdm import tqdm  # late, as all that follows: a finished stage says so at once

    from analyze.lora import Adapter, open_adapter

    models: dict[str, Model | Adapter] = {}
    for checkpoint in (c for step in steps for c in (step.checkpoint, *step.others.values())):
        if checkpoint.location not in models:
            models[checkpoint.location] = open_adapter(checkpoint.location) or open_model(checkpoint)
    names, left_out = {}, {}
    for step in steps:
        others = [models[other.location] for other in step.others.values()]
        names[step.folder], left_out[step.folder] = shared_names(models[step.checkpoint.location], others)
        for line in left_out[step.folder]:
            print(f"{step.series} {step.folder.name}: left out: {line}", flush=True)
        done = read_partial(step.folder)
        names[step.folder] -= done.keys()
        write_jsonl(partial_file(step.folder), [{"tensor": name, "rows": rows} for name, rows in done.items()])
    with tqdm(total=sum(map(len, names.values())), unit=" tensors", leave=False, disable=None) as bar:
        for name in sorted(set().union(*names.values())):
            measure_tensor(name, [step for step in steps if name in names[step.folder]], models, s, bar)
    return left_out


def shared_names(model: Any, others: list[Any]) -> tuple[set[str], list[str]]:
    """The tensors that a model (or adapter) and all others have in one shape; what is left out of its vocabulary."""
    left_out = {}
    for other in others:
        for name in sorted(model.shapes if model.is_part else model.shapes | other.shapes):
            there, here = (str(list(m.shapes[name])) if name in m.shapes else "missing" for m in (other, model))
            if there != here and describe(name)["type"] in VOCABULARY:
                left_out[name] = f"{name} is {there} in {other.name}, {here} here"
            elif there != here:
                fault = f"{name} is {there} in the first, {here} in the second"
                raise BadInput(f"{other.name} and {model.name} differ: {fault}")
    return set(model.shapes) - left_out.keys(), list(left_out.values())


def measure_tensor(name: str, steps: list[Step], models: dict[str, Any], s: Settings, bar: Any) -> None:
    """Appends the rows of one tensor to the partial file of each step; a base is read, and decomposed, once."""
    import torch

    from analyze.distances import Matrix
    from analyze.lora import Update
    from analyze.measures import compare

    device = ("cuda" if torch.cuda.is_available() else "cpu") if s.device == "auto" else s.device
    if device == "cuda" and not torch.cuda.is_available():
        raise BadInput("weights.device cuda: there is no CUDA device; take auto")

    @lru_cache(maxsize=1 + len(s.against))
    def load(location: str) -> Any:
        value = models[location].read(name)
        if isinstance(value, Update):
            return Update(value.up_RK.to(device), value.down_KC.to(device))
        return Matrix(value.to(device)) if value.ndim == 2 else value.to(device)

    for step in steps:
        rows: list[Row] = []
        for word, other in step.others.items():
            try:
                pair = compare(load(other.location), load(step.checkpoint.location), s.measures, s.k, s.energy)
                rows += [{**step.columns(word), **describe(name), **row} for row in pair]
            except BadInput as error:
                raise BadInput(f"{other.location} or {step.checkpoint.location}: {name} has {error}") from None
        with partial_file(step.folder).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"tensor": name, "rows": rows}) + "\n")
        bar.update()


def partial_file(folder: Path) -> Path:
    """The rows of a step that is under way, a line a tensor."""
    return folder / "partial.jsonl"


def read_partial(folder: Path) -> dict[str, list[Row]]:
    """Tensor -> its rows; a last line that was cut off is none."""
    path = partial_file(folder)
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    return {line["tensor"]: line["rows"] for line in map(json.loads, lines)}


if __name__ == "__main__":
    run_script(main)
