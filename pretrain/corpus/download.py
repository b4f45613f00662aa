"""Fetch the raw files of the recipe's sources. Interrupted at any byte, the same command continues at that byte.

python pretrain/corpus/download.py --config configs/snakmodel-7b.yaml [use=dawiki,cc100]

Beside the files, .download/NAME.json records the address, size and SHA-256 of what came first; a file that differs
from its record, or from a checksum in the catalogue, is refused. Of sources that nobody may fetch for you it says what
has to be done, and fetches the others. HF_TOKEN gives access to gated data sets of the Hub.
"""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pretrain.corpus.sources import (
    HubSet,
    RawFile,
    Source,
    destinations,
    files_there,
    find_source,
    how_to_get,
    part_of,
    state_of,
)
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.hashes import file_hash
from snakmodel.records import begin, read_json, write_json
from snakmodel.settings import nearest


@dataclass
class Settings:
    use: list[str] = knob(help="names of the sources to fetch")
    own: dict[str, Source] = knob({}, "sources described in the recipe itself; they win over the catalogue's")
    catalogue: str = knob("configs/sources.yaml", "YAML file: name -> source", execution=True)
    workers: int = knob(2, "files at a time from one server; more is impolite", low=1, high=8, execution=True)
    attempts: int = knob(8, "failures in a row without a new byte before a file is given up", low=1, execution=True)
    back_off: float = knob(2.0, "seconds before the second attempt, doubled each time", low=0, execution=True)
    longest_wait: float = knob(900.0, "longest pause, also one that a server asks for, seconds", low=0, execution=True)
    timeout: float = knob(60.0, "seconds without a byte that end an attempt", above=0, execution=True)
    log_every: float = knob(60.0, "seconds between two lines of progress in a log", above=0, execution=True)


@dataclass(frozen=True)
class Wanted:
    """One file that has to lie at `path`."""

    source: str
    path: Path
    description: Source
    file: RawFile | None  # None: a pinned data set of the Hub, or put there by hand

    @property
    def server(self) -> str:
        return urlsplit(self.file.url).netloc if self.file else ""

    @property
    def hub(self) -> HubSet | None:
        return self.description.hub

    @property
    def record(self) -> Path:
        return state_of(self.path, ".json")


def main() -> None:
    command = read_command(Settings, "download", __doc__)
    settings = command.settings
    sources = {name: find_source(name, settings.own, settings.catalogue, "download.use") for name in settings.use}
    wanted = [item for name, source in sources.items() for item in wanted_files(name, source)]
    command = replace(command, settings=replace(settings, own=sources))
    folder = command.run.folder("download")
    if not all(is_recorded(item) for item in wanted):  # raw files lie outside run_dir: somebody may have moved them
        if command.check:
            print(f"download: ready ({folder})")
            return
        (folder / "run.json").unlink(missing_ok=True)
    work = begin(command, folder, {}, derived=True)
    if work is None:
        return
    records = obtain_all(wanted, settings)
    work.finish(files={f"{item.source} {item.path}": records[item.path] for item in wanted})


def wanted_files(name: str, source: Source) -> list[Wanted]:
    """What should be there of a source."""
    if source.files:
        return [Wanted(name, path, source, file) for path, file in zip(destinations(source), source.files, strict=True)]
    return [Wanted(name, path, source, None) for path in files_there(source) or [Path(source.path)]]


def is_recorded(wanted: Wanted) -> bool:
    """Is the file there, as its record says? Looks at size and time only, so that it takes no time."""
    if not wanted.path.is_file() or not wanted.record.is_file():
        return False
    record, status = read_json(wanted.record), wanted.path.stat()
    unchanged = (record["bytes"], record["mtime_ns"]) == (status.st_size, status.st_mtime_ns)
    return unchanged and disagreement(wanted, record) is None


def obtain_all(wanted: list[Wanted], settings: Settings) -> dict[Path, dict[str, Any]]:
    """Fetches, pins or recognises every file; raises BadInput with all that failed once the others are there."""
    import httpx2
    from tqdm import tqdm

    from pretrain.corpus.fetch import Progress

    stop, failures = threading.Event(), []
    progress = {item.path: Progress() for item in wanted}
    records: dict[Path, dict[str, Any]] = {}
    with ExitStack() as stack:
        client = stack.enter_context(httpx2.Client(timeout=settings.timeout, follow_redirects=True))
        servers = sorted({item.server for item in wanted})
        pools = {server: stack.enter_context(ThreadPoolExecutor(settings.workers)) for server in servers}
        futures = {
            pools[item.server].submit(obtain, item, settings, client, stop, progress[item.path]): item
            for item in wanted
        }
        try:
            for future in follow(list(futures), progress, settings.log_every):
                item = futures[future]
                try:
                    records[item.path] = future.result()
                    line = f"{item.source}: {item.path}: {records[item.path]['bytes']:,} bytes"
                except BadInput as error:
                    line = f"{item.source}: {error}"
                    failures.append(line)
                with tqdm.external_write_mode():
                    print(line, flush=True)
        finally:
            stop.set()
            for future in futures:
                future.cancel()
    if failures:
        raise BadInput("; ".join(failures))
    return records


