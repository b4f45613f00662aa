"""What a run's records say of the quantities that the paper tells of its corpus, training and cost."""

from typing import Any

from plot.style import Inputs
from snakmodel.paths import Run
from snakmodel.records import read_json, read_jsonl

RECORDS = ("filter_language", "deduplicate", "pretrain", "instructions")  # stages whose run.json holds such facts


def find_inputs(run: Run) -> Inputs:
    """What there is of the run: scores, weights, ledger and records; nothing of it need be there."""
    weights, ledger = run.folder("weights").with_suffix(".parquet"), run.folder("ledger") / "ledger.json"
    inputs = {"weights": weights, "ledger": ledger} | {name: run.folder(name) / "run.json" for name in RECORDS}
    inputs["log"] = run.folder("pretrain") / "log.jsonl"
    inputs = {name: path for name, path in inputs.items() if path.is_file()}
    finished = (run.folder("collect") / "run.json").is_file()
    return inputs | ({"scores": run.folder("collect")} if finished else {})


def read_facts(inputs: Inputs) -> dict[str, float]:
    """Quantity, by its name in plot/published/corpus.json -> this run's value, where the run can tell it."""
    facts: dict[str, float | None] = {}
    if "ledger" in inputs:
        ledger = read_json(inputs["ledger"])
        last = ledger["totals"][ledger["steps"][-1]]
        facts |= {"corpus words": last["words"], "corpus documents": last["documents"]}
        facts["corpus sources"] = len(ledger["sources"])
    if "scores" in inputs:
        facts |= verdicts(read_json(inputs["scores"] / "scores.json").get("judged", []))
    records = {name: read_json(inputs[name]) for name in RECORDS if name in inputs}
    settings: dict[str, dict[str, Any]] = {name: record["settings"] for name, record in records.items()}
    if "filter_language" in records:
        facts["language filter, least probability"] = settings["filter_language"].get("min_probability")
    if "deduplicate" in records:
        facts["near-duplicate threshold"] = settings["deduplicate"]["threshold"]
        facts["near-duplicate permutations"] = settings["deduplicate"]["permutations"]
    if "pretrain" in records:
        facts |= training(records["pretrain"], read_jsonl(inputs["log"]) if "log" in inputs else [])
    if "instructions" in records:
        facts["instruction pairs"] = sum(count["kept"] for count in records["instructions"]["counts"].values())
    return {name: value for name, value in facts.items() if value is not None}


def verdicts(judged: list[dict[str, Any]]) -> dict[str, float]:
    """What native speakers thought of the answers that DaKultur holds, counted from the data set itself."""
    rows = [row for row in judged if row["dataset"] == "dakultur"]
    shares = {f"DaKultur acceptance, {row['model']}": row["value"] for row in rows}
    return shares | ({"DaKultur interactions": sum(row["rated"] for row in rows)} if rows else {})


def training(record: dict[str, Any], log: list[dict[str, Any]]) -> dict[str, float | None]:
    """Steps, batch, tokens, learning rate, and the hours of its GPUs over all its starts: of a CPU there are none."""
    settings = record["settings"]
    seconds = sum(row["seconds"] for row in log if row["step"] and row.get("seconds"))
    hours = seconds / 3600 * record["ranks"] if seconds and record.get("device") != "cpu" else None
    return {
        "pre-training steps": record["steps"],
        "global batch": settings["global_batch"],
        "sequence length": settings["sequence_length"],
        "training tokens": record["tokens"],
        "peak learning rate": settings["learning_rate"],
        "training time": hours,
    }
