"""Merge each adapter into its base, check that the merged model says what the adapter said, and write the tuned series.

python finetune/merge.py --config configs/tiny.yaml [merge.kept_of=500]

Models tuned beside the series (finetune.also_tune) become series of one, VARIANT+NAME; the adapters that one step has
kept on its way become VARIANT@STEP, whose steps are epochs or tuning steps.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.fingerprints import hash_folder
from snakmodel.paths import PRETRAINED, Run, step_name, step_of
from snakmodel.records import begin, identity, missing, read_json
from snakmodel.series import check_weights, read_series, write_series


@dataclass
class Settings:
    variant: str = knob(help="the tuned series to merge; finetune.variant")
    kept_of: list[int] = knob([], "steps whose kept adapters become series of their own", low=0, execution=True)
    dtype: Literal["float32", "bfloat16", "float16"] = knob("float32", "of the merged weights; merging is in float32")
    tolerance: float = knob(1e-3, "largest logit difference of merge and adapter, in standard deviations", above=0)
    prompts: int = knob(8, "first questions of the instructions, on which models are compared", low=1)
    new_tokens: int = knob(16, "of the greedy answers that are compared", low=1)


def main() -> None:
    command = read_command(Settings, "merge", __doc__)
    s, run = command.settings, command.run
    adapters = run.folder("finetune")
    for folder in [adapters / s.variant, *sorted(adapters.glob(f"{s.variant}+*"))]:
        tuned = find_steps(folder, "run.json")
        rows = [merge_one(command, folder.name, step, tuned[step], tuned[step]) for step in tuned]
        if not command.check:
            write_series(run.series(folder.name), f"{run.root.name} {folder.name}", rows)
    for step in s.kept_of:
        merge_kept(command, adapters / s.variant / step_name(step), f"{s.variant}@{step}")


def find_steps(folder: Path, file: str) -> dict[int, Path]:
    """The step folders within a folder that hold such a file."""
    found = {step_of(path.parent.name): path.parent for path in sorted(folder.glob(f"step-*/{file}"))}
    if not found:
        raise BadInput(missing(folder / f"step-*/{file}"))
    return {step: path for step, path in found.items() if step is not None}


def merge_kept(command: Command[Settings], tuned: Path, name: str) -> None:
    """The adapters that a step has kept, as a series that begins with its base."""
    record = read_json(tuned / "run.json")
    if not (tuned / "kept").is_dir():
        kept = record["settings"].get("keep")
        raise BadInput(f"{tuned} was tuned with keep {kept!r}, and has kept none; tune it with finetune.keep=epoch")
    adapters = find_steps(tuned / "kept", "adapter_config.json" if is_adapter(tuned) else "config.json")
    rows = [merge_one(command, name, step, adapter, tuned) for step, adapter in adapters.items()]
    if not command.check:
        first = {"step": 0, "location": find_base(tuned, command.run), "tokens": None, "parent": None}
        rows = [first, *({**row, "tokens": None} for row in rows)]  # all have seen the base's text
        write_series(command.run.series(name), f"{command.run.root.name} {name}", rows, axis=record["axis"])


def is_adapter(folder: Path) -> bool:
    """Whether a tuning has made an adapter, rather than a whole model."""
    return (folder / "adapter_config.json").is_file()


def find_base(tuned: Path, run: Run) -> str:
    """The model that an adapter was tuned on, by its own record: where it was, or (the run has moved) in the series."""
    told = read_json(tuned / "run.json")["inputs"]["model"]
    series = run.series(PRETRAINED)
    there = [str(c.source) for c in read_series(series, whole=False)] if (series / "series.json").is_file() else []
    for location in (told["path"], *there):
        if identity(location) == told["hash"]:
            return location if Path(location).is_dir() else location.partition("=")[0]  # of the Hub: without the commit
    raise BadInput(f"{tuned} was tuned on {told['path']}, which has changed since, or is not there; tune it again")


def merge_one(command: Command[Settings], series: str, step: int, adapter: Path, tuned: Path) -> dict[str, Any]:
    """Merges one adapter unless that is done; its row of series.json. tuned: the folder with its record."""
    run = command.run
    base, record, data = find_base(tuned, run), read_json(tuned / "run.json"), run.folder("instructions")
    folder = run.series(series) / step_name(step)
    location = folder if is_adapter(tuned) else adapter  # a whole model stays where it is
    row = {"step": step, "location": location, "tokens": record.get("base_tokens"), "parent": base}
    source = Path(base) if (Path(base) / "run.json").is_file() else record["inputs"]["model"]["path"]
    work = begin(command, folder, {"model": source, "adapter": tuned, "instructions": data})
    if work is None:
        return row
    check_weights(adapter)
    facts = merge(base, adapter, folder, record["settings"].get("format", "own"), data, command.settings)
    print(f"merge {series} {folder.name}: {describe(facts, command.settings)}", flush=True)
    work.finish(**facts, **(hash_folder(folder) if is_adapter(tuned) else {}))
    return row


def describe(facts: dict[str, Any], s: Settings) -> str:
    """What was found, in a line."""
    told = f"from the base's by {facts['base_difference']:.2f} standard deviations"
    if "adapter_difference" not in facts:
        return f"a whole model, left where it is; its logits differ {told}"
    return (
        f"logits differ from the adapter's by {facts['adapter_difference']:.1e}, {told}; "
        f"{facts['same_text']} of {facts['prompts']} greedy answers the same; "
        f"{facts['unchanged']['all']:.1%} of the tuned matrices' weights unchanged in {s.dtype}"
    )


def merge(base: str, adapter: Path, folder: Path, format: Any, data: Path, s: Settings) -> dict[str, Any]:
    """Writes the merged model of one step. Refuses a merge unlike its adapter, and one like its base."""
    import torch  # late: a finished stage says so at once
    from peft import PeftModel

    from finetune import merge_checks as checks
    from snakmodel.models import add_older_keys, load_model, load_tokenizer, logit_difference

    tokenizer = load_tokenizer(base)
    model = load_model(base, dtype=torch.float32)
    questions = checks.Questions(tokenizer, format, data / "train.parquet", s.prompts, s.new_tokens)
    of_base = questions.logits(model)
    if not is_adapter(adapter):
        whole = load_model(adapter, dtype=torch.float32)
        return {"base_difference": checks.difference_from_base(questions.logits(whole), of_base, str(folder))}
    changes = checks.read_adapter(adapter)
    if "lm_head.weight" in changes and model.config.tie_word_embeddings:
        checks.untie(model)
    tuned = PeftModel.from_pretrained(model, adapter).eval()
    of_adapter, said = questions.logits(tuned), questions.answers(tuned)
    merged = tuned.merge_and_unload()
    before = load_model(base, dtype="auto").state_dict()  # as stored: half the memory
    checks.check_matrices(before, merged.state_dict(), changes, str(folder))
    facts = checks.compare(of_base, of_adapter, questions.logits(merged), s.tolerance, str(folder))
    facts |= {"prompts": len(said), "new_tokens": s.new_tokens, "same_text": questions.same(merged, said)}
    facts["unchanged"] = checks.unchanged(before, merged.state_dict(), changes, getattr(torch, s.dtype))
    del before
    merged.to(getattr(torch, s.dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    add_older_keys(folder)
    checks.check_written(merged, load_model(folder, dtype="auto"), str(folder))
    written = merged.float()
    facts["written_difference"] = logit_difference(questions.logits(written), of_adapter)
    return facts | {"same_text_written": questions.same(written, said)}


if __name__ == "__main__":
    run_script(main)
