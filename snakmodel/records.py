"""Atomic writes, and the two records of every stage: `started.json` before its first output, `run.json` last.

`started.json` holds the settings that shape the result and the hashes of the inputs' records; `run.json` means
finished.
"""

import hashlib
import json
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, Command
from snakmodel.hashes import hash_once, model_hash
from snakmodel.paths import maker_of, stage_of
from snakmodel.provenance import commit, versions

# of a record: not its result
CIRCUMSTANCES = ("begun", "finished", "seconds", "peak_memory_bytes", "commit", "config", "versions")


def temporary_path(path: Path) -> Path:
    """A hidden name beside `path` that no other process has, on whatever machine of a cluster."""
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")


def is_shown(path: Path, folder: Path) -> bool:
    """Whether no part of a path in a folder is hidden, as of what is on its way to be removed."""
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def remove_folder(folder: Path) -> None:
    """Removes a folder; killed half-way, it is gone under its name all the same."""
    if folder.is_dir():
        aside = temporary_path(folder)
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(FileNotFoundError):  # another process was quicker
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it when the block ends well; nothing half-written stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # the rename must not overtake the bytes
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with write_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Writes JSON atomically; NaN and infinity are refused, since other readers would refuse them."""
    write_text(path, json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    """Reads JSON; a missing or broken file is one line that names the script that writes it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(missing(path)) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not JSON ({error}); delete it and run the stage that writes it again") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Reads one JSON object a line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(missing(path)) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 ({error})") from None
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines would cut at U+2028 too
        try:
            rows += [json.loads(line)] if line else []
        except json.JSONDecodeError as error:
            raise BadInput(f"{path}, line {number}: not JSON ({error})") from None
    return rows


def missing(path: Path) -> str:
    """What to say when an earlier stage's file is not there."""
    script = maker_of(path.parent)
    return f"{path} not found" + (f": run {script} first" if script else "")


def identity(location: str | Path) -> str:
    """What an input is: the hash of its record, of a model's folder without one, of a file, or a Hub id as it is."""
    folder = Path(location)
    if (folder / "run.json").is_file():
        record = {key: value for key, value in read_json(folder / "run.json").items() if key not in CIRCUMSTANCES}
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    if (folder / "config.json").is_file():
        return model_hash(folder)
    if folder.is_file():
        return known_hash(folder) or hash_once(folder)
    return str(location)


def known_hash(path: Path) -> str | None:
    """The SHA-256 that pretrain/corpus/download.py has recorded of a raw file, if its size and time are still those."""
    record = path.parent / ".download" / f"{path.name}.json"
    if not record.is_file():
        return None
    known, status = read_json(record), path.stat()
    return known["sha256"] if (known["bytes"], known["mtime_ns"]) == (status.st_size, status.st_mtime_ns) else None


def shaping(settings: Any) -> Any:
    """The settings that shape a result: all but those marked `execution`, as plain JSON."""
    if is_dataclass(settings):
        return {f.name: shaping(getattr(settings, f.name)) for f in fields(settings) if not f.metadata.get("execution")}
    if isinstance(settings, dict):
        return {str(key): shaping(value) for key, value in settings.items()}  # JSON has no other keys
    if isinstance(settings, list):
        return [shaping(value) for value in settings]
    return settings


@contextmanager
def only_one(folder: Path, wait: bool = False) -> Iterator[None]:
    """Holds a folder against other processes, which wait for it or are refused; the lock ends with the process."""
    from filelock import FileLock, Timeout  # late: most scripts hold nothing

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise BadInput(f"{folder}: another process is at work there; wait for it, or end it") from None
    try:
        yield
    finally:
        lock.release()


@dataclass
class Work:
    """A stage, or one step of it, under way."""

    folder: Path
    started: dict[str, Any]
    clock: float

    def finish(self, **facts: Any) -> None:
        """Writes `run.json`: from now on the output counts as finished."""
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        record = {
            **self.started,
            **facts,
            "seconds": round(time.monotonic() - self.clock, 2),
            "peak_memory_bytes": peak * (1 if sys.platform == "darwin" else 1024),
            "finished": now(),
        }
        write_json(self.folder / "run.json", record)


