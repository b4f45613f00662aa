"""Micro-F1 of entities by seqeval, for evaluate.load("seqeval") without the Hub."""

import datasets
import seqeval.metrics

import evaluate


class Entities(evaluate.Metric):
    def _info(self):
        tags = datasets.Sequence(datasets.Value("string"))
        features = datasets.Features({"predictions": tags, "references": tags})
        return evaluate.MetricInfo(description="Micro-F1 of entities", citation="", features=features)

    def _compute(self, predictions, references):
        return {"overall_f1": float(seqeval.metrics.f1_score(y_true=references, y_pred=predictions))}
