"""The private folder in which ScandEval or EuroEval scores one checkpoint: the model, local data, metrics.

Both write results, caches and generations into the folder that they are started in, and into the model's. Both take a
data set, and a metric, from the folder they are started in rather than from the Hub where one lies there by its name.
"""

import hashlib
import shutil
from pathlib import Path

from snakmodel.config import BadInput
from snakmodel.hashes import file_hash
from snakmodel.older_keys import add_older_keys
from snakmodel.records import write_text
from snakmodel.series import Checkpoint, check_weights, split_revision

# The checkpoint, from the working folder: a path that can be no Hub id, or they would ask the Hub for a model of that
# name. An absolute one may hold @ or #, which they cut at.
MODEL = "./model"
COPIED = ("config.json", "tokenizer_config.json")  # what older_keys changes
FROM_HUB = ["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt"]  # of a model's repository
SPLITS = ("train", "val", "test")
FORMATS = ("parquet", "jsonl", "json", "csv")
METRICS = Path(__file__).parent / "offline_metrics"  # one file each, by the name that the Hub has for it
HEAD = "configs:\n- config_name: default\n  data_files:\n"  # of the README by which `datasets` knows files of splits


def make_working_folder(folder: Path, model: Path, data: Path | None, offline: bool) -> None:
    """Makes the folder anew, with the model as links, and local data and metrics where they are wanted."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    link_model(model, folder / MODEL)
    if data is not None:
        for repository in find_repositories(data):
            link_data(repository, folder / repository.parent.name / repository.name)
    if offline:
        for path in METRICS.glob("*.py"):
            name = path.stem.removesuffix("_metric")
            (folder / name).mkdir()
            shutil.copyfile(path, folder / name / f"{name}.py")


def link_model(model: Path, farm: Path) -> None:
    """A folder of links to a model's files, so that nothing is written into the model's own.

    What transformers 4 reads otherwise than 5 wrote it is copied, with the keys that 4 knows.
    """
    farm.mkdir()
    for path in sorted(p for p in model.iterdir() if p.is_file()):
        if path.name in COPIED:
            shutil.copyfile(path, farm / path.name)
        elif path.name not in ("started.json", "run.json"):
            (farm / path.name).symlink_to(path.resolve())
    add_older_keys(farm)


def local_copy(location: str) -> tuple[Path, str]:
    """A model's folder, fetched into the Hub's cache where it is none, and what it is: ORG/NAME@COMMIT.

    Raises BadInput where it cannot be had, or its weights are missing or cut short.
    """
    if Path(location).is_dir():
        check_weights(Path(location))
        return Path(location), location
    from huggingface_hub import snapshot_download  # late: most models lie here

    from snakmodel.hub import one_line

    name, revision = split_revision(location)
    with one_line(location):
        # as pretrain/prefetch.py fetches it: in folders of a model are copies in other formats
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=FROM_HUB, ignore_patterns=["*/*"]))
    check_weights(folder)
    return folder, f"{name}@{folder.name}"


def note_fault(checkpoint: Checkpoint) -> None:
    """Fetches a model where it must be, and notes why it cannot be loaded, if that can be told."""
    try:
        local_copy(checkpoint.pinned)
    except BadInput as fault:
        checkpoint.row["fault"] = str(fault)


def find_repositories(data: Path) -> list[Path]:
    """The data sets in a folder, as ORG/NAME beneath it; raises BadInput where there are none."""
    found = sorted(path for path in data.glob("*/*") if path.is_dir() and split_files(path))
    if not found:
        files = f"{{{','.join(SPLITS)}}}.{{{','.join(FORMATS)}}}"
        raise BadInput(f"{data} holds no data set; put them there by their Hub id, such as {data}/ORG/NAME/{files}")
    return found


def split_files(repository: Path) -> dict[str, Path]:
    """The files of a data set that are named for its splits."""
    names = {split: [repository / f"{split}.{kind}" for kind in FORMATS] for split in SPLITS}
    return {split: path for split, paths in names.items() for path in paths if path.is_file()}


def link_data(repository: Path, farm: Path) -> None:
    """A data set as links; one without a README gets one, or `datasets` would rename the split val."""
    farm.parent.mkdir(exist_ok=True)
    if (repository / "README.md").is_file():
        farm.symlink_to(repository.resolve())
        return
    farm.mkdir()
    rows = []
    for split, path in split_files(repository).items():
        (farm / path.name).symlink_to(path.resolve())
        rows.append(f"  - split: {split}\n    path: {path.name}\n")
    write_text(farm / "README.md", f"---\n{HEAD}{''.join(rows)}---\n")


def data_identity(data: Path) -> str:
    """Local data as an input of records.begin: a hash of every file."""
    found = find_repositories(data)
    files = sorted(path for repository in found for path in repository.rglob("*") if path.is_file())
    hashes = [f"{path.relative_to(data)} {file_hash(path)}" for path in files]
    return f"{data} {hashlib.sha256(' '.join(hashes).encode()).hexdigest()}"
