"""Train a judge of texts on annotated ones, and report how well it agrees with the annotator.

python pretrain/corpus/train_quality.py --config configs/quality.yaml

After FineWeb-Edu (Penedo et al. 2024, https://arxiv.org/abs/2406.17557, section 4), with the two scores of the National
Library of Norway's judges (https://huggingface.co/NbAiLab/nb-linguistic-quality-classifier, and its educational twin).
filter_quality.classifier names the folder that this writes. report.json: agreement and calibration on held-out texts.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pretrain.corpus.quality_model import HIGHEST, SCORES, fit_linear, load_scorer
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import text_fraction
from snakmodel.records import begin, read_jsonl, write_json

Scores = NDArray[np.float32]
ANNOTATIONS = "annotations.jsonl"


@dataclass
class Settings:
    annotations: str | None = knob(None, "JSONL: text, educational, linguistic; null: what annotate_quality wrote")
    backend: Literal["linear", "encoder"] = knob("linear", "n-grams on the CPU, or a neural encoder")
    held_out: float = knob(0.1, "share of the texts that only the report is made from", above=0, high=0.5)
    word_ngram: int = knob(2, "linear: words in the longest n-gram of words", low=1)
    character_ngram: int = knob(4, "linear: characters in an n-gram of characters", low=1)
    features: int = knob(2**18, "linear: hashed features of words, and again of characters", low=16)
    penalty: float = knob(1.0, "linear: L2", above=0)
    encoder: str = knob("NbAiLab/nb-bert-base", "encoder: model folder or Hub id")
    freeze: bool = knob(True, "encoder: train the head only, as FineWeb-Edu did")
    epochs: float = knob(20, "encoder: passes over the texts; FineWeb-Edu", above=0)
    learning_rate: float = knob(3e-4, "encoder: at the start, falling to 0; FineWeb-Edu", above=0)
    batch: int = knob(64, "encoder: texts at a time", low=1)
    tokens: int = knob(512, "encoder: of a text; the rest is not read", low=8)
    seed: int = knob(8446, "encoder: head's weights, order of the texts", low=0)


def main() -> None:
    command = read_command(Settings, "train_quality", __doc__)
    s, folder, annotated = command.settings, command.run.folder("train_quality"), command.run.folder("annotate_quality")
    source = annotated if s.annotations is None else Path(s.annotations)
    work = begin(command, folder, {"annotations": source})
    if work is None:
        return
    texts, scores_NK = read_annotations(source / ANNOTATIONS if s.annotations is None else source)
    held_N = np.array([text_fraction(text) < s.held_out for text in texts])  # its copies are on the same side
    if held_N.sum() < 10 or (~held_N).sum() < 10:
        raise BadInput(f"{source}: {len(texts)} texts, {held_N.sum()} of them held out, are too few; annotate more")
    learnt = [text for text, held in zip(texts, held_N, strict=True) if not held]
    if s.backend == "linear":
        names = ("backend", "word_ngram", "character_ngram", "features", "penalty")
        fit_linear(learnt, scores_NK[~held_N], {name: getattr(s, name) for name in names}, folder)
    else:
        fit_encoder(learnt, scores_NK[~held_N], s, folder)
    predicted_NK = load_scorer(folder)([text for text, held in zip(texts, held_N, strict=True) if held])
    report = {name: agreement(predicted_NK[:, k], scores_NK[held_N, k]) for k, name in enumerate(SCORES)}
    write_json(folder / "report.json", report)
    show(report)
    work.finish(trained_on=len(learnt), held_out=int(held_N.sum()), report=report)


def read_annotations(path: Path) -> tuple[list[str], Scores]:
    """N texts and their scores [N, 2]; raises BadInput for a line that lacks them."""
    texts, scores = [], []
    for number, row in enumerate(read_jsonl(path), start=1):
        given = [row.get(name) if isinstance(row, dict) else None for name in SCORES]
        if not all(isinstance(score, int | float) and 0 <= score <= HIGHEST for score in given):
            raise BadInput(f"{path}, line {number}: {', '.join(SCORES)} should be numbers from 0 to {HIGHEST}: {given}")
        if not isinstance(row.get("text"), str):
            raise BadInput(f"{path}, line {number}: no text")
        texts.append(row["text"])
        scores.append(given)
    return texts, np.array(scores, dtype=np.float32).reshape(-1, len(SCORES))


def fit_encoder(texts: list[str], scores_NK: Scores, s: Settings, folder: Path) -> None:
    """Trains an encoder with two outputs by least squares, and writes it; continues from its last epoch."""
    import torch  # late: a finished stage says so at once
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    from snakmodel.models import last_state, load

    torch.manual_seed(s.seed)
    tokenizer = load(AutoTokenizer, s.encoder)
    options = {"num_labels": len(SCORES), "problem_type": "regression", "use_safetensors": True}
    model = load(AutoModelForSequenceClassification, s.encoder, **options)
    model.base_model.requires_grad_(not s.freeze)
    if getattr(model.base_model, "pooler", None) is not None:
        model.base_model.pooler.requires_grad_(True)  # part of the head
    output = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == len(SCORES)][-1]
    output.bias.data.copy_(torch.from_numpy(scores_NK.mean(0)))  # else the head saturates on its way there
    examples = Dataset.from_dict(
        {**tokenizer(texts, truncation=True, max_length=s.tokens), "labels": scores_NK.tolist()}
    )
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=s.epochs,
        learning_rate=s.learning_rate,
        per_device_train_batch_size=s.batch,
        seed=s.seed,
        save_strategy="epoch",
        save_total_limit=1,
        logging_strategy="epoch",
        disable_tqdm=True,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = Trainer(model, arguments, DataCollatorWithPadding(tokenizer), train_dataset=examples)
    trainer.train(resume_from_checkpoint=last_state(folder / "trainer"))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "judge.json", {name: getattr(s, name) for name in ("backend", "tokens", "batch")})
    shutil.rmtree(folder / "trainer")


def agreement(predicted_N: Scores, given_N: Scores) -> dict[str, Any]:
    """How well predicted scores agree with those given, as numbers and, rounded, as the classes 0 to 5.

    kappa: Cohen's, with quadratic weights (Cohen 1968). calibration: the mean score given, by the score predicted.
    A number that cannot be told, because all scores are equal, is null.
    """
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import cohen_kappa_score

    classes_N, given_classes_N = np.rint(predicted_N).astype(int), np.rint(given_N).astype(int)
    told = len(set(predicted_N.tolist())) > 1 and len(set(given_N.tolist())) > 1
    kappa = float("nan")
    if len({*classes_N.tolist(), *given_classes_N.tolist()}) > 1:
        kappa = cohen_kappa_score(given_classes_N, classes_N, weights="quadratic", labels=range(HIGHEST + 1))
    calibration = []
    for score in np.unique(classes_N):
        some = classes_N == score
        means = {"predicted": float(predicted_N[some].mean()), "given": float(given_N[some].mean())}
        calibration.append({"score": int(score), "documents": int(some.sum()), **means})
    return {
        "documents": len(given_N),
        "pearson": float(pearsonr(predicted_N, given_N)[0]) if told else None,
        "spearman": float(spearmanr(predicted_N, given_N)[0]) if told else None,
        "kappa": None if np.isnan(kappa) else float(kappa),
        "exact": float((classes_N == given_classes_N).mean()),
        "within_one": float((abs(classes_N - given_classes_N) <= 1).mean()),
        "mean_absolute_error": float(abs(predicted_N - given_N).mean()),
        "calibration": calibration,
    }


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    for name, numbers in report.items():
        shown = [f"{key} {value:.3f}" for key, value in numbers.items() if isinstance(value, float)]
        print(f"{name}: {numbers['documents']:,} held out; " + ", ".join(shown), flush=True)
        for row in numbers["calibration"]:
            print(f"  predicted {row['predicted']:.2f}, given {row['given']:.2f} ({row['documents']:,} documents)")


if __name__ == "__main__":
    run_script(main)
