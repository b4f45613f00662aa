"""F1 and exact match of answers as SQuAD 2 counts them (Rajpurkar et al. 2018), for evaluate.load("squad_v2") offline.

Texts are compared in lower case, without punctuation and English articles; the best of a question's answers counts.
"""

import re
import string
from collections import Counter

import datasets

import evaluate

TEXT = datasets.Value("string")


def words_of(text):
    """What is compared of an answer."""
    text = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def f1(answer, predicted):
    """Harmonic mean of precision and recall of the words; without words on one side, whether both have none."""
    one, other = words_of(answer), words_of(predicted)
    if not one or not other:
        return float(one == other)
    return 2 * sum((Counter(one) & Counter(other)).values()) / (len(one) + len(other))


class Squad(evaluate.Metric):
    def _info(self):
        predictions = {"id": TEXT, "prediction_text": TEXT, "no_answer_probability": datasets.Value("float32")}
        answers = datasets.Sequence({"text": TEXT, "answer_start": datasets.Value("int32")})
        features = datasets.Features({"predictions": predictions, "references": {"id": TEXT, "answers": answers}})
        return evaluate.MetricInfo(description="SQuAD 2", citation="", features=features)

    def _compute(self, predictions, references):
        exact, overlap = [], []
        for prediction, reference in zip(predictions, references, strict=True):
            answers = [answer for answer in reference["answers"]["text"] if words_of(answer)] or [""]
            said = prediction["prediction_text"]
            exact.append(max(float(words_of(answer) == words_of(said)) for answer in answers))
            overlap.append(max(f1(answer, said) for answer in answers))
        return {"exact": 100 * sum(exact) / len(exact), "f1": 100 * sum(overlap) / len(overlap)}
