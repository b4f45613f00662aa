"""Which steps of a series are compared with which others: what `against` in a recipe means, to those who measure and
to those who ask what is left to measure.
"""

from typing import Literal, get_args

ADAPTERS = "adapters:"  # "adapters:VARIANT": the updates of a tuned variant, as they were tuned, before any merge
FIRST = ":first"  # "SERIES:first": the first step of a series
OWN = ("base", "previous")  # of the series itself; all others are other series

Group = Literal["change", "norm", "subspace_angle", "singular_angles", "energy_angles", "effective_rank"]
GROUPS: tuple[Group, ...] = get_args(Group)  # of measures, each with a record of its own


def words_of(name: str, against: list[str]) -> list[str]:
    """The words of `against` that say something of a series: none is compared with itself, adapters with no other."""
    words = [word for word in against if word.removesuffix(FIRST) != name]
    return [word for word in words if word in OWN or not name.startswith(ADAPTERS)]


def compared(
    name: str, steps: list[int], against: list[str], others: dict[str, list[int]]
) -> dict[int, dict[str, int]]:
    """Step -> word of `against` -> the step that it is compared with; what has no such step is not there.

    others: the steps of the other series, by their words. The base of adapters is the model that each was tuned on.
    """
    found: dict[int, dict[str, int]] = {}
    for place, step in enumerate(steps):
        for word in words_of(name, against):
            candidates: list[int]
            if word == "base" and name.startswith(ADAPTERS):
                candidates = [step]
            elif word in OWN:
                candidates = [steps[0 if word == "base" else place - 1]] if place else []
            elif word.endswith(FIRST):
                candidates = others[word][:1]
            else:
                candidates = [step] if step in others[word] else []
            for other in candidates:
                found.setdefault(step, {})[word] = other
    return found
