"""Accuracy by scikit-learn, for evaluate.load("accuracy") without the Hub."""

import datasets
import sklearn.metrics

import evaluate


class Accuracy(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="Accuracy", citation="", features=features)

    def _compute(self, predictions, references):
        return {"accuracy": float(sklearn.metrics.accuracy_score(references, predictions))}
