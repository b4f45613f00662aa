"""The learning rate, as a pure function of the step."""

import math

from pretrain.recipe import Settings, total_steps


def learning_rate(step: int, s: Settings) -> float:
    """Rate of optimiser step `step` (1 ... the last): linear (re-)warm-up, then what `schedule` says.

    cosine: half a cosine from the peak to the minimum (Loshchilov & Hutter 2017, without restarts), as in Llama's and
    SnakModel's runs. wsd: constant, then an anneal to the minimum by 1 - sqrt (Hägele et al. 2024). constant: peak.
    """
    steps, peak, minimum = total_steps(s), s.learning_rate, s.minimum_learning_rate
    if step <= s.warmup_steps:
        return peak * step / s.warmup_steps
    if s.schedule == "cosine":
        done = (step - s.warmup_steps) / max(1, steps - s.warmup_steps)
        return minimum + (peak - minimum) * 0.5 * (1 + math.cos(math.pi * done))
    falling = max(0, step - (steps - s.anneal_steps)) if s.schedule == "wsd" else 0
    return peak - (peak - minimum) * math.sqrt(falling / s.anneal_steps) if falling else peak
