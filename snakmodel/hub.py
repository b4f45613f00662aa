"""A series on the Hugging Face Hub: one repository, one revision (branch) a step, and series.json on `main`.

The token, where one is needed, is HF_TOKEN of the environment; HF_ENDPOINT names another server.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx2
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    constants,
    is_offline_mode,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import disable_progress_bars

from snakmodel.config import BadInput
from snakmodel.hashes import file_hash

T = TypeVar("T")
STEP = re.compile(r"step-?(\d+)")  # step-00500, or Pythia's step500
ON_HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
NOT_OURS = (".gitattributes", "README.md")  # of a repository: the Hub's own, and the card
FAILURES = (HfHubHTTPError, httpx2.HTTPError, ConnectionError)
ATTEMPTS = 4  # at what the Hub fails in, twice as long apart each time


@contextmanager
def one_line(repository: str) -> Iterator[None]:
    """What the Hub refuses, as one line."""
    try:
        yield
    except OfflineModeIsEnabled:
        raise BadInput(f"{repository}: the Hub is not asked while HF_HUB_OFFLINE is set") from None
    except (*FAILURES, HFValidationError, FileNotFoundError, RuntimeError) as error:
        said = error.__cause__ if isinstance(error, RuntimeError) else error  # uploads fail in a thread
        if isinstance(error, RuntimeError) and not isinstance(said, FAILURES):
            raise
        reason = " ".join(str(said).split()) or type(said).__name__
        cure = "; HF_TOKEN should hold a token that may do this" if status_of(said) in (401, 403) else ""
        known = refusal(repository.partition("@")[0], error)
        raise BadInput(known or f"{repository} on the Hub: {reason}{cure}") from error


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status that the Hub answered with; None: no answer came."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None


def read_steps(repository: str, whole: bool = True) -> list[dict[str, Any]]:
    """The rows of a series on the Hub, by step: a revision each, with the commit that it is at.

    Tokens, parents and a step 0 that refers to a parent are as series.json on `main` has them, where there is one.
    whole: a step of series.json without a revision is an error.
    """
    with one_line(repository):
        branches = {branch.name: branch.target_commit for branch in HfApi().list_repo_refs(repository).branches}
        _, told = read_published(repository)
    rows = {row["step"]: row for row in told}
    for name, commit in branches.items():
        if match := STEP.fullmatch(name):
            row = rows.get(int(match[1]), {"step": int(match[1]), "tokens": None, "parent": None})
            rows[row["step"]] = row | {"path": f"{repository}@{name}", "commit": commit}
    if not rows:
        raise BadInput(f"{repository} on the Hub has no revision named like step-00500")
    for row in rows.values():
        if whole and row["path"].startswith(f"{repository}@") and "commit" not in row:
            raise BadInput(f"{repository} on the Hub has no revision for step {row['step']} of its series.json")
    return [rows[step] for step in sorted(rows)]


def read_published(repository: str) -> tuple[str | None, list[dict[str, Any]]]:
    """Name and rows of the series.json on `main`; None and none where there is none."""
    try:
        series = json.loads(HfFileSystem(skip_instance_cache=True).read_bytes(f"{repository}@main/series.json"))
        name, rows = series.get("name"), series["steps"]
        ours = all(row["step"] >= 0 and ON_HUB.fullmatch(row["path"]) for row in rows)
    except FileNotFoundError:
        return None, []
    except (ValueError, KeyError, TypeError, AttributeError):
        ours = False
    if not ours:
        raise BadInput(f"{repository} on the Hub: its series.json is none of ours")
    return name, list(rows)


def commit_of(location: str) -> str:
    """The commit that ORG/NAME or ORG/NAME@REVISION is at: by the Hub, or by the cache where it is not to be asked."""
    name, _, revision = location.partition("@")
    with one_line(location):
        if is_offline_mode():
            copy = snapshot_download(
                name, revision=revision or None, local_files_only=True, allow_patterns=["config.json"]
            )
            return Path(copy).name
        return str(HfApi().model_info(name, revision=revision or None).sha)


def refusal(id: str, error: Exception, kind: str = "model") -> str | None:
    """Why the Hub's libraries could not load `id`, and what to do; None where the Hub has no part in it."""
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{id}"
    causes = list(causes_of(error))
    absent = any(isinstance(cause, RepositoryNotFoundError) for cause in causes)  # of which GatedRepoError is a kind
    if any(isinstance(cause, GatedRepoError) for cause in causes) or (not absent and "gated" in str(error)):
        return f"{id} is gated: accept its conditions at {page}, and set HF_TOKEN to a token of yours"
    if absent:
        return f"{id} is not there, or private: look at {page}; a private one needs HF_TOKEN"
    if any(isinstance(cause, LocalEntryNotFoundError) for cause in causes):
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
        return f"{id} is not in the cache {constants.HF_HUB_CACHE}, and {offline}: make prefetch fetches it"
    return None


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those behind it; libraries bury the Hub's in their own."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def list_files(repository: str, revision: str) -> dict[str, tuple[int, str | None]]:
    """The files of a revision: size, and SHA-256 where the Hub has it; none where there is no such revision."""
    with one_line(f"{repository}@{revision}"):
        try:
            entries = [e for e in HfApi().list_repo_tree(repository, revision=revision) if isinstance(e, RepoFile)]
        except RevisionNotFoundError:
            return {}
    return {entry.path: (entry.size, entry.lfs.sha256 if entry.lfs else None) for entry in entries}


