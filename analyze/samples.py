"""Let the first, middle and last step of each series continue the same prompts.

python analyze/samples.py --config configs/tiny.yaml
"""

from dataclasses import dataclass

from analyze.speakers import Choice, Sampling, Speaker, load_speaker, room, speak, text_ids
from analyze.tensors import local_folder
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.records import begin, write_json
from snakmodel.series import read_series


@dataclass(kw_only=True)
class Settings(Sampling):
    prompts: list[str] = knob(help="texts to continue, as they stand: no chat template")
    series: list[str] = knob([PRETRAINED], "series to sample from: pretrained, or tuned variants")


def continuation(speaker: Speaker, prompt: str, sampling: Sampling) -> str:
    """What a model writes after a prompt; raises BadInput where there is not enough room for new_tokens."""
    ids = text_ids(speaker, prompt)
    if room(speaker, ids) < sampling.new_tokens:
        wanted = f"a prompt of {len(ids)} tokens and new_tokens {sampling.new_tokens}"
        raise BadInput(f"{wanted} do not fit into the model's {room(speaker, [])} positions; shorten one")
    return "".join(piece.text for piece in speak(speaker, ids, sampling))


def main() -> None:
    command = read_command(Settings, "samples", __doc__)
    settings, run = command.settings, command.run
    if not settings.prompts:
        raise BadInput(f"{command.config}: samples.prompts names no text to continue")
    chosen = []
    for series in settings.series:
        checkpoints = read_series(run.series(series))
        for place in sorted({0, len(checkpoints) // 2, len(checkpoints) - 1}):
            chosen.append((series, checkpoints[place], local_folder(checkpoints[place])))
    inputs = {f"{series} {step_name(checkpoint.step)}": checkpoint.source for series, checkpoint, _ in chosen}
    work = begin(command, run.folder("samples"), inputs, derived=True)
    if work is None:
        return
    rows = []
    for series, checkpoint, folder in chosen:
        speaker = load_speaker(series, str(folder), Choice())
        for prompt in settings.prompts:
            text = continuation(speaker, prompt, settings)
            rows.append({"series": series, "step": checkpoint.step, "prompt": prompt, "text": text})
            print(f"{series} {step_name(checkpoint.step)}: {prompt!r} -> {text[:70]!r}", flush=True)
        del speaker  # before the next one is loaded
    write_json(run.folder("samples") / "samples.json", {"rows": rows})
    work.finish(samples=len(rows))


if __name__ == "__main__":
    run_script(main)
