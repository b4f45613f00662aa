"""What the Hub would not give, as one line with its cure."""

from collections.abc import Iterator

from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError


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
