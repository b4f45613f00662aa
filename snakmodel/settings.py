"""Typed settings: a mapping from YAML becomes a dataclass whose fields say their type, range and meaning."""

import difflib
import os
import re
import sys
import types
import typing
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

S = TypeVar("S")
T = TypeVar("T")


class CommandLineText(str):
    """A value as typed on the command line: text for a setting that is text, YAML for any other."""


class LeftOut(str):
    """Where an entry comes from whose null leaves out that of the recipe that is extended: the file that says so."""


class BadInput(ValueError):
    """Something the user gave is wrong. Shown as one line; exit status 2."""


def knob(
    default: Any = MISSING,
    help: str = "",
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    execution: bool = False,
) -> Any:
    """A setting: its default (none: the recipe must give it), what it is with its unit, and its range.

    `execution` marks what cannot change the result (workers, logging): a changed value never invalidates output.
    """
    metadata = {"help": help, "low": low, "high": high, "above": above, "execution": execution}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def to_dataclass(values: Any, cls: type[S], where: list[str], origins: dict[str, str]) -> S:
    """A mapping as a typed dataclass. `where` is [file, section, key, ...], for the messages."""
    dotted = ".".join(where[1:])
    if not isinstance(values, dict):
        raise BadInput(f"{where[0]}: {dotted} should hold settings, got {values!r}")
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in known:
            file = origins.get(f"{dotted}.{key}", where[0])
            raise BadInput(f"{file}: {dotted}.{key} is not a setting; {nearest(str(key), tuple(known))}")
    result = {}
    for name, f in known.items():
        if name not in values:
            if f.default is MISSING and f.default_factory is MISSING:
                raise BadInput(f"{where[0]}: {dotted}.{name} is missing: {f.metadata.get('help', '')}")
            continue
        file = origins.get(f"{dotted}.{name}", where[0])
        result[name] = convert(values[name], hints[name], f"{file}: {dotted}.{name}", origins)
        check_range(result[name], f.metadata, f"{file}: {dotted}.{name}")
    return cls(**result)


