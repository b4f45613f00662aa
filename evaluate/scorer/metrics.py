"""What libraries measure of answers, the score of each item, and ScandEval's bootstrap. Scores are 0..1 (MCC -1..1).

Ours are the SQuAD measures, which no installed library has, and adapters. Shapes: N items, K classes.
"""

import re
import string
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from sacrebleu.metrics.chrf import CHRF
from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from scorer.entities import without_misc

Scores = dict[str, float]
CLASSES: dict[str, Callable[..., float]] = {
    "accuracy": accuracy_score,
    "macro_f1": lambda answers, predicted, **options: f1_score(answers, predicted, average="macro", **options),
    "mcc": matthews_corrcoef,
}


def class_scores(answers_N: Sequence[int], predicted_N: Sequence[int], names: Sequence[str]) -> Scores:
    """scikit-learn's measures; macro-F1 is over the classes that occur among either, MCC 0 where it is undefined."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A single label was found")  # MCC is then 0, as it should be
        return {name: float(CLASSES[name](answers_N, predicted_N)) for name in names}


def chance_level(answers_N: Sequence[int], options_N: Sequence[int], name: str) -> float:
    """A measure where every option is as likely to be predicted: of the expected numbers of right and wrong answers.

    Each item stands there once for each of its options, with as much less weight. Exact for accuracy; of macro-F1 the
    limit for many items, of which the mean for N items is short by about 1 / N.
    """
    answers = [answer for answer, count in zip(answers_N, options_N, strict=True) for _ in range(count)]
    predicted = [option for count in options_N for option in range(count)]
    weights = [1 / count for count in options_N for _ in range(count)]
    return float(CLASSES[name](answers, predicted, sample_weight=weights))


def entity_scores(answers: Sequence[list[str]], predicted: Sequence[list[str]]) -> Scores:
    """seqeval's micro-F1 with and without MISC; 1 where there are no entities and none were found, as in ScandEval."""
    scores = {}
    for name, change in (("micro_f1_no_misc", without_misc), ("micro_f1", list)):
        pair = [[change(tags) for tags in each] for each in (answers, predicted)]
        empty = all(tag == "O" for each in pair for tags in each for tag in tags)
        scores[name] = 1.0 if empty else float(entity_f1(*pair, zero_division=0))
    return scores


def normalise(text: str) -> str:
    """A text as SQuAD compares it: small letters, no punctuation, no English articles, single spaces."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(answers: Sequence[str], predicted: str) -> float:
    """Whether an answer equals one of the right ones (Rajpurkar et al. 2016)."""
    return float(any(normalise(answer) == normalise(predicted) for answer in answers))


def word_f1(answers: Sequence[str], predicted: str) -> float:
    """F1 of the words shared with the right answer that comes nearest (Rajpurkar et al. 2016)."""
    return max(shared_f1(normalise(answer).split(), normalise(predicted).split()) for answer in answers)


def shared_f1(answer: list[str], predicted: list[str]) -> float:
    """F1 of two bags of words; two empty ones are equal."""
    if not answer or not predicted:
        return float(answer == predicted)
    shared = sum((Counter(answer) & Counter(predicted)).values())
    return 2 * shared / (len(answer) + len(predicted))


class Words:
    """Splits texts for ROUGE: its own tokenizer takes æ, ø, å and all else beyond ASCII for spaces."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())


def rouge_l(answers: Sequence[list[str]], predicted: Sequence[str]) -> list[float]:
    """F1 of the longest common run of words, with gaps, of each text with the nearest of its right ones (Lin 2004)."""
    from rouge_score.rouge_scorer import RougeScorer  # late: it takes a second

    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    return [float(scorer.score_multi(*pair)["rougeL"].fmeasure) for pair in zip(answers, predicted, strict=True)]


def chrf(answers: Sequence[list[str]], predicted: Sequence[str]) -> float:
    """sacreBLEU's chrF of all texts together, each with the nearest of its right ones (Popović 2015)."""
    streams = list(zip_longest(*answers))  # sacreBLEU skips the None of texts that have fewer right ones
    return float(CHRF().corpus_score(list(predicted), streams).score) / 100


def resample(count: int, resamples: int, seed: int) -> np.ndarray:
    """Indices [resamples, count] drawn with replacement: the same for every step, so steps are compared in pairs."""
    return np.random.default_rng(seed).integers(0, count, size=(resamples, count))


def summarise(raw: list[Scores], scale: float) -> tuple[Scores, dict[str, list[float]]]:
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


def draws(items: Sequence[Any], chosen: Sequence[int]) -> list[Any]:
    """The items of a resample."""
    return [items[index] for index in chosen]
