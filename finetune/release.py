"""Write quantised forms of chosen steps, each compared with the original, and refused where it is too far from it.

python finetune/release.py --config configs/tiny.yaml

gguf-f16, gguf-q8_0 and gguf-q4_0 are for llama.cpp, int8 and int4 (torchao, weights only) for transformers.
`comparison.json` has the differences: of logits, of bits per byte of held-out text, of scores. Each form is read back
by other code than wrote it. finetune/card.py puts the table into the model card, pretrain/publish.py pushes both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import sample_texts
from snakmodel.hashes import file_hash
from snakmodel.multiple_choice import read_items
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.records import begin, remove_folder, write_json
from snakmodel.series import choose, is_own, read_series
from snakmodel.testsets import TestSet, find_testset

Form = Literal["gguf-f16", "gguf-q8_0", "gguf-q4_0", "int8", "int4"]
FILES: dict[Form, str] = {  # torchao's are folders
    "gguf-f16": "model-f16.gguf",
    "gguf-q8_0": "model-q8_0.gguf",
    "gguf-q4_0": "model-q4_0.gguf",
    "int8": "int8",
    "int4": "int4",
}
Texts = dict[str, list[str]]  # language -> held-out texts
Tasks = dict[str, list[dict[str, Any]]]  # name -> items


@dataclass
class Settings:
    held_out: dict[str, str] = knob(help="language -> Parquet file of documents that no training saw")
    series: str = knob(PRETRAINED, "pretrained, or a tuned variant", execution=True)
    steps: str = knob("last", "steps to release: all, first, last, 500,1000 or 500:12500:500", execution=True)
    forms: list[Form] = knob(["gguf-f16", "gguf-q8_0", "gguf-q4_0"], "what is written of a step")
    documents: int = knob(50, "most documents of a language to compare on, evenly spaced over its file", low=1)
    tokens: int = knob(
        2_048, "most tokens of them whose logits are compared; each takes 4 bytes a vocabulary entry", low=2
    )
    window: int = knob(512, "tokens that a model reads at once of a long document", low=2)
    tasks: dict[str, str] = knob({}, "name -> multiple-choice test set to compare the scores of")
    own: dict[str, TestSet] = knob({}, "test sets described in the recipe itself; they win over the catalogue's")
    catalogue: str = knob("configs/testsets.yaml", "YAML file: name -> test set", execution=True)
    max_divergence: dict[Form, float] = knob(
        {"gguf-f16": 0.001, "gguf-q8_0": 0.01, "gguf-q4_0": 0.1, "int8": 0.01, "int4": 0.1},
        "of a form: largest mean Kullback-Leibler divergence from the original's predictions, in nats per token",
    )
    max_bits_rise: float = knob(0.05, "largest rise of bits per byte, as a share of the original's", above=0)
    max_task_fall: float = knob(5.0, "largest fall of a task's accuracy, in points", above=0)
    batch_tokens: int = knob(4_096, "most tokens in a batch, padding included", low=1, execution=True)


class Measured(NamedTuple):
    """What a model says of the texts and tasks. N tokens of the texts, V vocabulary."""

    logits_NV: Any
    bits_per_byte: dict[str, float]  # language -> bits
    predictions: dict[str, list[int]]  # task -> the option that is likeliest, for each item


def main() -> None:
    command = read_command(Settings, "release", __doc__)
    s, run = command.settings, command.run
    series = run.series(s.series)
    sets = {task: find_testset(name, s.own, s.catalogue, f"release.tasks.{task}") for task, name in s.tasks.items()}
    files = {f"held_out.{language}": Path(path) for language, path in s.held_out.items()}
    files |= {f"tasks.{task}": Path(testset.path) for task, testset in sets.items()}
    for form in s.forms:
        if form not in s.max_divergence:
            raise BadInput(f"{command.config}: release.max_divergence has no value for {form}; give one")
    for checkpoint in choose(read_series(series), s.steps, f"{command.config}: release.steps"):
        if not is_own(checkpoint, series):
            print(f"release step {checkpoint.step}: {checkpoint.location} is not this run's", flush=True)
            continue
        folder = run.folder("release") / s.series / step_name(checkpoint.step)
        work = begin(command, folder, {"model": checkpoint.source, **files})
        if work is None:
            continue
        texts = {language: sample_texts(Path(path), s.documents) for language, path in s.held_out.items()}
        tasks = {task: read_items(testset) for task, testset in sets.items()}
        name = f"{run.root.name} {s.series} {step_name(checkpoint.step)}"
        write_json(folder / "comparison.json", release(Path(checkpoint.location), folder, name, texts, tasks, s))
        work.finish(files=hash_files(folder))


def release(source: Path, folder: Path, name: str, texts: Texts, tasks: Tasks, s: Settings) -> dict[str, Any]:
    """Writes every form of a model to `folder`. Returns what each differs by; raises BadInput where it is too much."""
    import torch  # late: a finished stage says so at once

    from snakmodel.models import load_model, load_tokenizer

    tokenizer = load_tokenizer(source)
    original = measure(load_model(source, dtype=torch.float32, device_map="auto"), tokenizer, texts, tasks, s)
    rows = [{"form": "original", "bytes": size(source.glob("*.safetensors")), **scores_of(original, tasks)}]
    for form in s.forms:
        path = folder / FILES[form]
        try:
            measured = measure(write_and_load(source, path, form, name, texts), tokenizer, texts, tasks, s)
            weights = [path] if path.is_file() else path.glob("*.safetensors")
            row = {"form": form, "path": path.name, "bytes": size(weights), **scores_of(measured, tasks)}
            row |= differences(original, measured)
            if fault := fault_of(row, rows[0], s):
                raise BadInput(f"{folder}: {form} {fault}, or leave {form} out of release.forms: nothing is kept")
        except BadInput:
            remove_forms(folder)
            raise
        print(
            f"{name}: {form}: {row['bytes']:,} bytes ({row['bytes'] / rows[0]['bytes']:.0%}), divergence "
            f"{row['divergence']:.2g} nats, same likeliest token {row['same_token']:.1%}",
            flush=True,
        )
        rows.append(row)
    counts = {language: len(some) for language, some in texts.items()}
    return {"compared_on": {"tokens": len(original.logits_NV), "documents": counts}, "forms": rows}


def write_and_load(source: Path, path: Path, form: Form, name: str, texts: Texts) -> Any:
    """Writes one form of the model, and loads it again."""
    from snakmodel.models import load_model, load_tokenizer

    if form == "int8" or form == "int4":
        from finetune.quantised import write_torchao

        write_torchao(source, path, form)
        return load_model(path, device_map="auto")
    from finetune.gguf_check import check_vocabulary, load_gguf
    from finetune.gguf_file import write_gguf

    write_gguf(source, path, form, name)
    check_vocabulary(path, load_tokenizer(source), [text for some in texts.values() for text in some])
    return load_gguf(path, source)


def measure(model: Any, tokenizer: Any, texts: Texts, tasks: Tasks, s: Settings) -> Measured:
    """Logits of the first `tokens` tokens, bits per byte of all texts, and what is answered to every task's items."""
    import torch

    from snakmodel.likelihood import document_bits, encode, option_log_likelihoods

    parts, room = [], s.tokens
    with torch.inference_mode():
        for ids in encode(tokenizer, [text for some in zip(*texts.values(), strict=False) for text in some]):
            ids = ids[: min(s.window, room)]
            if len(ids) < 2:
                break
            parts.append(model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float().cpu())
            room -= len(ids)
    bits = {}
    for language, some in texts.items():
        measured = document_bits(model, tokenizer, some, s.window, s.batch_tokens)
        bits[language] = sum(bits for bits, _ in measured) / sum(size for _, size in measured)
    predictions = {}
    for task, items in tasks.items():
        questions = [(item["prompt"], item["options"]) for item in items]
        sums = option_log_likelihoods(model, tokenizer, questions, s.batch_tokens)
        predictions[task] = [max(range(len(each)), key=each.__getitem__) for each in sums]
    return Measured(torch.cat(parts), bits, predictions)


