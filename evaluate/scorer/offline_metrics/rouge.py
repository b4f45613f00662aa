"""ROUGE-L by rouge-score, for evaluate.load("rouge") without the Hub."""

import datasets
from rouge_score.rouge_scorer import RougeScorer

import evaluate


class Rouge(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description="ROUGE-L", citation="", features=features)

    def _compute(self, predictions, references):
        scorer = RougeScorer(["rougeL"])
        scores = [scorer.score(*pair)["rougeL"].fmeasure for pair in zip(references, predictions, strict=True)]
        return {"rougeL": sum(scores) / len(scores)}
