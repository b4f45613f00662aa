"""Take series that lie on the Hub as this run's own: a map of steps to revisions becomes series.json.

python pretrain/adopt.py --config configs/snakmodel-released.yaml
python pretrain/adopt.py --config configs/snakmodel-released.yaml list=true    # the revisions that are there

For series whose revisions are not named like step-00500; one of those is read as "hub:ORG/NAME" without this. Nothing
is downloaded: analysis and scores read from the Hub what they need. A revision that is no commit is pinned to the
commit that it is at.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.records import read_json
from snakmodel.series import split_revision, write_series

COMMIT = re.compile("[0-9a-f]{40}")


@dataclass
class Adopted:
    repository: str = knob(help="ORG/NAME")
    revisions: dict[int, str | None] = knob(
        help="step -> branch, tag or commit there; ORG/NAME[@REVISION]: of another repository; null: not known yet"
    )
    tokens_per_step: int | None = knob(None, "tokens that a step has seen; null: not known", low=1)


@dataclass
class Settings:
    series: dict[str, Adopted] = knob(help="name in this run (pretrained, or a tuned variant's) -> where its steps are")
    list: bool = knob(False, "print the repositories' branches, tags and commits, and write nothing", execution=True)


def main() -> None:
    command = read_command(Settings, "adopt", __doc__)
    s = command.settings
    if s.list:
        for repository in {adopted.repository: None for adopted in s.series.values()}:
            print_revisions(repository)
        return
    where = f"{command.config}: adopt.series"
    found = {name: find_rows(adopted, f"{where}.{name}") for name, adopted in s.series.items()}
    for name, rows in found.items():
        folder = command.run.series(name)
        check_free(folder)
        write_series(folder, name, rows)
        unknown = [step for step, revision in sorted(s.series[name].revisions.items()) if revision is None]
        print(f"{folder / 'series.json'}: {len(rows)} steps of {s.series[name].repository}", flush=True)
        if unknown:
            print(f"left out, their revisions are not filled in: {', '.join(map(str, unknown))}", flush=True)


def find_rows(adopted: Adopted, where: str) -> list[dict[str, Any]]:
    """The rows of series.json, each with the commit that its revision is at."""
    known = {step: revision for step, revision in adopted.revisions.items() if revision is not None}
    if not known:
        raise BadInput(f"{where}.revisions: no step has one; list=true prints those of {adopted.repository}")
    rows = []
    for step, revision in sorted(known.items()):
        location = revision if "/" in revision else f"{adopted.repository}@{revision}"
        name, pinned = split_revision(location)
        if not COMMIT.fullmatch(pinned or ""):
            from snakmodel.hub import commit_of  # late: of commits nothing is asked

            location = f"{name}@{commit_of(location)}"
        tokens = None if adopted.tokens_per_step is None else step * adopted.tokens_per_step
        rows.append({"step": step, "tokens": tokens, "parent": None, "location": location})
    return rows


def check_free(folder: Path) -> None:
    """Refuses to write over the series of models that were made here."""
    path = folder / "series.json"
    own = [row["path"] for row in read_json(path)["steps"] if row["path"].startswith(".")] if path.is_file() else []
    if own:
        raise BadInput(f"{path} is of models that lie here ({own[0]}); adopt into another run_dir")


def print_revisions(repository: str) -> None:
    """The branches and tags of a repository with their commits, and the commits of its main branch, newest first."""
    from huggingface_hub import HfApi

    from snakmodel.hub import one_line

    with one_line(repository):
        refs, commits = HfApi().list_repo_refs(repository), HfApi().list_repo_commits(repository)
    print(repository)
    for kind, names in (("branch", refs.branches), ("tag", refs.tags)):
        for ref in names:
            print(f"  {ref.target_commit}  {kind} {ref.name}")
    for commit in commits:
        print(f"  {commit.commit_id}  {commit.created_at:%Y-%m-%d}  {commit.title}")


if __name__ == "__main__":
    run_script(main)
