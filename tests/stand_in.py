"""A stand-in for ScandEval and EuroEval: their flags, their records, and what goes wrong with them.

STAND_IN in the environment, as JSON, says how it behaves: {"seconds": for each record, "nothing": true, "few": what a
record says of its prompts, "dies_at", "half_line_at", "hangs_at", "nan_at", "renamed_at" (a record of another schema):
data sets}; each of its command lines goes to the file "calls", if it names one. A score depends on the model's bytes,
the data set and the split alone.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

TASKS = {
    "angry-tweets": ("sentiment-classification", ("mcc", "macro_f1")),
    "dansk": ("named-entity-recognition", ("micro_f1_no_misc", "micro_f1")),
    "scala-da": ("linguistic-acceptability", ("mcc", "macro_f1")),
    "nordjylland-news": ("summarization", ("bertscore", "rouge_l")),
    "scala-nb": ("linguistic-acceptability", ("mcc", "macro_f1")),
}


def make_environment(folder, name, version):
    """A folder bin/ with the program and a Python that has it installed; the program's path."""
    (folder / "bin").mkdir(parents=True)
    packages = folder / "packages"
    about = packages / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    python, program = folder / "bin/python", folder / "bin" / name
    python.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {name} {version} "$@"\n')
    for path in (python, program):
        path.chmod(0o755)
    return program


def parse(major, line):
    """What a command line asks for, its split and few-shot; a flag of another version ends it."""
    told = {"--model": [], "--dataset": [], "--language": [], "--num-iterations": []}
    split, few = ("test" if major < 14 else "val"), True
    splits = {"--only-validation-split": "val"} if major < 14 else {"--evaluate-val-split": "val"}
    splits |= {} if major < 14 else {"--evaluate-test-split": "test"}
    words = iter(line)
    for word in words:
        if word in told:
            told[word].append(next(words))
        elif word in splits:
            split = splits[word]
        elif word in ("--few-shot", "--zero-shot"):
            few = word == "--few-shot"
        else:
            print(f"Error: No such option: {word}", file=sys.stderr)
            sys.exit(2)
    if major >= 18 and told["--dataset"] and told["--language"]:
        print("Error: Only one of `--language` and `--dataset` can be specified, as a dataset ID", file=sys.stderr)
        sys.exit(2)
    return told, split, few


def make_record(name, version, model, dataset, split, few, iterations, nan):
    """A record in the schema of the version."""
    major = int(version.split(".")[0])
    task, metrics = TASKS[dataset]
    path = Path(model) / "model.safetensors"
    weights = path.read_bytes() if path.exists() else model.encode()
    seed = int(hashlib.sha256(weights + f"{dataset} {split}".encode()).hexdigest()[:8], 16)
    scores = {metric: (seed >> (8 * place)) % 1000 / 10 for place, metric in enumerate(metrics)}
    width = float("nan") if nan or iterations == 1 else 1.25
    raw = [{metric: score / 100 for metric, score in scores.items()} for _ in range(iterations)]
    if major >= 17:
        return every_eval_ever(name, version, model, dataset, task, scores, width, raw, split, few)
    total = {
        f"test_{metric}{end}": value for metric, score in scores.items() for end, value in (("", score), ("_se", width))
    }
    return {
        "dataset": dataset,
        "task": task,
        ("dataset_languages" if major < 14 else "languages"): ["nb" if dataset.endswith("-nb") else "da"],
        "model": model.rstrip("/"),
        "results": {"raw": {"test": raw} if major < 14 else raw, "total": total},
        "num_model_parameters": 903_296 if major < 14 else -1,
        "max_sequence_length": 2048,
        "vocabulary_size": 436,
        **({} if major < 14 else {"merge": False, "generative_type": "base"}),
        "generative": True,
        "few_shot": few,
        "validation_split": split == "val",
        f"{name}_version": version,
    }


def every_eval_ever(name, version, model, dataset, task, scores, width, raw, split, few):
    results = []
    for metric, score in scores.items():
        ends = {"lower": score - width, "upper": score + width, "confidence_level": 0.95, "method": "bootstrap"}
        uncertainty = {"confidence_interval": ends, "num_samples": len(raw)}
        details = {"score": score, "details": {"num_failed_instances": "3.0"}, "uncertainty": uncertainty}
        source = {"dataset_name": dataset, "source_type": "hf_dataset"}
        results.append({"evaluation_name": f"test_{metric}", "source_data": source, "score_details": details})
    told = {"dataset": dataset, "languages": '["da"]', "task": task, "few_shot": json.dumps(few)}
    told |= {"validation_split": json.dumps(split == "val"), "raw_results": json.dumps(raw)}
    if version.startswith("18."):  # what it has that 17 has not
        told |= {"use_bits_per_character": "false", "laya_version": None, "contamination_canary_evidence": "{}"}
    about = {
        "num_model_parameters": "903296",
        "max_sequence_length": "2048",
        "vocabulary_size": "-1",
        "generative": "true",
    }
    return {
        "schema_version": "0.2.1",
        "evaluation_id": f"{dataset}/{model}/1795212028",
        "model_info": {"name": model.rstrip("/"), "id": model.rstrip("/"), "additional_details": about},
        "eval_library": {"name": name, "version": version, "additional_details": told},
        "evaluation_results": results,
    }


def main():
    name, version, *line = sys.argv[1:]
    behaviour = json.loads(os.environ.get("STAND_IN", "{}"))
    if "calls" in behaviour:
        with open(behaviour["calls"], "a") as file:
            file.write(
                json.dumps({"line": line, "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "cwd": os.getcwd()}) + "\n"
            )
    told, split, few = parse(int(version.split(".")[0]), line)
    if unknown := set(told["--dataset"]) - set(TASKS):
        print(f"Error: Invalid value for '--dataset': {unknown.pop()!r} is not one of ...", file=sys.stderr)
        sys.exit(2)
    if behaviour.get("nothing"):
        print("Completed 0 benchmarks.")
        return
    (model,), (iterations,) = told["--model"], told["--num-iterations"]
    Path(model, "left-behind.json").write_text("{}")  # as the programs do
    path = Path(f"{name}_benchmark_results.jsonl")
    for dataset in sorted(told["--dataset"]):  # in an order of its own
        print(f"Benchmarking {model} on {dataset}", flush=True)
        time.sleep(behaviour.get("seconds", 0))
        nan = dataset in behaviour.get("nan_at", [])
        few = behaviour.get("few", few)
        text = json.dumps(make_record(name, version, model, dataset, split, few, int(iterations), nan))
        if dataset in behaviour.get("renamed_at", []):
            text = text.replace('"results"', '"outcome"')
        if dataset in behaviour.get("dies_at", []):
            raise KeyError("text")
        if dataset in behaviour.get("hangs_at", []):
            time.sleep(1e6)
        with path.open("a") as file:
            file.write("\n")
            if dataset in behaviour.get("half_line_at", []):
                file.write(text[: len(text) // 2])
                file.flush()
                os.kill(os.getpid(), 9)
            for start in range(0, len(text), 100):  # nor is it there at once
                file.write(text[start : start + 100])
                file.flush()


if __name__ == "__main__":
    main()
