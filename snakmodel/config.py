"""One section of a recipe becomes a typed `Settings` dataclass.

    python STAGE/script.py --config configs/RUN.yaml [key=value ...] [--overwrite] [--check] [--help]

`key=value` changes the script's own section, `section.key=value` another one, `run_dir=out/x` the run's folder.
In a section, "{run_dir}" and "{base_run}" (the run that this one continues) stand for the recipe's own values.
A recipe may say `extends: other.yaml`; its own keys win, section by section and key by key.
"""

import argparse
import difflib
import errno
import math
import os
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import yaml

from snakmodel.paths import SECTIONS, Run

S = TypeVar("S")
TOP_KEYS = ("extends", "run_dir", "base_run")


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


@dataclass(frozen=True)
class Command(Generic[S]):
    """What a script gets from its command line."""

    section: str
    settings: S
    run: Run
    config: Path
    overwrite: bool  # throw away finished output made with other settings
    check: bool  # look at settings and inputs, then stop


def read_command(settings: type[S], section: str, doc: str | None, argv: list[str] | None = None) -> Command[S]:
    """Reads `--config`, overrides and flags; raises BadInput with one exact line."""
    parser = argparse.ArgumentParser(add_help=False, usage="python SCRIPT --config configs/RUN.yaml [key=value ...]")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    arguments, overrides = parser.parse_known_args(argv)
    for word in overrides:
        if word.startswith("-") or "=" not in word:
            raise BadInput(
                f"{word!r} is not an argument; give --config FILE, key=value, --overwrite, --check or --help"
            )
    if arguments.help:
        values = read_recipe(arguments.config)[0].get(section) or {} if arguments.config else None
        print(describe(settings, section, doc or "", values))
        raise SystemExit(0)
    if arguments.config is None:
        raise BadInput("no recipe given; add --config configs/tiny.yaml")
    recipe, origins = read_recipe(arguments.config)
    for override in overrides:
        apply_override(recipe, origins, section, override)
    if section not in recipe:
        raise BadInput(f"{arguments.config}: no section {section!r}; add '{section}: {{}}' for its defaults")
    run_dir = convert(recipe.get("run_dir"), str, f"{origins.get('run_dir', arguments.config)}: run_dir")
    names = {"run_dir": run_dir}
    if recipe.get("base_run") is not None:
        names["base_run"] = convert(recipe["base_run"], str, f"{origins['base_run']}: base_run")
    values = fill_in(recipe[section] if recipe[section] is not None else {}, names)
    where = [origins.get(section, str(arguments.config)), section]
    return Command(
        section=section,
        settings=to_dataclass(values, settings, where, origins),
        run=Run(Path(run_dir)),
        config=arguments.config,
        overwrite=arguments.overwrite,
        check=arguments.check,
    )


def read_recipe(path: Path, seen: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """A recipe with what it extends merged in, and for every dotted key the file that it comes from."""
    if path.resolve() in seen:
        raise BadInput(f"{path}: extends itself through {' -> '.join(str(p.name) for p in seen)}")
    recipe = load_yaml(path)
    for key in recipe:
        if key not in TOP_KEYS + SECTIONS:
            raise BadInput(f"{path}: {key!r} is not a section; {nearest(str(key), TOP_KEYS + SECTIONS)}")
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if "extends" in recipe:
        parent = convert(recipe.pop("extends"), str, f"{path}: extends")
        merged, origins = read_recipe(path.parent / parent, (*seen, path.resolve()))
    merge_into(merged, recipe, origins, str(path), "")
    return merged, origins


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping."""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
        raise BadInput(f"{path}: no such file" + (f"; did you mean {path.parent / near[0]}?" if near else ""))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: should hold sections with settings, got {type(content).__name__}")
    return content


def merge_into(base: dict[str, Any], new: dict[str, Any], origins: dict[str, str], file: str, prefix: str) -> None:
    """Puts `new` into `base`, mapping by mapping, noting where each dotted key comes from."""
    for key, value in new.items():
        origins[f"{prefix}{key}"] = file
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge_into(base[key], value, origins, file, f"{prefix}{key}.")
        else:
            base[key] = value


def apply_override(recipe: dict[str, Any], origins: dict[str, str], section: str, override: str) -> None:
    """Applies one `key=value` or `section.key=value` of the command line."""
    dotted, _, text = override.partition("=")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    keys = dotted.split(".")
    if keys[0] not in TOP_KEYS + SECTIONS or (len(keys) == 1 and keys[0] not in TOP_KEYS):
        keys = [section, *keys]
    target = recipe
    for key in keys[:-1]:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    target[keys[-1]] = value
    origins[".".join(keys)] = "command line"


def fill_in(value: Any, names: dict[str, str]) -> Any:
    """Replaces "{run_dir}" in every text of a section."""
    if isinstance(value, dict):
        return {key: fill_in(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_in(item, names) for item in value]
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
    return value


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
    if annotation is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = [a for a in arguments if a is not type(None)]
        return convert(value, inner, where, origins)
    if origin is Literal:
        if value not in arguments:
            raise BadInput(f"{where} should be one of {', '.join(map(str, arguments))}, got {value!r}")
        return value
    if origin is list:
        if isinstance(value, str):  # from the command line: steps=a,b
            value = [part.strip() for part in value.split(",")]
        if not isinstance(value, list):
            raise BadInput(f"{where} should be a list, got {value!r}")
        return [convert(item, arguments[0], f"{where}[{i}]", origins) for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise BadInput(f"{where} should be a mapping, got {value!r}")
        return {
            convert(key, arguments[0], f"{where} (a name)"): convert(item, arguments[1], f"{where}.{key}", origins)
            for key, item in value.items()
        }
    if is_dataclass(annotation):
        file, _, dotted = where.partition(": ")
        return to_dataclass(value, annotation, [file, dotted], origins or {})  # type: ignore[arg-type]
    return convert_scalar(value, annotation, where)


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
        return value
    if isinstance(value, str):
        try:
            value = float(value.replace("_", ""))
        except ValueError:
            raise wrong from None
    if not isinstance(value, int | float) or not math.isfinite(value):
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


def nearest(word: str, choices: tuple[str, ...]) -> str:
    """ "did you mean ...?" or, where nothing is near, all choices."""
    near = difflib.get_close_matches(word, choices, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(choices)}"


def describe(cls: type, section: str, doc: str, values: dict[str, Any] | None) -> str:
    """The text of --help: every setting with its type, default, the recipe's value and what it is."""
    lines = [doc.strip(), "", f"settings of section {section!r}:"]
    hints = typing.get_type_hints(cls)
    for f in fields(cls):
        hint = hints[f.name]
        kind = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
        if f.default is not MISSING:
            default = f"default {f.default!r}"
        elif f.default_factory is not MISSING:
            default = f"default {f.default_factory()!r}"
        else:
            default = "required"
        recipe = f", recipe {values[f.name]!r}" if values is not None and f.name in values else ""
        lines.append(f"  {f.name}: {kind} ({default}{recipe})\n      {f.metadata.get('help', '')}")
    return "\n".join(lines)


def run_script(main: Callable[[], None]) -> None:
    """Runs a script's main(): what the user did wrong is one line and exit status 2, never a traceback."""
    try:
        main()
        sys.stdout.flush()
    except BadInput as error:
        # under torchrun every rank finds the same fault; one of them says so
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        name = f" {error.filename}" if error.filename else ""
        print(f"error: cannot write{name}: {error.strerror}; then the same command continues", file=sys.stderr)
        sys.exit(2)
