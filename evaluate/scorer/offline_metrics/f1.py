"""F1 by scikit-learn, for evaluate.load("f1") without the Hub."""

import datasets
import sklearn.metrics

import evaluate


class F1(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="F1", citation="", features=features)

    def _compute(self, predictions, references, average="binary"):
        return {"f1": float(sklearn.metrics.f1_score(references, predictions, average=average))}
