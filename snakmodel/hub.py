"""A series on the Hugging Face Hub: one repository, one revision (branch) a step, and series.json on `main`.

The token, where one is needed, is HF_TOKEN of the environment; HF_ENDPOINT names another server.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from huggingface_hub import HfApi, HfFileSystem, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from snakmodel.config import BadInput

STEP = re.compile(r"step-?(\d+)")  # step-00500, or Pythia's step500


@contextmanager
def one_line(repository: str) -> Iterator[None]:
    """What the Hub refuses, as one line."""
    try:
        yield
    except OfflineModeIsEnabled:
        raise BadInput(f"{repository}: the Hub is not asked while HF_HUB_OFFLINE is set") from None
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, FileNotFoundError) as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response else None
        cure = "; set HF_TOKEN to a token that may do this" if status in (401, 403) else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(refusal(repository, error) or f"{repository} on the Hub: {reason}{cure}") from error


def read_steps(repository: str, whole: bool = True) -> list[dict[str, Any]]:
    """The rows of a series on the Hub, by step: a revision each, with the commit that it is at.

    Tokens, parents and a step 0 that refers to a parent are as series.json on `main` has them, where there is one.
    whole: a step of series.json without a revision is an error.
    """
    with one_line(repository):
        branches = {branch.name: branch.target_commit for branch in HfApi().list_repo_refs(repository).branches}
        told = read_remote_json(repository, "main", "series.json") or {"steps": []}
    rows = {row["step"]: row for row in told["steps"]}
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


def read_remote_json(repository: str, revision: str, path: str) -> Any:
    """A JSON file of a repository, or None where it has none of that name."""
    files = HfFileSystem(skip_instance_cache=True)
    try:
        return json.loads(files.read_bytes(f"{repository}/{path}", revision=revision))
    except FileNotFoundError:
        return None


def refusal(id: str, error: Exception, kind: str = "model") -> str | None:
    """Why the Hub's libraries could not load `id`, and what to do; None where the Hub has no part in it."""
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{id}"
    causes = list(causes_of(error))
    if any(isinstance(cause, GatedRepoError) for cause in causes) or "gated" in str(error):
        return f"{id} is gated: accept its conditions at {page}, and set HF_TOKEN to a token of yours"
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
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
