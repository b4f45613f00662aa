"""Metrics of classification, their level at chance, and ScandEval's bootstrap. Scores are 0..1 (MCC -1..1)."""

import numpy as np

HALF_WIDTH = 1.96  # standard deviations either side of the mean that hold 95 % of a normal distribution


def accuracy(answers: np.ndarray, predicted: np.ndarray) -> float:
    """Share of right predictions."""
    return float((answers == predicted).mean())


def macro_f1(answers: np.ndarray, predicted: np.ndarray) -> float:
    """Mean of the classes' F1 = 2 hits / (answers + predictions), over the classes that occur among either."""
    scores = [
        2 * ((answers == label) & (predicted == label)).sum() / ((answers == label).sum() + (predicted == label).sum())
        for label in np.union1d(answers, predicted)
    ]
    return float(np.mean(scores))


def mcc(answers: np.ndarray, predicted: np.ndarray) -> float:
    """Matthews' correlation coefficient for any number of classes (Gorodkin 2004); 0 where it is undefined."""
    labels = np.union1d(answers, predicted)
    answered = np.array([(answers == label).sum() for label in labels], dtype=float)
    guessed = np.array([(predicted == label).sum() for label in labels], dtype=float)
    count, right = float(len(answers)), float((answers == predicted).sum())
    spread = (count**2 - (guessed**2).sum()) * (count**2 - (answered**2).sum())
    return float((right * count - (answered * guessed).sum()) / np.sqrt(spread)) if spread > 0 else 0.0


METRICS = {"accuracy": accuracy, "macro_f1": macro_f1, "mcc": mcc}


def chance_level(metric: str, answers: np.ndarray, options: list[np.ndarray]) -> float:
    """The score of drawing one of each item's options at random; options: the classes to choose from, item by item.

    Accuracy: mean of 1 / options. Macro-F1: F1 of the expected counts, which is its limit for many items. MCC: 0.
    """
    if metric == "mcc":
        return 0.0
    draw = np.array([1 / len(labels) for labels in options])
    if metric == "accuracy":
        return float(draw.mean())
    assert metric == "macro_f1", metric
    scores = []
    for label in np.unique(np.concatenate(options)):
        offered = np.array([label in labels for labels in options])
        scores.append(2 * draw[answers == label].sum() / ((answers == label).sum() + draw[offered].sum()))
    return float(np.mean(scores))


def resample(count: int, resamples: int, seed: int) -> np.ndarray:
    """Indices [resamples, count] drawn with replacement: the same for every step, so steps are compared in pairs."""
    return np.random.default_rng(seed).integers(0, count, size=(resamples, count))


def classification_scores(answers: np.ndarray, predicted: np.ndarray, draws: np.ndarray) -> list[dict[str, float]]:
    """Every metric on each resample. draws: indices [resamples, items]."""
    return [{name: score(answers[draw], predicted[draw]) for name, score in METRICS.items()} for draw in draws]


def bits_per_byte_scores(bits: np.ndarray, sizes: np.ndarray, draws: np.ndarray) -> list[dict[str, float]]:
    """Sum of bits / sum of bytes on each resample. draws: indices [resamples, documents]."""
    return [{"bits_per_byte": float(bits[draw].sum() / sizes[draw].sum())} for draw in draws]


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
        mean, deviation = float(scores.mean()), float(scores.std(ddof=1))
        total[f"test_{metric}"] = mean
        total[f"test_{metric}_se"] = HALF_WIDTH * deviation / len(raw) ** 0.5
        interval[f"test_{metric}"] = [mean - HALF_WIDTH * deviation, mean + HALF_WIDTH * deviation]
    return total, interval
