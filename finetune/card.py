"""Write the model card of every step from the records of the run, and the source of each fact beside it.

python finetune/card.py --config configs/tiny.yaml

Writes README.md, from card.md.jinja, and card.sources.json: file, key and value of all that the card says. Cheap and
derived: where scores or quantised forms have been added since, it writes the card again. A card with something left to
fill in, or a link that leads nowhere, is refused with the line.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from snakmodel.config import BadInput, Command, knob, read_command, read_recipe, run_script
from snakmodel.hashes import file_hash
from snakmodel.paths import PRETRAINED, Run, step_name
from snakmodel.printed_tables import escape_markdown, thousands
from snakmodel.records import begin, identity, is_current, read_json, shaping, write_json, write_text
from snakmodel.series import Checkpoint, choose, is_own, read_series

QUESTION = "Hvad hedder hovedstaden i Danmark?"  # of the card's example
OPENING = "Hovedstaden i Danmark hedder"
BRACES = re.compile(r"\{\{|\}\}|\{%|%\}")  # of a template
LEFT_OVER = re.compile(r"\b(?:TODO|FIXME|XXX|TBD)\b|\[More Information Needed\]|\bORG/")
PLACEHOLDER = re.compile(r"<(?!https?://|/?(?:br|sub|sup|b|i)>)[A-Za-z][^<>\n]*>")  # <your name>; code may hold <s>
LINK = re.compile(r"https?://[^\s)>\]\"'`]*|\]\(\s*\)")
NOWHERE = re.compile(r"(^|\.)(example\.(com|org|net)|example|invalid|localhost)$")

Facts = dict[tuple[str, tuple[Any, ...]], Any]  # file, and the keys that lead to a value -> the value


@dataclass
class Settings:
    series: str = knob(PRETRAINED, "pretrained, or a tuned variant", execution=True)
    steps: str = knob("all", "steps to write cards for: all, first, last, 500,1000 or 500:12500:500", execution=True)
    name: str = knob("", "what the card calls the model; empty: the names of run and series")
    repository: str | None = knob(None, "ORG/NAME that it is published as, for the card's code; null: its folder")
    base_model: str | None = knob(None, "Hub id of the model that the series continues; null: what the run records")
    licence: str | None = knob(None, "of the weights, as the Hub writes it (llama2, apache-2.0); null: not stated")
    citation: str | None = knob(None, "BibTeX; null: none")
    template: str = knob("finetune/card.md.jinja", "Jinja template of the card")


class Record:
    """What a JSON file holds. Every value that is read of it is noted, with the file and the keys that lead to it."""

    def __init__(self, data: Any, file: str, noted: Facts, keys: tuple[Any, ...] = ()) -> None:
        self._data, self._file, self._noted, self._keys = data, file, noted, keys

    def __getitem__(self, name: Any) -> Any:
        value, keys = self._data[name], (*self._keys, name)
        if isinstance(value, dict | list):
            return Record(value, self._file, self._noted, keys)
        self._noted[self._file, keys] = value
        return value

    def __iter__(self) -> Iterator[Any]:
        """The keys of a mapping, the values of a list."""
        return iter(self._data) if self.is_mapping else (self[place] for place in range(len(self._data)))

    def __len__(self) -> int:
        return len(self._data)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self._data, dict)


def main() -> None:
    command = read_command(Settings, "card", __doc__)
    s, run = command.settings, command.run
    series = run.series(s.series)
    for checkpoint in choose(read_series(series), s.steps, f"{command.config}: card.steps"):
        if not is_own(checkpoint, series):
            print(f"card step {checkpoint.step}: {checkpoint.location} is described by its makers", flush=True)
            continue
        files = find_records(run, s.series, checkpoint)
        folder = run.folder("card") / s.series / step_name(checkpoint.step)
        recipes = {file: Path(file) for file in read_recipe(command.config)[1].values() if Path(file).is_file()}
        inputs = {"model": checkpoint.source, "template": Path(s.template), **recipes}
        work = begin(
            command, folder, {**inputs, **{f"record {key}": path for key, path in files.items()}}, derived=True
        )
        if work is None:
            continue
        noted: Facts = {}
        card = render(command, checkpoint, files, noted)
        check_card(card, str(folder / "README.md"))
        facts = [{"file": file, "keys": keys, "value": value} for (file, keys), value in noted.items()]
        write_json(folder / "card.sources.json", facts)
        write_text(folder / "README.md", card)
        names = ("README.md", "card.sources.json")
        work.finish(files={n: {"bytes": (folder / n).stat().st_size, "sha256": file_hash(folder / n)} for n in names})
        print(f"{folder / 'README.md'}: {len(facts):,} facts of {len({f['file'] for f in facts})} files", flush=True)


def find_records(run: Run, series: str, checkpoint: Checkpoint) -> dict[str, Path]:
    """What the run has recorded of a step: name -> file. Of several tunings the last is `tuning 0`."""
    folder = Path(checkpoint.location)
    wanted = {"manifest": folder / "run.json", "scores": run.folder("collect") / "scores.json"}
    forms = run.folder("release") / series / step_name(checkpoint.step)
    if is_current(forms, {"model": checkpoint.source}):
        wanted["forms"] = forms / "comparison.json"
    number = 0
    while (folder / "run.json").is_file() and "adapter" in (merged := read_json(folder / "run.json")["inputs"]):
        adapter = find_input(merged["adapter"], run)
        wanted[f"tuning {number}"] = adapter / "run.json"
        inputs = read_json(adapter / "run.json")["inputs"]
        if "instructions" in inputs:
            data = find_input(inputs["instructions"], run)
            wanted |= {f"data {number}": data / "run.json", f"contaminated {number}": data / "contaminated.json"}
        folder, number = find_input(inputs["model"], run), number + 1
    if (folder / "run.json").is_file() and "training" in read_json(folder / "run.json"):
        trained = Run(folder.parent.parent)  # another run, where a tuned step is the one that its series began from
        wanted |= {"pretraining": folder / "run.json", "training": trained.folder("pretrain") / "run.json"}
        wanted |= {"corpus": trained.folder("ledger") / "ledger.json"}
        wanted |= {"language": trained.folder("filter_language") / "run.json"}
        wanted |= {"decontaminate": trained.folder("decontaminate") / "run.json"}
        wanted |= {"contaminated": trained.folder("decontaminate") / "contaminated.json"}
    return {name: path for name, path in wanted.items() if path.is_file()}


def find_input(told: dict[str, str], run: Run) -> Path:
    """What a record was made from: where it lay, or, the run having moved, under the same names beneath the run.

    Of a model on the Hub its id, which is no folder; raises BadInput for a folder that is gone.
    """
    path = Path(told["path"])
    beneath = [run.root.joinpath(*path.parts[count:]) for count in range(1, len(path.parts))]
    for folder in (path, *beneath):
        if (folder / "run.json").is_file() and identity(folder) == told["hash"]:
            return folder
    if path.is_absolute() or path.exists() or told["path"].partition("@")[0].count("/") != 1:
        raise BadInput(
            f"{path} is not there any more, or has changed: the card cannot say what the model was made from"
        )
    return path


def render(command: Command[Settings], checkpoint: Checkpoint, files: dict[str, Path], noted: Facts) -> str:
    """The card's text; every value that it takes from a record is put into `noted`."""
    import jinja2  # late: a finished stage says so at once

    s, root, revision = command.settings, command.run.root, step_name(checkpoint.step)
    records = {name: Record(read_json(path), label(path, root), noted) for name, path in files.items()}
    own = Record(shaping(s), str(command.config), noted, ("card",))
    options: Any = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(**options)
    environment.filters |= {"cell": escape_markdown, "thousands": thousands, "yaml": to_yaml, "plain": plain}
    tunings = [name for name in files if name.startswith("tuning ")]
    language = records["language"]["settings"]["language"] if "language" in records else None
    axis = read_json(command.run.series(s.series) / "series.json").get("axis")
    scores = []
    if "scores" in records:
        scores = scores_of(files["scores"], records["scores"], s.series, checkpoint.step)
    try:
        return environment.from_string(Path(s.template).read_text(encoding="utf-8")).render(
            **{name: records.get(name) for name in ("pretraining", "training", "corpus", "forms")},
            **{name: records.get(name) for name in ("decontaminate", "contaminated")},
            tunings=[tuning(records, number) for number in range(len(tunings))],
            scores=scores,
            name=s.name or f"{root.name} {s.series}",
            revision=revision,
            settings_of_card=own,
            language=language,
            parameters=count_parameters(records["manifest"]),
            base=base_of(records, own),
            front_matter=front_matter(records, own, language),
            place=s.repository or checkpoint.location,
            forms_folder=files["forms"].parent.as_posix() if "forms" in files else None,
            pinned=f', revision="{revision}"' if s.repository else "",
            prompt=example(Path(checkpoint.location), root, noted),
            axis=axis or "steps",
            question=QUESTION,
            opening=OPENING,
        )
    except (jinja2.UndefinedError, KeyError) as error:
        raise BadInput(
            f"{s.template}: {error}: no record of {root} has it; the card says only what was recorded"
        ) from None
    except jinja2.TemplateSyntaxError as error:
        raise BadInput(f"{s.template}, line {error.lineno}: {error.message}") from None


