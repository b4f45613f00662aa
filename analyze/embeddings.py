"""Find the tokens whose embeddings have moved most and least since the series' first step.

python analyze/embeddings.py --config configs/tiny.yaml
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyze.generation import load_tokenizer
from analyze.tensors import combine, list_tensors, parse_name, read_tensor, unfinished_steps
from snakmodel.config import knob, read_command, run_script
from snakmodel.paths import PRETRAINED

MATRICES = ("embed_tokens", "lm_head")  # one row a token; tied models store the first only
NAMED = 5  # tokens named in a step's line


@dataclass
class Settings:
    series: list[str] = knob([PRETRAINED], "series to measure: pretrained, or tuned variants", execution=True)
    steps: str = knob("all", "steps to measure: all, first, last, 500,1000 or 500:12500:500", execution=True)
    top_k: int = knob(20, "tokens listed at either end (the paper: 200)", low=1)


def compare(base: Path, model: Path, top_k: int) -> Iterator[dict[str, Any]]:
    """One row a matrix of token vectors in two model folders; tokens are named by the second one's tokenizer."""
    base_tensors, tensors = list_tensors(base), list_tensors(model)
    vocabulary = {row: token for token, row in load_tokenizer(model).get_vocab().items()}
    for name in sorted(tensors):
        matrix = parse_name(name)[1]
        if matrix in MATRICES:
            changes_V = token_changes(read_tensor(base_tensors, name), read_tensor(tensors, name))
            yield {"matrix": matrix, **summary(changes_V, vocabulary, top_k)}


def token_changes(base_VD: np.ndarray, changed_VD: np.ndarray) -> np.ndarray:
    """Sum of |difference| over each token's vector, [vocabulary], in the unit of the weights: the paper's measure."""
    return np.abs(base_VD - changed_VD).sum(axis=1, dtype=np.float64)


def summary(changes_V: np.ndarray, vocabulary: dict[int, str], top_k: int) -> dict[str, Any]:
    """Spread of the tokens' changes and the ends of their order; equal changes stand in the vocabulary's order.

    Rows without a token (a vocabulary padded to a round number) count, and are named "row 32001".
    """

    def listed(order: np.ndarray) -> list[dict[str, Any]]:
        return [{"token": vocabulary.get(int(i), f"row {i}"), "change": float(changes_V[i])} for i in order[:top_k]]

    return {
        "mean": float(changes_V.mean()),
        "minimum": float(changes_V.min()),
        "maximum": float(changes_V.max()),
        "share_above_mean": float((changes_V > changes_V.mean()).mean()),
        "most": listed(np.argsort(-changes_V, kind="stable")),
        "least": listed(np.argsort(changes_V, kind="stable")),
    }


def main() -> None:
    command = read_command(Settings, "embeddings", __doc__)
    settings = command.settings
    for step in unfinished_steps(command, settings.series, settings.steps):
        rows = list(compare(Path(step.base.location), Path(step.checkpoint.location), settings.top_k))
        step.finish(rows)
        for row in rows:
            tokens = ", ".join(f"{change['token']} {change['change']:.3g}" for change in row["most"][:NAMED])
            print(f"{step.label}: {row['matrix']} mean {row['mean']:.3g}, most: {tokens}", flush=True)
    if not command.check:
        combine(command)


if __name__ == "__main__":
    run_script(main)
