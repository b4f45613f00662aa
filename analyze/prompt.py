"""Talk to any step of any series: Ctrl-C stops an answer, Ctrl-D leaves.

python analyze/prompt.py --config configs/tiny.yaml series=pretrained step=last
"""

import sys
from dataclasses import dataclass
from typing import Any

from analyze.generation import Sampling, answer, load_model, longest_prompt
from analyze.tensors import local_folder
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import PRETRAINED
from snakmodel.series import choose, read_series


@dataclass
class Settings(Sampling):
    series: str = knob(PRETRAINED, "series to talk to: pretrained, or a tuned variant")
    step: str = knob("last", "its step: first, last or a number")


def talk(model: Any, tokenizer: Any, settings: Settings, chat: bool) -> None:
    """Reads a line, streams the answer, until the input ends. In a chat every turn sees the ones before it."""
    import readline  # noqa: F401  its import gives input() line editing and history

    from transformers import TextStreamer

    from snakmodel.likelihood import encode

    # streams in this thread: a fault in the model is raised here and cannot leave the reader waiting
    streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    room = longest_prompt(model, settings)
    history: list[dict[str, str]] = []
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        except KeyboardInterrupt:
            say("\nCtrl-D leaves")
            continue
        if not line.strip():
            continue
        turns = [*history, {"role": "user", "content": line}]
        ids = chat_ids(tokenizer, turns) if chat else encode(tokenizer, [line])[0]
        while len(ids) > room and len(turns) > 1:
            turns = turns[2:]  # the oldest question and its answer
            ids = chat_ids(tokenizer, turns)
            say("(forgot the oldest turn: the model's positions are full)")
        if len(ids) > room:
            say(f"that has {len(ids)} tokens; {room} fit beside new_tokens")
            continue
        try:
            text = answer(model, tokenizer, ids, settings, streamer)
        except KeyboardInterrupt:
            streamer.end()
            say("(stopped)")
            continue
        if chat:
            history = [*turns, {"role": "assistant", "content": text}]


def chat_ids(tokenizer: Any, turns: list[dict[str, str]]) -> list[int]:
    """A chat as the tokens that the model was tuned on, up to where its answer begins; BOS is the template's."""
    return tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, add_generation_prompt=True)


def say(text: str) -> None:
    """Words of ours go to stderr, so that a pipe gets the model's alone."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    command = read_command(Settings, "prompt", __doc__)
    settings, where = command.settings, f"{command.config}: prompt.step"
    chosen = choose(read_series(command.run.series(settings.series)), settings.step, where)
    if len(chosen) != 1:
        raise BadInput(f"{where}: {settings.step!r} names {len(chosen)} steps; give one: first, last or a number")
    folder = local_folder(chosen[0], where)
    if command.check:
        print(f"prompt: ready ({folder})")
        return
    model, tokenizer = load_model(folder)
    tuned = settings.series != PRETRAINED
    chat = tuned and tokenizer.chat_template is not None
    if tuned and not chat:
        say(f"warning: {folder} has no chat template; lines go in as they stand, perhaps not as the model was tuned")
    manner = "chat, with its template and history" if chat else "plain continuation of each line"
    say(f"{settings.series} step {chosen[0].step} ({folder}): {manner}; Ctrl-C stops an answer, Ctrl-D leaves")
    talk(model, tokenizer, settings, chat)


if __name__ == "__main__":
    run_script(main)
