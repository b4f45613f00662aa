"""Find the tokens whose embeddings have moved most and least since the series' first step.

python analyze/embeddings.py --config configs/tiny.yaml
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyze.tensors import Row, SeriesSettings, compare_steps, read_pairs
from snakmodel.config import knob, read_command, run_script


@dataclass
class Settings(SeriesSettings):
    top_k: int = knob(20, "tokens listed at either end (the paper: 200)", low=1)


def compare(base: Path, model: Path, settings: Settings) -> list[Row]:
    """One row a matrix of token vectors (tied models have one); tokens are named by the second model's tokenizer."""
    from snakmodel.models import load_tokenizer  # late: a finished stage says so at once

    tokens = {row: token for token, row in load_tokenizer(model).get_vocab().items()}
    pairs = read_pairs(base, model, "embed_tokens", "lm_head")
    return [{"matrix": what["type"]} | changes(before, after, tokens, settings.top_k) for what, before, after in pairs]


def changes(before_VD: np.ndarray, after_VD: np.ndarray, tokens: dict[int, str], top_k: int) -> Row:
    """The paper's measure, sum of |difference| over each token's vector in the unit of the weights: spread and ends.

    Rows without a token (a vocabulary padded to a round number) count, and are named "row 32001".
    """
    changes_V = np.abs(before_VD - after_VD).sum(axis=1, dtype=np.float64)
    order = np.argsort(-changes_V, kind="stable").tolist()
    ranked = [{"token": tokens.get(row, f"row {row}"), "change": float(changes_V[row])} for row in order]
    return {
        "mean": float(changes_V.mean()),
        "minimum": float(changes_V.min()),
        "maximum": float(changes_V.max()),
        "share_above_mean": float((changes_V > changes_V.mean()).mean()),
        "most": ranked[:top_k],
        "least": ranked[::-1][:top_k],
    }


def main() -> None:
    compare_steps(read_command(Settings, "embeddings", __doc__), compare)


if __name__ == "__main__":
    run_script(main)
