"""The loader: pytest tests/test_config.py"""

from dataclasses import dataclass
from typing import Any, Literal

import pytest
import yaml
from conftest import ROOT

from snakmodel.config import BadInput, knob, read_command, read_recipe

WRONG = yaml.safe_load((ROOT / "tests/test_config.yaml").read_text())


@dataclass
class Inner:
    path: str = knob(help="a file")
    weight: float = knob(1.0, "share", low=0)


@dataclass
class Settings:
    steps: int = knob(100, "optimiser steps", low=1)
    rate: float = knob(1e-3, "peak", above=0)
    name: str = knob("x", "a name")
    language: Literal["da", "no"] = knob("da", "of the text")
    seeds: list[int] = knob([1], "seeds")
    limit: int | None = knob(None, "documents")
    fast: bool = knob(False, "a switch")
    texts: dict[str, str] = knob({}, "language -> file")
    known: dict[int, str | None] = knob({}, "step -> revision; null: not known")
    free: dict[str, Any] = knob({}, "anything")
    sources: dict[str, Inner] = knob({}, "name -> source")


def read(folder, recipe, *words, parent=""):
    (folder / "r.yaml").write_text(recipe)
    (folder / "parent.yaml").write_text(parent)
    return read_command(Settings, "pretrain", "doc", ["--config", str(folder / "r.yaml"), *words])


def test_values_become_what_the_annotation_says(tmp_path):
    values = "steps: 12_500, rate: 15e-6, seeds: [1, 2], limit: null, fast: true, sources: {a: {path: p, weight: 2}}"
    s = read(tmp_path, f"run_dir: o\npretrain: {{{values}}}").settings
    assert (s.steps, s.rate, s.seeds, s.limit, s.fast) == (12_500, 15e-6, [1, 2], None, True)
    assert s.sources["a"] == Inner("p", 2.0) and isinstance(s.sources["a"].weight, float)


def test_a_key_that_is_there_twice_is_refused_and_what_is_merged_in_is_not(tmp_path):
    with pytest.raises(BadInput, match="r.yaml: 'steps' is there twice, in lines 3 and 5; leave one out"):
        read(tmp_path, "run_dir: o\npretrain:\n  steps: 1\n  rate: 1\n  steps: 2\n")
    with pytest.raises(BadInput, match="'a' is there twice"):
        read(tmp_path, "run_dir: o\npretrain: {}", "texts={a: x, a: y}")
    merged = "run_dir: o\npretrain:\n  sources:\n    a: &a {path: p, weight: 2}\n    b: {<<: *a, path: q}\n"
    sources = read(tmp_path, merged).settings.sources
    assert sources == {"a": Inner("p", 2.0), "b": Inner("q", 2.0)}


def test_command_line_wins_over_the_recipe_and_the_recipe_over_what_it_extends(tmp_path):
    child = "extends: parent.yaml\npretrain: {rate: 2e-3}"
    parent = "run_dir: out\npretrain: {steps: 5, rate: 1, name: '{run_dir}/x'}"
    command = read(tmp_path, child, "steps=7", "pretrain.limit=3", "run_dir=other", parent=parent)
    s = command.settings
    assert (s.steps, s.rate, s.limit, s.name, str(command.run.root)) == (7, 2e-3, 3, "other/x", "other")


def test_an_entry_of_the_recipe_that_is_extended_is_left_out_by_null(tmp_path):
    (tmp_path / "parent.yaml").write_text("run_dir: out\ninstructions: {sets: {a: {path: x}, b: {path: y}}, seed: 3}")
    (tmp_path / "child.yaml").write_text("extends: parent.yaml\ninstructions: {sets: {a: null, c: {path: z}}}")
    recipe, _ = read_recipe(tmp_path / "child.yaml")
    assert recipe["instructions"] == {"sets": {"b": {"path": "y"}, "c": {"path": "z"}}, "seed": 3}


def test_null_leaves_out_an_entry_whatever_its_kind_but_where_null_is_a_value(tmp_path):
    values = "texts: {da: a, en: b}, sources: {x: {path: p}, y: {path: q}}, known: {0: a, 1: b}, free: {k: 1}, limit: 3"
    (tmp_path / "between.yaml").write_text("extends: parent.yaml\npretrain: {texts: {en: null}, known: {1: null}}")
    child = "extends: between.yaml\npretrain: {texts: {sv: c}, sources: {x: null}, free: {k: null}, limit: null}"
    s = read(tmp_path, child, parent=f"run_dir: o\npretrain: {{{values}}}").settings
    assert s.texts == {"da": "a", "sv": "c"} and s.sources == {"y": Inner("q")}
    assert s.known == {0: "a", 1: None} and s.free == {"k": None} and s.limit is None
    with pytest.raises(
        BadInput, match="r.yaml: pretrain.texts.dk is null, which .* none of this name; choose from da, en$"
    ):
        read(
            tmp_path,
            "extends: parent.yaml\npretrain: {texts: {dk: null}}",
            parent=f"run_dir: o\npretrain: {{{values}}}",
        )


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong["says"][0])
def test_a_wrong_recipe_is_one_line_with_file_key_value_and_cure(tmp_path, wrong):
    with pytest.raises(BadInput) as error:
        read(tmp_path, wrong["recipe"], *wrong.get("words", []), parent=wrong.get("parent", ""))
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in wrong["says"])


def test_help_lists_every_setting_with_unit_default_and_the_recipes_value(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        read(tmp_path, "run_dir: o\npretrain: {steps: 7}", "--help")
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "steps: int (default 100, recipe 7)\n      optimiser steps" in text and "sources" in text


def test_text_from_the_command_line_stays_text_where_the_setting_is_text(tmp_path):
    s = read(tmp_path, "run_dir: o\npretrain: {}", "name=50", "seeds=3,4", "limit=null", "fast=true").settings
    assert (s.name, s.seeds, s.limit, s.fast) == ("50", [3, 4], None, True)
    assert read(tmp_path, "run_dir: o\npretrain: {}", "seeds=[5]", "name={run_dir}/1:2").settings.seeds == [5]
