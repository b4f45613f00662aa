"""Let the first, middle and last step of each series continue the same prompts.

python analyze/samples.py --config configs/tiny.yaml
"""

from dataclasses import dataclass
from pathlib import Path

from analyze.generation import Sampling, answer, load_model, longest_prompt
from analyze.tensors import local_folder
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.records import begin, write_json
from snakmodel.series import Checkpoint, read_series


@dataclass(kw_only=True)
class Settings(Sampling):
    prompts: list[str] = knob(help="texts to continue, as they stand: no chat template")
    series: list[str] = knob([PRETRAINED], "series to sample from: pretrained, or tuned variants")


def first_middle_last(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """The ends of a series and what lies halfway in the list; fewer if it is shorter."""
    return [checkpoints[i] for i in sorted({0, len(checkpoints) // 2, len(checkpoints) - 1})]


def continuations(folder: Path, settings: Settings) -> list[str]:
    """The model's text after each prompt."""
    from snakmodel.likelihood import encode

    model, tokenizer = load_model(folder)
    room = longest_prompt(model, settings)
    texts = []
    for prompt, ids in zip(settings.prompts, encode(tokenizer, settings.prompts), strict=True):
        if len(ids) > room:
            raise BadInput(f"the prompt {prompt[:30]!r}... has {len(ids)} tokens; {room} fit beside new_tokens")
        texts.append(answer(model, tokenizer, ids, settings))
    return texts


def main() -> None:
    command = read_command(Settings, "samples", __doc__)
    settings, run = command.settings, command.run
    chosen = [(name, c) for name in settings.series for c in first_middle_last(read_series(run.series(name)))]
    folders = [local_folder(c, f"{command.config}: samples.series {name}") for name, c in chosen]
    inputs = {f"{name} {step_name(c.step)}": c.source for name, c in chosen}
    work = begin(command, run.folder("samples"), inputs)
    if work is None:
        return
    rows = []
    for (name, checkpoint), folder in zip(chosen, folders, strict=True):
        for prompt, text in zip(settings.prompts, continuations(folder, settings), strict=True):
            rows.append({"series": name, "step": checkpoint.step, "prompt": prompt, "text": text})
            print(f"{name} {step_name(checkpoint.step)}: {prompt!r} -> {text[:70]!r}", flush=True)
    write_json(run.folder("samples") / "samples.json", {"rows": rows})
    work.finish(samples=len(rows))


if __name__ == "__main__":
    run_script(main)
