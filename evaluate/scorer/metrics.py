"""Metrics of classification on indicators, and ScandEval's bootstrap. Scores are 0..1 (MCC -1..1).

Shapes: N items, K classes. answers_NK is 1 at the right class of an item, else 0; predicted_NK holds what was
predicted likewise, or the probability of predicting each class: at random, that gives a metric's level at chance.
"""

import numpy as np


def accuracy(answers_NK: np.ndarray, predicted_NK: np.ndarray) -> float:
    """Share of right predictions."""
    return float((answers_NK * predicted_NK).sum(1).mean())


def macro_f1(answers_NK: np.ndarray, predicted_NK: np.ndarray) -> float:
    """Mean of the classes' F1 = 2 hits / (answers + predictions), over the classes that occur among either."""
    hits_K = (answers_NK * predicted_NK).sum(0)
    occurrences_K = answers_NK.sum(0) + predicted_NK.sum(0)
    occurring_K = occurrences_K > 0
    return float((2 * hits_K[occurring_K] / occurrences_K[occurring_K]).mean())


def mcc(answers_NK: np.ndarray, predicted_NK: np.ndarray) -> float:
    """Matthews' correlation coefficient for any number of classes (Gorodkin 2004); 0 where it is undefined."""
    answers_NK, predicted_NK = (table - table.mean(0) for table in (answers_NK, predicted_NK))
    spread = np.sqrt((answers_NK**2).sum() * (predicted_NK**2).sum())
    return float((answers_NK * predicted_NK).sum() / spread) if spread > 0 else 0.0


METRICS = {"accuracy": accuracy, "macro_f1": macro_f1, "mcc": mcc}


def resample(count: int, resamples: int, seed: int) -> np.ndarray:
    """Indices [resamples, count] drawn with replacement: the same for every step, so steps are compared in pairs."""
    return np.random.default_rng(seed).integers(0, count, size=(resamples, count))


def summarise(raw: list[dict[str, float]], scale: float) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Mean and spread of the resamples' scores, times `scale`: (total, interval).

    total: `test_METRIC` is the mean, `test_METRIC_se` ScandEval's 1.96 sd / sqrt(resamples): how well the resamples
    fix their own mean. interval: mean +- 1.96 sd, the 95 % interval of the score as another test set of this size
    would give it; that is the one to judge by.
    """
    total: dict[str, float] = {}
    interval: dict[str, list[float]] = {}
    for metric in raw[0]:
        scores = scale * np.array([scores[metric] for scores in raw])
        mean, margin = float(scores.mean()), 1.96 * float(scores.std(ddof=1))
        total |= {f"test_{metric}": mean, f"test_{metric}_se": margin / len(raw) ** 0.5}
        interval[f"test_{metric}"] = [mean - margin, mean + margin]
    return total, interval