def tuning(records: dict[str, Record], number: int) -> dict[str, Any]:
    """One tuning for the template: its record, its data's counts, what was found of test items there, and held out."""
    record = records[f"tuning {number}"]
    on_pairs = "held_out" in record  # a tuning on preferences has its counts itself
    source = record if on_pairs else records.get(f"data {number}")
    return {
        "record": record,
        "data": "Preference pairs" if on_pairs else "Instructions",
        "counts": [] if source is None else source["counts"],
        "dropped": record["dropped"] if "dropped" in record else {},
        "held_out": record["held_out"] if on_pairs else None,
        "contaminated": records.get(f"contaminated {number}"),
    }


def scores_of(path: Path, record: Record, series: str, step: int) -> list[tuple[Any, Any]]:
    """The primary scores of a step, each with that of step 0 on the same data set, or None.

    Of several scorers, versions or splits, one: the built-in scorer's, where the step has them.
    """
    rows_of_all = [(place, row) for place, row in enumerate(read_json(path)["rows"]) if row["primary"]]
    kinds = {kind_of(row) for _, row in rows_of_all if (row["series"], row["step"]) == (series, step)}
    kind = min(kinds, key=lambda kind: (kind[0] != "builtin", kind), default=())
    places = {(row["series"], row["step"], row["dataset"]): place for place, row in rows_of_all if kind_of(row) == kind}
    mine = [(dataset, place) for (name, at, dataset), place in places.items() if (name, at) == (series, step)]
    first = [places.get((PRETRAINED, 0, dataset)) for dataset, _ in mine]
    rows = record["rows"]
    return [(rows[place], None if base is None else rows[base]) for (_, place), base in zip(mine, first, strict=True)]


