"""Models to talk to: chosen from a run's series or by themselves, loaded with their tokenizers, and let speak.

A speaker chats where its tokenizer has a chat template, and continues text where it has none.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jinja2 import TemplateError

from snakmodel.config import BadInput, Command, knob
from snakmodel.paths import PRETRAINED
from snakmodel.prompts import Turns, prompt_ids, set_format
from snakmodel.series import choose, read_series, resolve_model
from snakmodel.settings import check_range, convert

WITHOUT_RUN = Path(__file__).parent.parent / "configs/prompt.yaml"  # the recipe of who has models and no run
MOST_SEED = 2**63 - 1  # what torch takes, and most other programs
Manner = Literal["own", "text", "chat", "alpaca", "concatenated"]


@dataclass
class Sampling:
    new_tokens: int = knob(40, "longest answer, in tokens", low=1)
    temperature: float = knob(0.8, "divides the logits before sampling; 0 takes the likeliest token", low=0)
    top_p: float = knob(0.95, "sample among the likeliest tokens that hold this much probability", above=0, high=1)
    seed: int = knob(
        8446, "set anew for every prompt, whose answer never depends on what was asked before", low=0, high=MOST_SEED
    )


def change(sampling: Sampling, name: str, value: Any, where: str) -> Sampling:
    """The sampling settings with one of them changed; raises BadInput, which begins with `where`, if it cannot be."""
    (setting,) = (f for f in fields(sampling) if f.name == name)
    value = convert(value, setting.type, where)
    check_range(value, setting.metadata, where)
    return replace(sampling, **{name: value})


@dataclass
class Choice:
    """Which models, and in what form."""

    series: list[str] = knob([PRETRAINED], "series of the run: pretrained, tuned variants, or hub:ORG/NAME")
    steps: str = knob("last", "their steps: all, first, last, numbers or START:STOP:STRIDE")
    models: list[str] = knob([], "models instead of series: folders, runs' folders, or Hub ids (ORG/NAME@REVISION)")
    format: Manner = knob(
        "own", "own: the tokenizer's chat template, or text where it has none; text: never a template"
    )
    bits: int | None = knob(None, "load matrices in 8 or 4 bits, by bitsandbytes; null: as they are stored")


@dataclass(frozen=True)
class Speaker:
    """A loaded model and its tokenizer."""

    name: str
    model: Any
    tokenizer: Any

    @property
    def chats(self) -> bool:
        """Whether it takes turns, by a chat template, or else continues text."""
        return bool(self.tokenizer.chat_template)

    @property
    def manner(self) -> str:
        """How it answers, for people."""
        return "chats" if self.chats else "continues text: its tokenizer has no chat template; format=chat gives it one"


End = Literal["stop", "length"]  # the model is done, or came to a stop; there is no more room


class Piece(NamedTuple):
    """Some of a text that a model writes."""

    text: str
    tokens: int  # that the model has written so far
    end: End | None  # why the text ends here, of its last piece


def find_models(command: Command[Any], choice: Choice) -> dict[str, str]:
    """Names and locations (folders or Hub ids) of the models chosen: SERIES@STEP, or as they were typed."""
    if choice.bits not in (None, 4, 8):
        raise BadInput(f"{command.section}.bits should be 4, 8 or null, got {choice.bits}")
    if choice.models:
        return {name: resolve_model(name) for name in choice.models}
    if command.config == WITHOUT_RUN:
        raise BadInput(
            "which model? Give models=FOLDER or models=ORG/NAME, or a run's recipe: --config configs/tiny.yaml"
        )
    return {
        f"{series}@{checkpoint.step}": checkpoint.location
        for series in choice.series
        for checkpoint in choose(read_series(command.run.series(series)), choice.steps, f"{command.section}.steps")
    }


def load_speaker(name: str, location: str, choice: Choice) -> Speaker:
    """A model on the accelerator if there is one, in the type that it is stored in or the bits that are wanted."""
    from snakmodel import models  # late: it imports torch

    tokenizer = models.load_tokenizer(location)
    if choice.format == "text":
        tokenizer.chat_template = None
    elif choice.format != "own":
        set_format(tokenizer, choice.format)
    options = {} if choice.bits is None else {"quantization_config": in_bits(choice.bits)}
    model = models.load_model(location, dtype="auto", device_map="auto", **options)
    if choice.bits == 4 and model.device.type == "cpu" and (odd := odd_widths(model)):
        raise BadInput(f"{location}: on a CPU, bitsandbytes has no 4 bits for matrices {odd} wide; take 8")
    return Speaker(name, model, tokenizer)


def odd_widths(model: Any) -> list[int]:
    """Widths of a model's matrices that are no multiple of bitsandbytes' blocks of 64 numbers."""
    from torch.nn import Linear

    return sorted({m.in_features for m in model.modules() if isinstance(m, Linear) and m.in_features % 64})


def in_bits(bits: int) -> Any:
    """bitsandbytes' way to load matrices as whole numbers of 8 bits, or as 4-bit normal floats."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadInput(f"bits {bits} needs bitsandbytes: pip install bitsandbytes, or leave bits out")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=bits == 8, load_in_4bit=bits == 4, bnb_4bit_quant_type="nf4")


