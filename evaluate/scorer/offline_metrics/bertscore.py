"""BERTScore by bert-score, for evaluate.load("bertscore") without the Hub; its model must lie in the Hub's cache."""

import bert_score
import datasets

import evaluate


class BertScore(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description="BERTScore", citation="", features=features)

    def _compute(self, predictions, references, model_type, device=None, batch_size=32):
        options = {"model_type": model_type, "device": device, "batch_size": batch_size}
        _, _, f1_N = bert_score.score(list(predictions), list(references), **options)
        return {"f1": f1_N.tolist()}
