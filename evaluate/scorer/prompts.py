"""Few-shot prompts as ScandEval builds them, and how many examples a window has room for."""

import random
from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

from scorer.examples import Example, Wording
from snakmodel.config import BadInput
from snakmodel.likelihood import encode
from snakmodel.prompts import Turns, prompt_ids
from snakmodel.testsets import Task

SHORT = 512  # characters of a context that may be an example, as in ScandEval; doubled where too few are


class Prompt(NamedTuple):
    """What a model is asked about one item."""

    text: str | Turns  # turns where the tokenizer carries a chat template
    ids: list[int]
    shots: int
    cut: bool  # whether some of the item's own text had to go


def draw_shots(pool: Sequence[Example], task: Task, count: int, seed: int) -> list[Example]:
    """Examples for a prompt: every class in turn, of those with entities every kind in turn; no text twice.

    ScandEval draws anew for each of its ten resamples of the training split; ours are drawn once, the same for every
    item, resample and model.
    """
    rng = random.Random(seed)
    left = [example for example in rng.sample(pool, len(pool)) if traits(example, task)]
    if task == "reading":
        short, limit = left, SHORT
        while len(short := [each for each in left if len(each.slots["text"]) < limit]) < min(count, len(left)):
            limit *= 2
        left = short
    drawn: list[Example] = []
    for trait in cycle(sorted(set().union(*(traits(example, task) for example in left)))):
        if not left or len(drawn) == count:
            break
        found = next((example for example in left if trait in traits(example, task)), None)
        if found is not None:
            drawn.append(found)
            left = [example for example in left if example.slots["text"] != found.slots["text"]]
    rng.shuffle(drawn)
    return drawn


def traits(example: Example, task: Task) -> set[Any]:
    """What an example stands for: its class, the kinds of its entities, or nothing in particular."""
    if task == "entities":
        return {tag for tag in example.gold["tags"] if tag.startswith("B-")}
    return {example.gold} if example.options else {0}


def in_words(wording: Wording, shots: Sequence[Example], example: Example) -> str:
    """A prompt as one text, which ends where the answer begins."""
    parts = [wording.prefix] + [wording.shot.format(**shot.slots, label=shot.answer) for shot in shots]
    return "\n\n".join([*parts, wording.shot.format(**example.slots, label="").rstrip()])


def in_turns(wording: Wording, shots: Sequence[Example], example: Example) -> Turns:
    """A prompt as a conversation in which the examples have been answered."""
    turns = []
    for shot in shots:
        turns.append({"role": "user", "content": wording.instruction.format(**shot.slots)})
        turns.append({"role": "assistant", "content": shot.answer})
    return [*turns, {"role": "user", "content": wording.instruction.format(**example.slots)}]


def make_prompts(
    tokenizer: Any, wording: Wording, shots: list[Example], examples: Sequence[Example], window: int, room: int
) -> list[Prompt]:
    """A prompt for each item, with as many shots as leave `room` tokens of the window for the answer.

    The last shots are left out first, so that what prompts have in common stays long. An item that is too long by
    itself loses words: at its end where the answer is written, and at its beginning where it is chosen.
    """
    ask = in_turns if tokenizer.chat_template else in_words

    def tokens_of(text: str | Turns) -> list[int]:
        return encode(tokenizer, [text])[0] if isinstance(text, str) else prompt_ids(tokenizer, text)

    bare = [len(tokens_of(ask(wording, shots[:kept], examples[0]))) for kept in range(len(shots) + 1)]
    prompts = []
    for example in examples:
        own = len(tokens_of(ask(wording, [], example))) - bare[0]
        # a token may straddle a border, so the sizes of parts only tell where to begin
        kept = sum(1 for size in bare[1:] if size + own + room <= window)
        while kept < len(shots) and fits(tokens_of(ask(wording, shots[: kept + 1], example)), window, room):
            kept += 1
        ids = tokens_of(text := ask(wording, shots[:kept], example))
        while not fits(ids, window, room) and kept > 0:
            kept -= 1
            ids = tokens_of(text := ask(wording, shots[:kept], example))
        shorter = example
        while not fits(ids, window, room):
            shorter = shorten(shorter, window)
            ids = tokens_of(text := ask(wording, [], shorter))
        prompts.append(Prompt(text, ids, kept, shorter is not example))
    return prompts


def fits(ids: list[int], window: int, room: int) -> bool:
    return len(ids) + room <= window


def shorten(example: Example, window: int) -> Example:
    """An item without the tenth of its words that matters least to its question."""
    words = example.slots["text"].split(" ")
    if len(words) == 1:
        raise BadInput(
            f"{window} tokens have no room for item {example.id} and its answer; raise prompt_window, if set"
        )
    less = max(1, len(words) // 10)
    kept = words[less:] if example.options else words[:-less]
    return example._replace(slots=example.slots | {"text": " ".join(kept)})
