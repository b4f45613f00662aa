"""Merge each adapter into its base, check that the merged model says what the adapter said, and write the tuned series.

python finetune/merge.py --config configs/tiny.yaml
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.fingerprints import hash_folder
from snakmodel.paths import PRETRAINED, step_name, step_of
from snakmodel.records import begin, is_current, missing
from snakmodel.series import Checkpoint, check_weights, read_series, write_series


@dataclass
class Settings:
    variant: str = knob(help="the tuned series to merge; finetune.variant")
    dtype: Literal["float32", "bfloat16", "float16"] = knob("float32", "of the merged weights; merging is in float32")
    tolerance: float = knob(1e-3, "largest logit difference of merge and adapter, in standard deviations", above=0)


def main() -> None:
    command = read_command(Settings, "merge", __doc__)
    s, run = command.settings, command.run
    adapters = run.folder("finetune") / s.variant
    folders = {step_of(p.parent.name): p.parent for p in sorted(adapters.glob("step-*/run.json"))}
    if not folders:
        raise BadInput(missing(adapters / "step-*/run.json"))
    bases = {checkpoint.step: checkpoint for checkpoint in read_series(run.series(PRETRAINED))}
    rows = []
    for step, adapter in folders.items():
        if step not in bases or not is_current(adapter, {"model": bases[step].source}):
            raise BadInput(f"{adapter} was tuned on a model that is no longer step {step} of the series; tune it again")
        folder, base = run.series(s.variant) / step_name(step), bases[step]
        rows.append({"step": step, "location": folder, "tokens": base.row["tokens"], "parent": base.location})
        work = begin(
            command, folder, {"model": base.source, "adapter": adapter, "instructions": run.folder("instructions")}
        )
        if work is None:
            continue
        check_weights(adapter)
        facts = merge(base, adapter, folder, run.folder("instructions") / "train.parquet", s)
        print(
            f"merge {step_name(step)}: logits differ from the adapter's by {facts['adapter_difference']:.1e}, "
            f"from the base's by {facts['base_difference']:.2f} standard deviations",
            flush=True,
        )
        work.finish(**facts, **hash_folder(folder))
    if not command.check:
        write_series(run.series(s.variant), f"{run.root.name} {s.variant}", rows)


def merge(base: Checkpoint, adapter: Path, folder: Path, data: Path, s: Settings) -> dict[str, Any]:
    """Writes the merged model of one step. Refuses a merge unlike its adapter, and one like its base."""
    import torch  # late: a finished stage says so at once
    from peft import PeftModel

    from snakmodel.documents import read_documents
    from snakmodel.models import add_older_keys, load_model, load_tokenizer, logit_difference
    from snakmodel.prompts import prompt_ids, set_format

    tokenizer = load_tokenizer(base.location)
    set_format(tokenizer, "chat")
    asked = [[{"role": "user", "content": row["text"]}] for row in islice(read_documents(data), 8)]
    questions = [prompt_ids(tokenizer, turns)[:256] for turns in asked]

    @torch.no_grad()
    def logits(model: Any) -> Any:
        """Every position of every question, one under the other: [positions, vocabulary], float32."""
        return torch.cat([model(input_ids=torch.tensor([ids])).logits[0].float() for ids in questions])

    model = load_model(base.location, dtype=torch.float32)
    of_base = logits(model)
    tuned = PeftModel.from_pretrained(model, adapter).eval()
    of_adapter = logits(tuned)
    merged = tuned.merge_and_unload()
    facts = compare(of_base, of_adapter, logits(merged), s.tolerance, str(folder))
    merged.to(getattr(torch, s.dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    add_older_keys(folder)
    written = logits(load_model(folder, dtype=torch.float32))
    return {**facts, "written_difference": logit_difference(written, of_adapter)}


def compare(base: Any, adapter: Any, merged: Any, tolerance: float, name: str) -> dict[str, float]:
    """Holds the merged model's logits against the adapter's and the base's."""
    from snakmodel.models import logit_difference

    facts = {"adapter_difference": logit_difference(merged, adapter), "base_difference": logit_difference(merged, base)}
    if not facts["adapter_difference"] <= tolerance:  # not <=: a NaN is refused too
        raise BadInput(
            f"{name}: merged logits are {facts['adapter_difference']:.3g} standard deviations from the adapter's, "
            f"more than merge.tolerance {tolerance}: not written"
        )
    if facts["base_difference"] == 0:
        raise BadInput(f"{name}: the merged model equals its base: the adapter is empty; tune it again")
    return facts


if __name__ == "__main__":
    run_script(main)
