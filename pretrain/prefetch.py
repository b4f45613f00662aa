"""Fetch what a recipe needs from the Hub and the web, where there is internet, for machines that have none.

python pretrain/prefetch.py --config configs/snakmodel-7b.yaml

Models, tokenizers and data sets come into the Hub's cache (HF_HOME), the language identifier's model to its path, and
raw files by pretrain/corpus/download.py. Sizes are told first; interrupted, the same command continues. What came, at
which commit, is in RUN_DIR/prefetch.json, to be pinned in the recipe. Then everything runs with HF_HUB_OFFLINE=1.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pretrain.adopt import locate
from snakmodel.config import BadInput, fill_in, load_yaml, read_recipe, run_script, to_dataclass
from snakmodel.paths import stage_of
from snakmodel.records import read_json, write_json
from snakmodel.series import split_revision
from snakmodel.settings import convert
from snakmodel.tables import is_on_hub
from snakmodel.testsets import Search, find_testsets

TOKENIZER_FILES = ["*.json", "*.model", "*.txt", "*.jinja"]
FILES = {"model": ["*.safetensors", *TOKENIZER_FILES], "tokenizer": TOKENIZER_FILES}


@dataclass(frozen=True)
class Need:
    """Something that a recipe takes from the Hub."""

    key: str  # of the recipe that names it
    kind: Literal["model", "tokenizer", "dataset"]
    id: str
    revision: str | None = None
    configuration: str | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    config = parser.parse_args().config
    recipe, _ = read_recipe(config)
    run_dir = Path(convert(recipe.get("run_dir"), str, f"{config}: run_dir"))
    failures = fetch_all(needs_of(recipe), run_dir / "prefetch.json") + fetch_identifier(recipe)
    for name in streamed(recipe):
        print(f"{name}: is streamed from the Hub while it is read: run read_sources.py where there is internet")
    if "scandeval" in recipe and not (recipe["scandeval"] or {}).get("data"):
        print("scandeval: the program fetches data sets itself; without internet give scandeval.data and offline: true")
    if "download" in recipe:
        command = [sys.executable, stage_of("download").script, "--config", str(config)]
        if subprocess.run(command).returncode != 0:
            failures.append("not all raw files are there, see above")
    for failure in failures:
        print(failure, flush=True)
    if failures:
        raise BadInput(f"{len(failures)} of what {config} needs could not be had, see above; the rest is there")
    print(f"all that {config} needs is here", flush=True)


def needs_of(recipe: dict[str, Any]) -> list[Need]:
    """What a recipe takes from the Hub, each once; what lies in a run or on this machine is no part of it."""
    found: list[Need] = []
    sections = {name: section for name, section in recipe.items() if isinstance(section, dict)}
    for name, section in sections.items():
        if "init_from" in section:
            found.append(Need(f"{name}.init_from", "model", section["init_from"]))
        for several in ("also_tune", "baselines"):
            for key, location in entries(section, several):
                found.append(Need(f"{name}.{several}.{key}", "model", *split_revision(location)))
        for judge in ("bertscore", "entailment"):  # of what a model has written
            if section.get(judge):
                found.append(Need(f"{name}.{judge}", "model", *split_revision(section[judge])))
        if section.get("backend") == "encoder" and "encoder" in section:
            found.append(Need(f"{name}.encoder", "model", section["encoder"]))
        for key, each in (section.get("sets") or {}).items():
            source = (each.get("path", ""), each.get("revision"), each.get("configuration"))
            found.append(Need(f"{name}.sets.{key}", "dataset", *source))
        found += testsets_of(name, section) + testsets_of(f"{name}.decontaminate", section.get("decontaminate"))
    for series, adopted in entries(recipe.get("adopt") or {}, "series"):
        for step, revision in entries(adopted, "revisions"):
            location = locate(adopted["repository"], revision)
            found.append(Need(f"adopt.series.{series}.revisions.{step}", "model", *split_revision(location)))
    models = {need.id for need in found}
    for name, section in sections.items():
        tokenizers = {key: section[key] for key in ("tokenizer", "extend") if section.get(key)}
        tokenizers |= {f"tokenizers.{key}": location for key, location in entries(section, "tokenizers")}
        for key, location in tokenizers.items():
            if location not in models:  # a model comes with its own
                found.append(Need(f"{name}.{key}", "tokenizer", location))
    runs = tuple(str(recipe[key]) for key in ("run_dir", "base_run") if recipe.get(key))
    once = {(n.kind, n.id, n.revision, n.configuration): n for n in reversed(found)}
    return [n for n in reversed(once.values()) if is_on_hub(n.id) and "{" not in n.id and not n.id.startswith(runs)]


def entries(section: dict[str, Any], key: str) -> list[tuple[Any, Any]]:
    """The entries of a mapping in a section; null leaves one out, or says that it is not known."""
    return [(name, value) for name, value in (section.get(key) or {}).items() if value is not None]


def testsets_of(where: str, search: Any) -> list[Need]:
    """The evaluation sets that a section, or a part of one, looks for."""
    if not isinstance(search, dict) or "testsets" not in search:
        return []
    kept = {key: search[key] for key in ("testsets", "own", "catalogue") if key in search}
    sets = find_testsets(to_dataclass(kept, Search, ["recipe", where], {}), where)
    return [
        Need(f"{where}.testsets.{name}", "dataset", each.path, each.revision, each.configuration)
        for name, each in sets.items()
    ]


def streamed(recipe: dict[str, Any]) -> list[str]:
    """The sources to read that are data sets of the Hub: they are never whole on this machine."""
    section = recipe.get("read_sources") or {}
    sources = {**load_yaml(Path(section.get("catalogue", "configs/sources.yaml"))), **section.get("own", {})}
    return [name for name in section.get("use", []) if "hub" in sources.get(name, {})]


def fetch_all(needs: list[Need], record: Path) -> list[str]:
    """Fetches everything, says sizes first, and records commits; returns a line, with its cure, for what failed."""
    if not needs:
        return []
    import httpx2
    from huggingface_hub import constants, is_offline_mode, snapshot_download

    if is_offline_mode():
        raise BadInput("HF_HUB_OFFLINE is set, so nothing can be fetched; unset it, or type make prefetch")
    try:  # at once: the library would try for half a minute with every id
        httpx2.head(constants.ENDPOINT, timeout=20)
    except httpx2.HTTPError as error:
        raise BadInput(f"{constants.ENDPOINT} cannot be reached ({error}); run this where there is internet") from None
    failures, wanted, rows = [], [], []
    for need in needs:
        try:
            files = files_of(need)
            wanted.append((need, files))
        except Exception as error:  # of the Hub, the network, or the library that reads a data set's card
            failures.append(explain(need, error))
            continue
        missing = sum(file.file_size or 0 for file in files if file.will_download)
        size = sum(file.file_size or 0 for file in files)
        print(f"{need.key}: {need.id}: {size:,} bytes, {missing:,} of them to fetch", flush=True)
        rows.append({**vars(need), "revision": files[0].commit_hash, "bytes": size})
    for need, files in wanted:
        try:
            snapshot_download(need.id, **options_of(need), allow_patterns=[file.filename for file in files])
        except Exception as error:
            failures.append(explain(need, error))
            rows = [row for row in rows if row["key"] != need.key]
    before = {row["key"]: row for row in read_json(record)} if record.is_file() else {}
    for row in rows:
        was = before.get(row["key"], row)["revision"]
        print(f"{row['key']}: {row['id']} at {row['revision']}" + (f", was at {was}" if was != row["revision"] else ""))
    write_json(record, rows)
    return failures


def options_of(need: Need) -> dict[str, Any]:
    """What the Hub's library has to know besides the id."""
    return {"repo_type": "dataset" if need.kind == "dataset" else "model", "revision": need.revision}


