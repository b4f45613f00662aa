"""Which optimiser steps are skipped: a loss or gradient that is not finite, or far above what was usual."""

from typing import Any

import torch

WINDOW = 128  # accepted steps that say what is usual


def accepted(rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """(loss, gradient norm) of the newest steps of a log that were not skipped: what a guard knows."""
    return [(row["loss"], row["gradient_norm"]) for row in rows if "loss" in row][-WINDOW:]


class Guard:
    """Decides on the device, so that the host need not wait; what it knows is in the log, so it resumes from there."""

    def __init__(self, deviations: float | None, usual: list[tuple[float, float]], device: torch.device) -> None:
        """usual: (loss, gradient norm) of the newest steps that were not skipped."""
        self.deviations = deviations
        known = torch.tensor(usual[-WINDOW:], dtype=torch.float32).reshape(-1, 2).T
        unknown = torch.full((2, WINDOW - known.shape[1]), torch.nan)
        self.recent_2W = torch.cat([unknown, known], dim=1).to(device)

    def refuses(self, loss: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """1 where the step must be skipped, else 0: a float32 scalar on the device.

        A spike is a loss or norm above mean + `deviations` standard deviations of the last WINDOW accepted steps, as
        in OLMo 2's runs (2024, section 3.2); before there are as many, nothing is a spike.
        """
        seen_2 = torch.stack([loss, norm]).float()
        bad = ~seen_2.isfinite().all()
        if self.deviations is not None:
            deviation_2, mean_2 = torch.std_mean(self.recent_2W, dim=1)
            bad |= (seen_2 > mean_2 + self.deviations * deviation_2).any()  # never above a limit that is NaN
        newer_2W = torch.cat([self.recent_2W[:, 1:], seen_2[:, None]], dim=1)
        self.recent_2W = torch.where(bad, self.recent_2W, newer_2W)
        return bad.float()