def convert(value: Any, annotation: Any, where: str, origins: dict[str, str] | None = None) -> Any:
    """`value` as the annotated type; `where` opens the message when it cannot be.

    YAML 1.1 reads 15e-6 as text and an unquoted `no` as false: numbers are converted, `no` is refused.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(value, CommandLineText) and (
        origin is dict or origin is not list and str not in (annotation, *arguments)
    ):
        value = parse(value)
    if annotation is Any:
        return value
    if origin in (Union, types.UnionType):
        if value in (None, "null") and type(None) in arguments:
            return None
        (inner,) = [a for a in arguments if a is not type(None)]
        return convert(value, inner, where, origins)
    if origin is Literal:
        if value not in arguments:
            raise BadInput(f"{where} should be one of {', '.join(map(str, arguments))}, got {value!r}")
        return value
    if origin is list:
        if isinstance(value, CommandLineText):  # series=a,b or series=[a, b]
            value = parse(value) if value.startswith("[") else [part.strip() for part in value.split(",")]
        if not isinstance(value, list):
            raise BadInput(f"{where} should be a list, got {value!r}")
        return [convert(item, arguments[0], f"{where}[{i}]", origins) for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise BadInput(f"{where} should be a mapping, got {value!r}")
        takes_null = arguments[1] is Any or type(None) in get_args(arguments[1]) or not origins  # or is of no recipe
        entries = value if takes_null else without_left_out(value, where, origins or {})
        return {
            convert(key, arguments[0], f"{where} (a name)"): convert(item, arguments[1], f"{where}.{key}", origins)
            for key, item in entries.items()
        }
    if is_dataclass(annotation):
        file, _, dotted = where.partition(": ")
        return to_dataclass(value, annotation, [file, dotted], origins or {})  # type: ignore[arg-type]
    return convert_scalar(value, annotation, where)


def without_left_out(entries: dict[Any, Any], where: str, origins: dict[str, str]) -> dict[Any, Any]:
    """A mapping without the entries of the recipe that is extended which this one leaves out by null."""
    dotted = where.partition(": ")[2]
    typed = {key for key, item in entries.items() if isinstance(item, CommandLineText) and parse(item) is None}
    entries = {key: item for key, item in entries.items() if key not in typed}
    for key, item in entries.items():
        if item is None and not isinstance(origins.get(f"{dotted}.{key}"), LeftOut):
            others = tuple(str(other) for other in entries if other != key)
            raise BadInput(
                f"{where}.{key} is null, which leaves out an entry of the recipe that is extended, and that has none "
                f"of this name; {nearest(str(key), others)}"
            )
    return {key: item for key, item in entries.items() if item is not None}


class UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, with which the last of two keys of one name wins; this one refuses them."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise BadInput(f"{key.value!r} is there twice, in lines {lines[key.value]} and {line}; leave one out")
            lines[key.value] = line
        return node


def load_unique(text: str) -> Any:
    """What a YAML text holds; raises BadInput where a key is there twice, and yaml.YAMLError."""
    return yaml.load(text, UniqueKeys)  # what yaml.safe_load does, by a SafeLoader that refuses more


def parse(text: CommandLineText) -> Any:
    """What was typed, as YAML."""
    try:
        return load_unique(text)
    except yaml.YAMLError:
        return str(text)


def convert_scalar(value: Any, annotation: type, where: str) -> Any:
    """A bool, int, float or str."""
    wrong = BadInput(f"{where} should be {annotation.__name__}, got {value!r}")
    if annotation is bool or isinstance(value, bool):
        if annotation is not type(value):
            raise BadInput(f"{wrong}" + ("; quote it" if annotation is str else ""))
        return value
    if annotation is str:
        if isinstance(value, int | float):
            raise BadInput(f"{wrong}; quote it")
        if not isinstance(value, str):
            raise wrong
        return str(value)
    if isinstance(value, str):
        try:
            value = float(value.replace("_", ""))
        except ValueError:
            raise wrong from None
    # a whole number too large for a float is refused too, and so is what is not a number
    if not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise wrong
    if annotation is int and value != int(value):
        raise wrong
    return annotation(value)


def check_range(value: Any, metadata: Any, where: str) -> None:
    """Refuses a number out of its knob's range."""
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if metadata.get("low") is not None and number < metadata["low"]:
            raise BadInput(f"{where} should be at least {metadata['low']}, got {number}")
        if metadata.get("high") is not None and number > metadata["high"]:
            raise BadInput(f"{where} should be at most {metadata['high']}, got {number}")
        if metadata.get("above") is not None and number <= metadata["above"]:
            raise BadInput(f"{where} should be above {metadata['above']}, got {number}")


def how_many_workers(wanted: int) -> int:
    """What a setting `workers` means: so many, or of 0 one for each core that this process may use."""
    return wanted or (len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)


def share(items: list[T], part: str, where: str) -> list[T]:
    """Every n-th of the items from the k-th on, of a part "k/n"."""
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", part)
    if match is None or int(match[1]) > int(match[2]):
        raise BadInput(f"{where}.part should be like 1/4 ... 4/4, got {part!r}")
    return items[int(match[1]) - 1 :: int(match[2])]


def array_part() -> str:
    """The share of a Slurm array's job, by its place in the array; of no array, all."""
    if "SLURM_ARRAY_TASK_ID" not in os.environ:
        return "1/1"
    number, first, count = (int(os.environ[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "COUNT"))
    step = int(os.environ.get("SLURM_ARRAY_TASK_STEP", "1"))  # of --array=0-14:2
    return f"{(number - first) // step + 1}/{count}"


def nearest(word: str, choices: tuple[str, ...]) -> str:
    """ "did you mean ...?" or, where nothing is near, all choices."""
    if not choices:
        return "there are none"
    near = difflib.get_close_matches(word, choices, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(choices)}"