@contextmanager
def open_file(hub: HfFileSystem, location: str, name: str) -> Iterator[BinaryIO]:
    """A file of ORG/NAME@REVISION, read by range requests: each read asks for its bytes and no others."""
    with one_line(location), hub.open(f"{location}/{name}", "rb", cache_type="none") as file:
        yield file


def open_repository(repository: str, private: bool) -> HfApi:
    """Makes the repository unless it is there. Needs HF_TOKEN: a saved login is never used."""
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise BadInput(f"HF_TOKEN is not set; it should hold a token that may write to {repository}")
    if not sys.stderr.isatty():
        disable_progress_bars()  # a log takes no bars
    api = HfApi(token=token)
    with one_line(repository):
        again(lambda: api.create_repo(repository, private=private, exist_ok=True))
    return api


def push(api: HfApi, repository: str, revision: str, files: dict[str, Path], hashes: dict[str, str]) -> int:
    """Makes a revision hold these files, and of ours no others, in one commit. Returns the bytes that differed.

    files: name -> path; hashes: name -> SHA-256, of files where it is known. 0: all was there already.
    A new revision begins empty, never as a copy of another one: cut off, it holds nothing rather than wrong weights.
    """

    def attempt() -> int:
        if revision not in {branch.name for branch in api.list_repo_refs(repository).branches}:
            first = api.list_repo_commits(repository)[-1].commit_id
            api.create_branch(repository, branch=revision, revision=first, exist_ok=True)
        tree = api.list_repo_tree(repository, revision=revision, recursive=True)
        there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        changed = [name for name, path in files.items() if not is_same(there.get(name), path, hashes.get(name))]
        gone = [name for name in there if name not in files and name not in NOT_OURS]
        if changed or gone:
            additions = [CommitOperationAdd(name, files[name]) for name in changed]
            for addition in additions:
                name = addition.path_in_repo
                if hashes.get(name, found := addition.upload_info.sha256.hex()) != found:
                    raise BadInput(f"{files[name]} is not what its run.json says; export this step again")
            deletions = [CommitOperationDelete(name) for name in gone]
            message = f"{revision}: {len(additions)} files" + (f", {len(gone)} removed" if gone else "")
            api.create_commit(repository, [*additions, *deletions], commit_message=message, revision=revision)
        return sum(files[name].stat().st_size for name in changed)

    with one_line(f"{repository}@{revision}"):
        return again(attempt)


def is_same(there: RepoFile | None, path: Path, sha256: str | None) -> bool:
    """Whether the Hub has this file: large files are known there by their SHA-256, small ones by git's hash."""
    if there is None or there.size != path.stat().st_size:
        return False
    if there.lfs is not None:
        return there.lfs.sha256 == (sha256 or file_hash(path))
    content = path.read_bytes()
    return there.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def again(attempt: Callable[[], T]) -> T:
    """Calls `attempt`, again where the Hub is busy, broken or gone for a moment."""
    for number in range(1, ATTEMPTS + 1):
        try:
            return attempt()
        except FAILURES as error:
            status = status_of(error)
            passing = status is None or status == 429 or status >= 500
            if not passing or isinstance(error, OfflineModeIsEnabled) or number == ATTEMPTS:
                raise
            time.sleep(2.0 ** (number - 1))
    raise AssertionError
