"""Intervals: of shares, and of scores what they are of, said the same in tables, figures and the report."""

INTERVALS = {  # of scores, by whether the built-in scorer gave them
    True: "of the score itself, as another test set of this size would give it",
    False: "of the mean of the resamples",
}


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which is no point where the count is 0; of none it is unknown."""
    from scipy.stats import binomtest  # late: slow to import

    if not of:
        return 0.0, 1.0
    interval = binomtest(count, of).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