def files_of(need: Need) -> list[Any]:
    """The files to fetch, as the Hub's library describes them: weights as safetensors only, one configuration only."""
    from datasets import load_dataset_builder
    from huggingface_hub import snapshot_download

    options = options_of(need)
    if need.kind == "dataset":
        builder = load_dataset_builder(need.id, need.configuration, revision=need.revision)
        urls = [url for split in (builder.config.data_files or {}).values() for url in split]
        if not all(url.startswith("hf://") for url in urls):
            raise BadInput("its files lie outside the Hub; read a copy")
        paths = [url.partition("@")[2].partition("/")[2] for url in urls]  # hf://datasets/ID@COMMIT/PATH
        options["allow_patterns"] = ["README.md", *paths]
    else:  # weights in folders of a model are copies in formats of their own
        options |= {"allow_patterns": FILES[need.kind], "ignore_patterns": ["*/*"]}
    files = snapshot_download(need.id, **options, dry_run=True)
    if need.kind == "model" and not any(file.filename.endswith(".safetensors") for file in files):
        raise BadInput("holds no safetensors files, and other weights are not loaded here")
    if not files:
        raise BadInput("holds no file of a tokenizer")
    return files


def explain(need: Need, error: Exception) -> str:
    """One line: what could not be had, and what to do about it."""
    from snakmodel.hub import refusal

    if known := refusal(need.id, error, need.kind):
        return f"{need.key}: {known}"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{need.key}: {need.id} cannot be fetched ({reason}); the same command tries again"


def fetch_identifier(recipe: dict[str, Any]) -> list[str]:
    """Fetches fastText's lid.176.bin where corpus or instructions are filtered by it and its file is not there."""
    choices = [recipe.get("filter_language"), (recipe.get("instructions") or {}).get("language")]
    models = [choice.get("model") for choice in choices if choice and choice.get("backend") == "fasttext"]
    wanted = dict.fromkeys(fill_in(model, {"run_dir": recipe["run_dir"]}) for model in models if model)
    return [failure for path in map(Path, wanted) if not path.is_file() for failure in fetch_model(path)]


def fetch_model(path: Path) -> list[str]:
    """Fetches lid.176.bin to `path`; returns a line for what failed."""
    from pretrain.corpus.download import Settings, Wanted, obtain_all
    from pretrain.corpus.sources import RawFile, Source
    from snakmodel.languages import LID_176, LID_BYTES, LID_SHA256

    file = RawFile(LID_176, sha256=LID_SHA256, bytes=LID_BYTES)
    if path.name != file.name:
        return [f"language model: {path} is not there, and only {file.name} can be fetched"]
    try:
        obtain_all([Wanted(file.name, path, Source(str(path), "gzip_text", files=[file]), file)], Settings(use=[]))
    except BadInput as error:
        return [str(error)]
    return []


if __name__ == "__main__":
    run_script(main)
