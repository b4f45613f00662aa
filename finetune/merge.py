"""Merge each adapter into its base, check that the merged model says what the adapter said, and write the tuned series.

python finetune/merge.py --config configs/tiny.yaml [merge.kept_of=500]

Models tuned beside the series (finetune.also_tune) become series of one, VARIANT+NAME; the adapters that one step has
kept on its way become VARIANT@STEP, whose steps are epochs or tuning steps.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from snakmodel.adapters import find_base
from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.fingerprints import hash_folder
from snakmodel.older_keys import add_older_keys
from snakmodel.paths import Run, step_name, step_of
from snakmodel.records import begin, missing, read_json
from snakmodel.series import check_weights, write_series
from snakmodel.settings import share


@dataclass
class Settings:
    variant: str = knob(help="the tuned series to merge; finetune.variant")
    kept_of: list[int] = knob([], "steps whose kept adapters become series of their own", low=0, execution=True)
    dtype: Literal["float32", "bfloat16", "float16"] = knob("float32", "of the merged weights; merging is in float32")
    part: str = knob("1/1", "of the tuned models, the share that this process merges", execution=True)
    tolerance: float = knob(1e-3, "largest logit difference of merge and adapter, in standard deviations", above=0)
    prompts: int = knob(8, "first questions of the instructions, on which models are compared", low=1)
    new_tokens: int = knob(16, "of the greedy answers that are compared", low=1)


def main() -> None:
    command = read_command(Settings, "merge", __doc__)
    s, run = command.settings, command.run
    adapters = run.folder("finetune")
    folders = (path for name in (s.variant, f"{s.variant}+*") for path in sorted(adapters.glob(f"{name}/step-*")))
    tuned = [Tuned(path, path.parent.name) for path in folders]
    if not any(each.finished for each in tuned):
        if command.check:
            print(f"merge: nothing is tuned yet ({adapters / s.variant})")
            return
        if tuned:
            raise BadInput(f"{adapters / s.variant}: no step is tuned to its end; the command that tuned it goes on")
        raise BadInput(missing(adapters / s.variant / "step-*/run.json"))
    for each in tuned:
        if not each.finished:
            print(f"merge {each.series} {each.folder.name}: not tuned to its end, left out", flush=True)
    tuned = [each for each in tuned if each.finished]
    for step in s.kept_of:
        tuned += kept_adapters(adapters / s.variant / step_name(step), f"{s.variant}@{step}")
    refused = []
    for each in share(tuned, s.part, f"{command.config}: merge"):
        try:
            merge_one(command, each)
        except BadInput as error:  # the others are merged all the same
            print(f"merge {each.series} {step_name(each.step)}: refused", flush=True)
            refused.append(str(error))
    if not command.check:
        for name in dict.fromkeys(each.series for each in tuned):
            write_merged([each for each in tuned if each.series == name], run)
    if refused:
        raise BadInput(f"{len(refused)} of {len(tuned)} refused; " * (len(tuned) > 1) + "; ".join(refused))


@dataclass(frozen=True)
class Tuned:
    """An adapter, or a whole tuned model, that becomes a step of a series."""

    weights: Path  # the folder of its files
    series: str
    kept_by: Path | None = None  # the tuning that has kept it on its way

    @property
    def folder(self) -> Path:
        """That of its tuning, which holds the record."""
        return self.kept_by or self.weights

    @property
    def finished(self) -> bool:
        return (self.folder / "run.json").is_file()

    @property
    def step(self) -> int:
        step = step_of(self.weights.name)
        assert step is not None
        return step

    @property
    def is_adapter(self) -> bool:
        return (self.weights / "adapter_config.json").is_file()


def kept_adapters(tuned: Path, series: str) -> list[Tuned]:
    """The adapters that a tuning has kept on its way, as a series of its own."""
    record = read_json(tuned / "run.json")
    if not (tuned / "kept").is_dir():
        kept = record["settings"].get("keep")
        raise BadInput(f"{tuned} was tuned with keep {kept!r}, and has kept none; tune it with finetune.keep=epoch")
    return [Tuned(path, series, tuned) for path in sorted((tuned / "kept").glob("step-*"))]


def merge_one(command: Command[Settings], tuned: Tuned) -> None:
    """Merges one adapter, unless that is done."""
    run = command.run
    base, record, data = find_base(tuned.folder, run), read_json(tuned.folder / "run.json"), run.folder("instructions")
    folder = run.series(tuned.series) / step_name(tuned.step)
    source = Path(base) if (Path(base) / "run.json").is_file() else record["inputs"]["model"]["path"]
    work = begin(command, folder, {"model": source, "adapter": tuned.folder, "instructions": data})
    if work is None:
        return
    check_weights(tuned.weights)
    facts = merge(base, tuned, folder, record["settings"].get("format", "own"), data, command.settings)
    print(f"merge {tuned.series} {folder.name}: {describe(facts, command.settings)}", flush=True)
    work.finish(**facts, **hash_folder(folder))


def write_merged(tuned: list[Tuned], run: Run) -> None:
    """series.json of the steps of one series that are merged; one of kept adapters begins with their base."""
    folder, rows = run.series(tuned[0].series), []
    for each in tuned:
        if (folder / step_name(each.step) / "run.json").is_file():
            record, location = read_json(each.folder / "run.json"), folder / step_name(each.step)
            tokens = None if each.kept_by else record.get("base_tokens")  # all kept ones have seen the base's text
            row = {"step": each.step, "location": location, "tokens": tokens, "parent": find_base(each.folder, run)}
            rows.append(row)
    if not rows:
        return
    axis = None
    if kept_by := tuned[0].kept_by:
        axis = read_json(kept_by / "run.json")["axis"]
        rows.insert(0, {"step": 0, "location": rows[0]["parent"], "tokens": None, "parent": None})
    write_series(folder, f"{run.root.name} {folder.name}", rows, axis=axis)


def describe(facts: dict[str, Any], s: Settings) -> str:
    """What was found, in a line."""
    from_base = f"from the base's by {facts['base_difference']:.2f} standard deviations"
    if "adapter_difference" in facts:
        told = f"logits differ from the adapter's by {facts['adapter_difference']:.1e}, {from_base}"
    else:
        told = f"a whole model, whose logits differ {from_base}"
    same = f"{facts['same_text_written']} of {facts['prompts']} greedy answers the same"
    return f"{told}; {same}; {facts['unchanged']['all']:.1%} of the tuned matrices' weights unchanged in {s.dtype}"


def merge(base: str, tuned: Tuned, folder: Path, format: Any, data: Path, s: Settings) -> dict[str, Any]:
    """Writes the merged model of one step. Refuses a merge unlike its adapter, and one like its base."""
    import torch  # late: a finished stage says so at once
    from peft import PeftModel

    from finetune import merge_checks as checks
    from snakmodel.models import load_model, load_tokenizer, logit_difference

    tokenizer, dtype = load_tokenizer(base), getattr(torch, s.dtype)
    model = load_model(base, dtype=torch.float32)
    questions = checks.Questions(tokenizer, format, data / "train.parquet", s.prompts, s.new_tokens)
    of_base = questions.logits(model)
    before = load_model(base, dtype="auto").state_dict()  # as stored: half the memory
    if tuned.is_adapter:
        changes = checks.Changes(tuned.weights)
        if "lm_head.weight" in changes and model.config.tie_word_embeddings:
            checks.untie(model)
        adapter = PeftModel.from_pretrained(model, tuned.weights).eval()
        of_tuned, said = questions.logits(adapter), questions.answers(adapter)
        merged = adapter.merge_and_unload()
        checks.check_matrices(before, merged.state_dict(), changes, str(folder))
        facts = checks.compare(of_base, of_tuned, questions.logits(merged), s.tolerance, str(folder))
        facts["same_text"] = questions.same(merged, said)
        names = list(changes)
    else:
        merged = model = load_model(tuned.weights, dtype=torch.float32)
        of_tuned, said = questions.logits(merged), questions.answers(merged)
        facts = {"base_difference": checks.difference_from_base(of_tuned, of_base, str(folder))}
        names = [name for name, tensor in merged.state_dict().items() if tensor.ndim == 2]
    facts |= {"prompts": len(said), "new_tokens": s.new_tokens}
    facts["unchanged"] = checks.unchanged(before, merged.state_dict(), names, dtype)
    del before
    merged.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    add_older_keys(folder)
    checks.check_written(merged, load_model(folder, dtype="auto"), str(folder))
    written = merged.float()
    facts["written_difference"] = logit_difference(questions.logits(written), of_tuned)
    return facts | {"same_text_written": questions.same(written, said)}


if __name__ == "__main__":
    run_script(main)
