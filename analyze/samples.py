"""Let the first, middle and last step of each series continue the same prompts.

python analyze/samples.py --config configs/tiny.yaml
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyze.tensors import local_folder
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.records import begin, write_json
from snakmodel.series import read_series


@dataclass
class Sampling:
    new_tokens: int = knob(40, "longest answer, in tokens", low=1)
    temperature: float = knob(0.8, "divides the logits before sampling; 0 takes the likeliest token", low=0)
    top_p: float = knob(0.95, "sample among the likeliest tokens that hold this much probability", above=0, high=1)
    seed: int = knob(8446, "set anew for every prompt, whose answer never depends on what was asked before", low=0)


@dataclass(kw_only=True)
class Settings(Sampling):
    prompts: list[str] = knob(help="texts to continue, as they stand: no chat template")
    series: list[str] = knob([PRETRAINED], "series to sample from: pretrained, or tuned variants")


def load_model(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a folder, on the accelerator if there is one, in the type that it is stored in."""
    from snakmodel import models  # late: a finished stage says so at once

    return models.load_model(folder, dtype="auto", device_map="auto"), models.load_tokenizer(folder)


def answer(model: Any, tokenizer: Any, ids: list[int], sampling: Sampling, streamer: Any = None) -> str:
    """The model's continuation of these tokens, without special tokens; a TextStreamer shows it as it comes."""
    import torch

    positions = model.config.max_position_embeddings
    if len(ids) + sampling.new_tokens > positions:
        wanted = f"a prompt of {len(ids)} tokens and new_tokens {sampling.new_tokens}"
        raise BadInput(f"{wanted} do not fit into the model's {positions} positions; shorten one")
    torch.manual_seed(sampling.seed)
    ids_BT = torch.tensor([ids], device=model.device)
    options = {"max_new_tokens": sampling.new_tokens, "pad_token_id": tokenizer.eos_token_id, "do_sample": False}
    if sampling.temperature > 0:  # top_k 0: the library would otherwise cut at 50 tokens without being asked
        options |= {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    output_BT = model.generate(ids_BT, attention_mask=torch.ones_like(ids_BT), streamer=streamer, **options)
    return tokenizer.decode(output_BT[0, len(ids) :], skip_special_tokens=True)


def main() -> None:
    command = read_command(Settings, "samples", __doc__)
    settings, run = command.settings, command.run
    chosen = []
    for series in settings.series:
        checkpoints = read_series(run.series(series))
        for place in sorted({0, len(checkpoints) // 2, len(checkpoints) - 1}):
            chosen.append((series, checkpoints[place], local_folder(checkpoints[place])))
    inputs = {f"{series} {step_name(checkpoint.step)}": checkpoint.source for series, checkpoint, _ in chosen}
    work = begin(command, run.folder("samples"), inputs, derived=True)
    if work is None:
        return
    from snakmodel.likelihood import encode  # late: it imports torch

    rows = []
    for series, checkpoint, folder in chosen:
        model, tokenizer = load_model(folder)
        for prompt, ids in zip(settings.prompts, encode(tokenizer, settings.prompts), strict=True):
            text = answer(model, tokenizer, ids, settings)
            rows.append({"series": series, "step": checkpoint.step, "prompt": prompt, "text": text})
            print(f"{series} {step_name(checkpoint.step)}: {prompt!r} -> {text[:70]!r}", flush=True)
        del model  # before the next one is loaded
    write_json(run.folder("samples") / "samples.json", {"rows": rows})
    work.finish(samples=len(rows))


if __name__ == "__main__":
    run_script(main)
