"""One section of a recipe becomes a typed `Settings` dataclass.

    python STAGE/script.py --config configs/RUN.yaml [key=value ...] [--overwrite] [--check] [--help]

`key=value` changes the script's own section, `section.key=value` another one, `run_dir=out/x` the run's folder.
In a section, "{run_dir}" and "{base_run}" (the run that this one continues) stand for the recipe's own values.
A recipe may say `extends: other.yaml`; its own keys win, section by section and key by key; an entry of the other's
(a source, an instruction set, a baseline) is left out by `NAME: null`, unless null is one of the values it can have.
"""

import argparse
import difflib
import errno
import os
import sys
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import yaml

from snakmodel.paths import SECTIONS, Run
from snakmodel.settings import BadInput, CommandLineText, LeftOut, convert, knob, load_unique, nearest, to_dataclass

S = TypeVar("S")
# a script's one door
__all__ = ["BadInput", "Command", "NoSettings", "knob", "read_command", "run_script", "to_dataclass"]
TOP_KEYS = ("extends", "run_dir", "base_run")
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST)  # what a disk may say


@dataclass(frozen=True)
class Command(Generic[S]):
    """What a script gets from its command line."""

    section: str
    settings: S
    run: Run
    config: Path
    overwrite: bool  # throw away finished output made with other settings
    check: bool  # look at settings and inputs, then stop


@dataclass
class NoSettings:
    """Of a stage that has nothing to set: it takes all that the run has."""


def read_command(
    settings: type[S], section: str, doc: str | None, argv: list[str] | None = None, config: Path | None = None
) -> Command[S]:
    """Reads `--config`, overrides and flags; raises BadInput with one exact line.

    config: of a tool that can do without a run, the recipe to take where the command line names none.
    """
    parser = argparse.ArgumentParser(add_help=False, usage="python SCRIPT --config configs/RUN.yaml [key=value ...]")
    parser.add_argument("--config", type=Path, default=config)
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
        content = load_unique(path.read_text(encoding="utf-8"))
    except BadInput as fault:
        raise BadInput(f"{path}: {fault}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: should hold sections with settings, got {type(content).__name__}")
    return content


def merge_into(base: dict[str, Any], new: dict[str, Any], origins: dict[str, str], file: str, prefix: str) -> None:
    """Puts `new` into `base`, mapping by mapping, noting where each dotted key comes from."""
    for key, value in new.items():
        origins[f"{prefix}{key}"] = LeftOut(file) if value is None and key in base else file
        if value is None and prefix and isinstance(base.get(key), dict):
            del base[key]  # an entry of the recipe that is extended, which this one does without
        elif isinstance(value, dict):
            base[key] = dict(base[key]) if isinstance(base.get(key), dict) else {}
            merge_into(base[key], value, origins, file, f"{prefix}{key}.")
        else:
            base[key] = value


def apply_override(recipe: dict[str, Any], origins: dict[str, str], section: str, override: str) -> None:
    """Applies one `key=value` or `section.key=value` of the command line."""
    dotted, _, text = override.partition("=")
    keys = dotted.split(".")
    if keys[0] not in TOP_KEYS + SECTIONS or (len(keys) == 1 and keys[0] not in TOP_KEYS):
        keys = [section, *keys]
    target = recipe
    for key in keys[:-1]:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    target[keys[-1]] = CommandLineText(text)
    origins[".".join(keys)] = "command line"


def fill_in(value: Any, names: dict[str, str]) -> Any:
    """Replaces "{run_dir}" in every text of a section."""
    if isinstance(value, dict):
        return {key: fill_in(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_in(item, names) for item in value]
    if isinstance(value, str):
        for name, text in names.items():
            value = type(value)(value.replace("{" + name + "}", text))  # stays CommandLineText
    return value


def describe(cls: type, section: str, doc: str, values: dict[str, Any] | None) -> str:
    """The text of --help: every setting with its type, default, the recipe's value and what it is."""
    hints = typing.get_type_hints(cls).values()
    nested = [part for hint in hints for part in (hint, *get_args(hint)) if isinstance(part, type)]
    parts = "".join(f"\n\n{list_settings(part, part.__name__, None)}" for part in nested if is_dataclass(part))
    return f"{doc.strip()}\n\n{list_settings(cls, f'section {section!r}', values)}{parts}"


def list_settings(cls: Any, name: str, values: dict[str, Any] | None) -> str:
    """A paragraph of --help: the settings of one dataclass."""
    lines = [f"settings of {name}:"]
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
        # every rank of a machine finds the same fault; one of them says so
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if (reason := out_of_space(error)) is None:
            raise
        print(f"error: {reason}; make room (or permit it), then the same command continues", file=sys.stderr)
        sys.exit(2)


def out_of_space(error: BaseException | None) -> str | None:
    """What the disk refused, where that is why something failed; libraries bury it in their own exceptions."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in REFUSED:
            return f"cannot write {error.filename or ''}: {error.strerror}"
        if "No space left on device" in str(error):
            return "cannot write: No space left on device"
        error = error.__cause__ or error.__context__
    return None
