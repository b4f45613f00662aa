"""What a corpus should lose: texts in Danish's neighbours, junk, and near-duplicates."""

import random
import re

from runs.tiny_data import english
from runs.tiny_data.grammar import Grammar, paragraph, read_words, split_all


def no_phrase(rng: random.Random, form: str, kind: str) -> str:
    raise AssertionError("the neighbours' templates have no noun phrases")


GRAMMARS = {language: Grammar(split_all(tables), no_phrase) for language, tables in read_words("neighbours").items()}
MARKUP = '<div class="x"> </td></tr> &nbsp; {{{1}}} [[|]] <br/><br/> ]]> |- || <!-- --> %s%d {{!}} ::::'.split()
KEYS = ("asdfghjkl", "qwertyuiop", "zxcvbnm", "1234567890", "!?#%&/()=")
NEAR = 0.85  # least Jaccard similarity of the 5-grams of a near-duplicate and its original
SUBSTITUTES = ("altså", "igen", "nu", "dog", "ellers", "måske", "derfor", "åbenbart")


def foreign(rng: random.Random, language: str) -> str:
    """Some sentences of Norwegian Bokmål (no), Swedish (sv) or English (en)."""
    if language == "en":
        return english.story(rng)
    return paragraph(GRAMMARS[language].prose(rng, "sentence", 4, 6))


def junk(rng: random.Random) -> str:
    """Debris of markup, digits, or a hand on the keyboard; one line, not empty."""
    count = rng.randint(8, 25)
    match rng.randrange(3):
        case 0:
            words = rng.choices(MARKUP, k=count)
        case 1:
            words = [str(rng.randrange(10 ** rng.randint(1, 9))) for _ in range(count)]
        case _:
            words = ["".join(rng.choices(rng.choice(KEYS), k=rng.randint(3, 12))) for _ in range(count)]
    return " ".join(words)


def sentences(text: str) -> list[str]:
    """The sentences of a text, whatever lines they stand in."""
    return re.split(r"(?<=[.?!])\s+", text)


def shingles(text: str, size: int = 5) -> set[tuple[str, ...]]:
    """All runs of `size` words, lower-cased and without punctuation."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def jaccard(one: str, other: str) -> float:
    """5-grams that two texts share / all their 5-grams."""
    left, right = shingles(one), shingles(other)
    return len(left & right) / len(left | right)


def near_duplicate(rng: random.Random, text: str) -> str:
    """A text with last words cut, or words near its ends replaced, whose similarity to the given one is NEAR or more.

    Words near an end are part of fewer 5-grams than others. Texts of 40 words always have such a neighbour.
    """
    for _ in range(100):
        words = text.split(" ")
        if rng.random() < 0.5:
            words = words[: -rng.randint(1, 4)]
        else:
            for place in rng.sample([0, 1, -2, -1], rng.randint(1, 2)):
                words[place] = rng.choice(SUBSTITUTES)
        changed = " ".join(words)
        if shingles(changed) != shingles(text) and jaccard(text, changed) >= NEAR:
            return changed
    raise AssertionError(f"no near-duplicate of {text!r}")