def scores_of(measured: Measured, tasks: Tasks) -> dict[str, Any]:
    """Bits per byte of each language, and the accuracy in per cent of each task."""
    right = {
        task: [item["answer"] == choice for item, choice in zip(items, measured.predictions[task], strict=True)]
        for task, items in tasks.items()
    }
    accuracy = {task: 100 * sum(each) / len(each) for task, each in right.items()}
    return {"bits_per_byte": measured.bits_per_byte, "accuracy": accuracy}


def differences(original: Measured, form: Measured) -> dict[str, float]:
    """How far a form's logits and answers are from the original's.

    divergence: mean of KL(original || form) over all tokens, in nats; largest_difference: of two logits, in standard
    deviations of the original's; same_token: share of the tokens after which both find the same one likeliest.
    """
    from torch.nn.functional import kl_div, log_softmax

    from snakmodel.models import logit_difference

    one, other = original.logits_NV, form.logits_NV
    divergence = kl_div(log_softmax(other, -1), log_softmax(one, -1), reduction="batchmean", log_target=True)
    return {
        "divergence": max(0.0, float(divergence)) if divergence.isfinite() else float("inf"),
        "largest_difference": logit_difference(other, one),
        "same_token": float((one.argmax(-1) == other.argmax(-1)).float().mean()),
    }


def fault_of(row: dict[str, Any], original: dict[str, Any], s: Settings) -> str | None:
    """Why a form is too far from the original to be released; None: it is not."""
    most = s.max_divergence[row["form"]]
    if not row["divergence"] <= most:  # not <=: a NaN is refused too
        return f"diverges by {row['divergence']:.3g} nats per token, more than max_divergence {most}; raise it"
    for language, bits in original["bits_per_byte"].items():
        if not row["bits_per_byte"][language] <= bits * (1 + s.max_bits_rise):
            return (
                f"needs {row['bits_per_byte'][language]:.3f} bits per byte of {language} and the original {bits:.3f}, "
                f"which is more than max_bits_rise {s.max_bits_rise}; raise it"
            )
    for task, accuracy in original["accuracy"].items():
        if not row["accuracy"][task] >= accuracy - s.max_task_fall:
            return (
                f"scores {row['accuracy'][task]:.1f} on {task} and the original {accuracy:.1f}, "
                f"which is a fall of more than max_task_fall {s.max_task_fall}; raise it"
            )
    return None


def remove_forms(folder: Path) -> None:
    """Leaves nothing of a release that is refused, so that the same command starts afresh under other settings."""
    for path in (folder / name for name in FILES.values()):
        path.unlink() if path.is_file() else remove_folder(path)


def size(files: Iterable[Path]) -> int:
    """Bytes of files."""
    return sum(path.stat().st_size for path in files)


def hash_files(folder: Path) -> dict[str, Any]:
    """Size and hash of every file that is published: "int8/config.json" -> bytes, sha256."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "started.json")
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_hash(path)} for path in paths
    }


if __name__ == "__main__":
    run_script(main)
