"""Matthews' correlation by scikit-learn, for evaluate.load("matthews_correlation") without the Hub."""

import datasets
import sklearn.metrics

import evaluate


class MatthewsCorrelation(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="MCC", citation="", features=features)

    def _compute(self, predictions, references):
        return {"matthews_correlation": float(sklearn.metrics.matthews_corrcoef(references, predictions))}