def kind_of(row: dict[str, Any]) -> tuple[str, ...]:
    """What must be the same for scores to be compared."""
    return tuple(row.get(name) or "" for name in ("scorer", "scorer_version", "split"))


def base_of(records: dict[str, Record], own: Record) -> str | None:
    """The model that the series continues, by its name on the Hub; None: it has none there that is known."""
    parent = str(records["pretraining"]["parent"]) if "pretraining" in records else ""
    on_hub = parent.count("/") == 1 and not parent.startswith(".") and not Path(parent).exists()
    return own["base_model"] or (parent.partition("@")[0] if on_hub else None)


def front_matter(records: dict[str, Record], own: Record, language: str | None) -> dict[str, Any]:
    """What the Hub reads of a card: https://huggingface.co/docs/hub/model-cards"""
    base = base_of(records, own)
    return {
        **({"language": [language]} if language else {}),
        **({"license": own["licence"]} if own["licence"] else {}),
        **({"base_model": base} if base else {}),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
    }


def count_parameters(manifest: Record) -> int:
    """The numbers in all tensors of the model."""
    return sum(math.prod(manifest["tensors"][name]["shape"]) for name in manifest["tensors"])


def example(folder: Path, root: Path, noted: Facts) -> str | None:
    """QUESTION in the prompt format that the tokenizer carries; None: it carries none."""
    if not (folder / "chat_template.jinja").is_file():
        return None
    from snakmodel.models import load_tokenizer  # late: it imports torch

    turns = [{"role": "user", "content": QUESTION}]
    prompt = str(load_tokenizer(folder).apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    noted[label(folder / "chat_template.jinja", root), ("one question in it",)] = prompt
    return prompt


def label(path: Path, root: Path) -> str:
    """A file's name in card.sources.json: beneath the run's folder where it lies there."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def plain(value: Any) -> Any:
    """A record's part as JSON; all of it is noted."""
    if not isinstance(value, Record):
        return value
    names = list(value)
    return {name: plain(value[name]) for name in names} if value.is_mapping else [plain(item) for item in names]


def to_yaml(data: Any) -> str:
    """YAML in the order given."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120).rstrip()


def check_card(text: str, name: str) -> None:
    """Refuses a card with something left to fill in, or with a link that leads nowhere; says in which line."""
    fence = ""  # the language of the code block that a line is in
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("```"):
            fence = "" if fence else line.strip("` ") or "text"
        line = unescape(line)  # what was typed, before Markdown made it harmless
        prose = "" if fence else re.sub(r"`[^`]*`", "", line)
        braces = BRACES.search(line) if fence != "bibtex" else None  # where they keep capital letters
        if found := braces or LEFT_OVER.search(line) or PLACEHOLDER.search(prose):
            raise BadInput(f"{name}, line {number}: {found[0]!r} is left to fill in; fill it in, or take it out")
        for link in LINK.findall(line):
            host = (urlsplit(link).hostname or "").rstrip(".,")
            if "." not in host or NOWHERE.search(host):
                raise BadInput(f"{name}, line {number}: the link {link!r} leads nowhere; give the real address")


if __name__ == "__main__":
    run_script(main)
