"""Take series that lie on the Hub as this run's own: a map of steps to revisions becomes series.json.

python pretrain/adopt.py --config configs/snakmodel-released.yaml
python pretrain/adopt.py --config configs/snakmodel-released.yaml list=true    # the revisions that are there

For series whose revisions are not named like step-00500; one of those is read as "hub:ORG/NAME" without this. Nothing
is downloaded: analysis and scores read from the Hub what they need. A revision that is no commit is pinned to the
commit that it is at, and stays there until the map changes or --overwrite asks again. Only ORG/NAME@REVISION is of
another repository: user/branch and refs/pr/1 are branches.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import PRETRAINED
from snakmodel.records import begin, read_json
from snakmodel.series import commit_at, split_revision, write_series

ELSEWHERE = re.compile(r"[\w.-]+/[\w.-]+@.+")  # ORG/NAME@REVISION


@dataclass
class Adopted:
    repository: str = knob(help="ORG/NAME")
    revisions: dict[int, str | None] = knob(
        help="step -> branch, tag or commit there; ORG/NAME@REVISION: of another repository; null: not known yet"
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
    for name in s.series:
        check_free(command.run.series(name))
    work = begin(command, command.run.folder("adopt"), {}, derived=True)
    if work is None:
        return
    found = {name: find_rows(adopted, f"{where}.{name}") for name, adopted in s.series.items()}
    pretrained = {row["step"]: row["location"] for row in found.get(PRETRAINED, [])}
    for name, rows in found.items():
        folder = command.run.series(name)
        for row in rows:
            row["parent"] = parent_of(row, rows[0]) if name == PRETRAINED else pretrained.get(row["step"])
        write_series(folder, name, rows)
        unknown = [step for step, revision in sorted(s.series[name].revisions.items()) if revision is None]
        print(f"{folder / 'series.json'}: {len(rows)} steps of {s.series[name].repository}", flush=True)
        if unknown:
            print(f"left out, their revisions are not filled in: {', '.join(map(str, unknown))}", flush=True)
    work.finish(series={name: {row["step"]: row["location"] for row in rows} for name, rows in found.items()})


def find_rows(adopted: Adopted, where: str) -> list[dict[str, Any]]:
    """The rows of series.json by step, each with the commit that its revision is at."""
    known = {step: revision for step, revision in adopted.revisions.items() if revision is not None}
    if not known:
        raise BadInput(f"{where}.revisions: no step has one; list=true prints those of {adopted.repository}")
    rows = []
    for step, revision in sorted(known.items()):
        location = locate(adopted.repository, revision)
        location = f"{split_revision(location)[0]}@{pin(location, f'{where}.revisions.{step}')}"
        tokens = None if adopted.tokens_per_step is None else step * adopted.tokens_per_step
        rows.append({"step": step, "tokens": tokens, "location": location})
    return rows


def locate(repository: str, revision: str) -> str:
    """ORG/NAME@REVISION of a step: of the series' own repository, unless its revision names another one."""
    return revision if ELSEWHERE.fullmatch(revision) else f"{repository}@{revision}"


def pin(location: str, where: str) -> str:
    """The commit that ORG/NAME@REVISION is at."""
    try:
        return commit_at(location)
    except BadInput as error:
        cure = (
            "; another repository's revision is given as ORG/NAME@REVISION" if "/" in location.partition("@")[2] else ""
        )
        raise BadInput(f"{where}: {error}{cure}") from None


def parent_of(row: dict[str, Any], first: dict[str, Any]) -> str | None:
    """What a pre-trained step continues, as pretrain/export.py has it: step 0, where that is another repository's."""
    names = [split_revision(each["location"])[0] for each in (row, first)]
    return first["location"] if first["step"] == 0 and names[0] != names[1] else None


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