def follow(
    futures: list[Future[dict[str, Any]]], progress: dict[Path, Any], log_every: float
) -> Iterator[Future[dict[str, Any]]]:
    """Yields what is ready; meanwhile shows a bar on a terminal, or a line now and then in a log."""
    from tqdm import tqdm

    logged, waiting = time.monotonic(), set(futures)
    with tqdm(unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        while waiting:
            done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            states = list(progress.values())
            bar.initial, bar.n, bar.total = (sum(getattr(s, key) for s in states) for key in ("began", "have", "total"))
            bar.refresh()
            if bar.disable and time.monotonic() - logged >= log_every:
                logged = time.monotonic()
                for path, state in progress.items():
                    if 0 < state.have != state.total:
                        of_all = f" of {state.total:,}" if state.total else ""
                        print(f"{path}: {state.have:,}{of_all} bytes", flush=True)
            yield from done


def obtain(wanted: Wanted, settings: Settings, client: Any, stop: threading.Event, progress: Any) -> dict[str, Any]:
    """Sees to it that one file is there, and returns its record. Of several processes one works, the others wait."""
    from filelock import FileLock, Timeout

    from pretrain.corpus.fetch import Patience, fetch

    if not (wanted.file or wanted.hub or wanted.path.is_file()):
        raise BadInput(how_to_get(wanted.description, wanted.path))
    wanted.record.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(state_of(wanted.path, ".lock"))
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        print(f"{wanted.source}: {wanted.path}: another process is at it; waiting", flush=True)
        held = lock.acquire(cancel_check=stop.is_set)
    with held:
        if is_recorded(wanted):
            return dict(read_json(wanted.record))
        if wanted.hub and not wanted.path.is_file():
            write_json(wanted.path, pin(wanted.hub, wanted.description))
        if wanted.file is None or wanted.path.is_file():
            return accept(wanted, describe(wanted, wanted.path), wanted.path)
        part, patience = part_of(wanted.path), Patience(settings.attempts, settings.back_off, settings.longest_wait)
        fetch(client, wanted.file.url, wanted.path, patience, stop, progress)
        facts = describe(wanted, part)
        if disagreement(wanted, facts):  # once more from the start: bytes may have been damaged on their way
            part.unlink()
            fetch(client, wanted.file.url, wanted.path, patience, stop, progress)
            facts = describe(wanted, part)
        return accept(wanted, facts, part)


def describe(wanted: Wanted, path: Path) -> dict[str, Any]:
    """What the record of a file holds: address, size, time, checksums; of a data set of the Hub, its pin too."""
    status = path.stat()
    facts = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": file_hash(path)}
    if wanted.file:
        facts |= {"url": wanted.file.url}
        if wanted.file.md5:
            with path.open("rb") as file:
                facts |= {"md5": hashlib.file_digest(file, "md5").hexdigest()}
    return facts | ({"hub": read_json(path)} if wanted.hub else {})


def disagreement(wanted: Wanted, facts: dict[str, Any]) -> str | None:
    """ "sha256 X, the catalogue says Y", or None where the catalogue says nothing else."""
    said, found = (wanted.file, facts) if wanted.file else (wanted.hub, facts.get("hub", {}))
    keys = ("bytes", "sha256", "md5") if wanted.file else ("id", "revision", "configuration", "split")
    for key in keys if said else ():
        expected = getattr(said, key)
        if expected not in (None, found.get(key)):
            return f"{key} {found.get(key)}, the catalogue says {expected}"
    return None


def accept(wanted: Wanted, facts: dict[str, Any], path: Path) -> dict[str, Any]:
    """Gives the file at `path` its name and its record; raises BadInput where it is another one than it should be."""
    if difference := disagreement(wanted, facts):
        raise BadInput(f"{path}: {difference}; move it away, or mend the description of {wanted.source}")
    before = read_json(wanted.record)["sha256"] if wanted.record.is_file() else facts["sha256"]
    if before != facts["sha256"]:
        cure = f"delete {wanted.record} to take the new one"
        raise BadInput(f"{path}: sha256 {facts['sha256']}, but it was {before} when it first came; {cure}")
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.replace(wanted.path)
    write_json(wanted.record, facts)
    return facts


def pin(hub: HubSet, source: Source) -> dict[str, Any]:
    """Which commit of a data set is read from now on, once its first row has come and holds the text."""
    import httpx2
    from datasets import load_dataset
    from huggingface_hub import HfApi

    revision = hub.revision
    try:
        if not Path(hub.id).is_dir():
            revision = HfApi().dataset_info(hub.id, revision=hub.revision).sha
        rows = load_dataset(hub.id, hub.configuration, split=hub.split, revision=revision, streaming=True)
        row: dict[str, Any] = next(iter(rows), {})
    except (OSError, ValueError, httpx2.HTTPError) as error:  # gated, unknown, offline; no such configuration or split
        reason = " ".join(str(error).split())
        cure = source.request or "is the id right, and HF_TOKEN set where it is gated?"
        raise BadInput(f"{hub.id}: {type(error).__name__}: {reason}; {cure}") from None
    if source.text_column not in row:
        raise BadInput(f"{hub.id}: its rows hold no {source.text_column!r}; {nearest(source.text_column, tuple(row))}")
    return asdict(hub) | {"revision": revision}


if __name__ == "__main__":
    run_script(main)