def chat_ids(speaker: Speaker, turns: Turns) -> list[int]:
    """The tokens of a conversation up to where the next answer begins."""
    try:
        return prompt_ids(speaker.tokenizer, turns)
    except TemplateError as error:
        raise BadInput(f"{speaker.name}: its chat template refuses this: {error}") from None


def text_ids(speaker: Speaker, text: str) -> list[int]:
    """The tokens of a text to continue."""
    from snakmodel.likelihood import encode  # late: it imports torch

    return encode(speaker.tokenizer, [text])[0]


def room(speaker: Speaker, ids: list[int]) -> int:
    """How many tokens the model can write after these."""
    from snakmodel.shared_prefix import longest_input  # late: it imports torch

    return longest_input(speaker.model) - len(ids)


def check_room(speaker: Speaker, ids: list[int]) -> None:
    """Refuses a prompt after which the model can write nothing."""
    if room(speaker, ids) < 1:
        raise BadInput(f"{speaker.name}: {len(ids)} tokens fill its {room(speaker, [])} positions; shorten the prompt")


def speak(speaker: Speaker, ids: list[int], sampling: Sampling, stops: tuple[str, ...] = ()) -> Iterator[Piece]:
    """The continuation of these tokens, piece by piece, without special tokens, up to the first of the `stops`.

    It ends with the model's end of text, after new_tokens, or where the model has no more room. A piece ends between
    characters, and holds nothing that may turn out to be the beginning of a stop.
    """
    check_room(speaker, ids)
    tokenizer, written, shown = speaker.tokenizer, list[int](), 0
    before = len(tokenizer.decode(ids, skip_special_tokens=True))
    # None comes after the last token: what was held back until then is shown
    for token in chain(pick_tokens(speaker, ids, sampling), [None]):
        written += [] if token is None else [token]
        # with what stands before it, or SentencePiece's would lose the space before its first word
        text = tokenizer.decode(ids + written, skip_special_tokens=True)[before:]
        found = [place for place in map(text.find, stops) if place >= 0]
        if found or token is None:
            full = len(written) == min(sampling.new_tokens, room(speaker, ids))
            end: End = "length" if full and not found else "stop"
            yield Piece(text[shown : min(found, default=len(text))], len(written), end)
            return
        certain = len(text.rstrip("\ufffd")) - beginnings(text, stops)
        if certain > shown:
            yield Piece(text[shown:certain], len(written), None)
            shown = certain


def reply(speaker: Speaker, ids: list[int], sampling: Sampling, stops: tuple[str, ...] = ()) -> Iterator[Piece]:
    """What `speak` says, from its first character that is no space: a template puts that space there itself."""
    begun = False
    for piece in speak(speaker, ids, sampling, stops):
        text = piece.text if begun else piece.text.lstrip()
        begun = begun or bool(text)
        yield piece._replace(text=text)


def beginnings(text: str, stops: tuple[str, ...]) -> int:
    """Length of the longest end of a text that is the beginning of a stop."""
    lengths = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
    return max(lengths, default=0)


def pick_tokens(speaker: Speaker, ids: list[int], sampling: Sampling) -> Iterator[int]:
    """The tokens that a model writes, up to its end of text.

    Each text draws from a generator of its own, on the CPU: the same seed gives the same text alone, beside others,
    and on any device whose logits are the same. No top-k, which the library would apply without being asked.
    """
    import torch
    from transformers import TopPLogitsWarper

    model = speaker.model
    ends = model.generation_config.eos_token_id
    stop = {speaker.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    draws = torch.Generator().manual_seed(sampling.seed)
    cache, ids_BT = None, torch.tensor([ids], device=model.device)
    for _ in range(min(sampling.new_tokens, room(speaker, ids))):
        with torch.inference_mode():
            output = model(input_ids=ids_BT, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, logits_BV = output.past_key_values, output.logits[:, -1].float().cpu()
        most = logits_BV.max()
        if not most.isfinite():
            raise BadInput(
                f"{speaker.name}: its output is not finite (its training diverged, or its weights are damaged)"
            )
        if sampling.temperature > 0:
            # below the largest, and by no less than float32 has: a temperature near 0 is that of the likeliest token
            scaled_BV = (logits_BV - most) / max(sampling.temperature, torch.finfo(torch.float32).tiny)
            likely_BV = TopPLogitsWarper(sampling.top_p)(ids_BT, scaled_BV)
            token = int(torch.multinomial(likely_BV.softmax(-1), 1, generator=draws))
        else:
            token = int(logits_BV.argmax())
        if token in stop:
            return
        yield token
        ids_BT = torch.tensor([[token]], device=model.device)
