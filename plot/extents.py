"""What the axis of a measure shows: at least what a reader should see of it, at most what the measure can be.

An axis that fits itself to values which are all but equal shows noise as mountains. So each has a least span, that of
its measure below, or twice the width of its intervals where these are wider. The numbers beside figures stay as they
are, also an interval that is symmetrical about a score near 0 and reaches below it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from statistics import median


@dataclass(frozen=True)
class Measure:
    """What its axis spans at least, and the ends that the measure itself has."""

    least: float
    low: float = -inf
    high: float = inf


POINTS = Measure(10, 0, 100)  # scores in percent
MCC = Measure(10, -100, 100)
GAIN = Measure(10, -100, 100)  # of one score above another, in points
BITS = Measure(0.05, 0)  # per byte
CHANGE = Measure(0.05)  # of bits per byte
NATS = Measure(0.1)  # per token: a loss, or a logarithm of likelihood
MAGNITUDE = Measure(0.5, high=0)  # logarithm to base 10 of a probability
SHARE = Measure(0.1, 0, 1)  # also ROUGE-L and AUC, of 0 to 1
DEGREES = Measure(0.2, 0, 90)
ANGLES = Measure(0.2, 0)  # degrees, added over matrices
RATIO = Measure(0.001, 0)  # relative Frobenius change
WEIGHT = Measure(1e-6, 0)  # mean absolute change of a weight
MOVED = Measure(0.01, 0)  # sum of absolute changes of a token's vector
COSINE = Measure(0.01, -1, 1)
SECONDS = Measure(0.01, 0)
AMOUNT = Measure(0.1, 0)  # tokens per second, GiB


def widen(low: float, high: float, measure: Measure, widths: Iterable[float] = ()) -> tuple[float, float]:
    """The ends of an axis that would go from `low` to `high`; widths: of the intervals that stand in it."""
    known = [width for width in widths if width > 0]
    least = max(measure.least, 2 * median(known) if known else 0)
    missing = max(least - (high - low), 0)
    low, high = max(low - missing / 2, measure.low), min(high + missing / 2, measure.high)
    if low == measure.low:  # the room that it lacks below is above
        high = max(high, min(low + least, measure.high))
    if high == measure.high:
        low = min(low, max(high - least, measure.low))
    return low, high