def begin(
    command: Command[Any],
    folder: Path,
    inputs: dict[str, str | Path],
    *,
    writes: bool = True,
    derived: bool = False,
    quiet: bool = False,
    cure: str = "or change run_dir",
) -> Work | None:
    """Opens a stage's folder. None: it is finished (said so), or only `--check` was asked for.

    inputs: name -> an earlier stage's folder (must hold `run.json`), a file, or a Hub id.
    Output under other settings or inputs is refused with both values, unless `--overwrite`.
    `writes=False`: a rank other than the first; looks, but writes nothing.
    `derived=True`: cheap to make again (a table, a figure), so a difference throws the folder away without asking.
    `quiet=True`: says nothing of what is done or ready; of many small parts the script itself says it at once.
    cure: what else than --overwrite a user can do who has changed the settings.
    """
    label = f"{command.section} {folder.name}" if folder.name.startswith("step-") else command.section
    for path in inputs.values():
        if isinstance(path, Path) and not path.is_file() and not (path / "run.json").is_file():
            raise BadInput(missing(path / "run.json" if path.is_dir() or maker_of(path) else path))
    shape = {"section": command.section, **shape_of(command.settings, inputs)}
    changes, begun = writes and not command.check, now()
    if (folder / "started.json").is_file() and (writes or not command.overwrite):
        before = read_json(folder / "started.json")
        if before["section"] != command.section:
            raise BadInput(f"{folder} is what {stage_of(before['section']).script} has made: it would be lost; {cure}")
        difference = first_difference(before, shape)
        finished = (folder / "run.json").is_file()
        empty = writes and not any(p.is_file() and not is_note(p.relative_to(folder)) for p in folder.rglob("*"))
        if command.overwrite and (difference or finished) or difference and (derived or empty):
            if changes:  # an interrupted --overwrite goes on where it was
                if finished and derived and not command.overwrite:
                    print(f"{label}: made again: {folder} was made with {difference}", flush=True)
                remove_folder(folder)
        elif difference:
            raise BadInput(f"{folder} was made with {difference}; add --overwrite to make it again, {cure}")
        elif finished:
            if writes and not quiet:
                print(f"{label}: done ({folder})", flush=True)
            return None
        else:
            begun = before["begun"]  # it was interrupted
    if command.check:
        if not quiet:
            print(f"{label}: ready ({folder})", flush=True)
        return None
    started = {**shape, "config": str(command.config), "commit": commit(), "versions": versions(), "begun": begun}
    if writes:
        write_json(folder / "started.json", started)
    return Work(folder, started, time.monotonic())


def shape_of(settings: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """What a result depends on, as its record has it."""
    made_from = {name: {"path": str(path), "hash": identity(path)} for name, path in inputs.items()}
    return {"settings": shaping(settings), "inputs": made_from}


def is_note(path: Path) -> bool:
    """Whether a file beneath a stage's folder is no output: what was started, refused, logged, or is half-written."""
    notes = path.name in ("started.json", "log.jsonl") or path.name.startswith(".")
    return notes or path.parts[0] in ("tasks", "refused", "config", "tensorboard")


def first_difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """ "min_probability 0.6, now 0.7", or None where settings and inputs agree."""
    if before["settings"] != now["settings"]:
        return setting_that_differs(before["settings"], now["settings"])
    old, new = before["inputs"], now["inputs"]
    for key in [*new, *(k for k in old if k not in new)]:
        if key in old and key in new and old[key]["hash"] == new[key]["hash"]:  # a moved run is the same run
            continue
        paths = {each[key]["path"] for each in (old, new) if key in each}
        if len(paths) == 2:
            return f"another {key} ({old[key]['path']}, now {new[key]['path']})"
        return f"another {key} ({paths.pop()} has changed since)"
    return None


def setting_that_differs(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str:
    """The first setting that two mappings differ in, with both values; within a mapping its own keys."""
    key = next(key for key in [*new, *old] if old.get(key) != new.get(key))
    one, other = old.get(key), new.get(key)
    if isinstance(one, dict) and isinstance(other, dict):
        return setting_that_differs(one, other, f"{prefix}{key}.")
    return f"{prefix}{key} {told(one)}, now {told(other)}"


def told(value: Any) -> str:
    """A setting as a recipe has it."""
    return "null" if value is None else repr(value)


def is_current(folder: Path, inputs: dict[str, str | Path], settings: Any = None) -> bool:
    """Whether a folder's work is finished, and was made from these inputs as they are now (and with these settings)."""
    if not (folder / "run.json").is_file():
        return False
    record = read_json(folder / "run.json")
    if settings is not None and record["settings"] != shaping(settings):
        return False
    made_from = record["inputs"]
    return all(name in made_from and made_from[name]["hash"] == identity(path) for name, path in inputs.items())


def now() -> str:
    """The time, as UTC: "2026-01-31T23:59:59Z"."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
