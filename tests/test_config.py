"""The loader: pytest tests/test_config.py"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from snakmodel.config import BadInput, knob, read_command


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
    sources: dict[str, Inner] = knob({}, "name -> source")


def read(tmp_path: Path, section: str, *words: str, **files: str) -> Any:
    for name, text in {"r": section, **files}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return read_command(Settings, "pretrain", "doc", ["--config", str(tmp_path / "r.yaml"), *words])


def test_values_become_what_the_annotation_says(tmp_path: Path) -> None:
    values = "steps: 12_500, rate: 15e-6, seeds: [1, 2], limit: null, fast: true, sources: {a: {path: p, weight: 2}}"
    s = read(tmp_path, f"run_dir: o\npretrain: {{{values}}}").settings
    assert (s.steps, s.rate, s.seeds, s.limit, s.fast) == (12_500, 15e-6, [1, 2], None, True)
    assert s.sources["a"] == Inner("p", 2.0) and isinstance(s.sources["a"].weight, float)


def test_command_line_wins_over_the_recipe_and_the_recipe_over_what_it_extends(tmp_path: Path) -> None:
    child = "extends: parent.yaml\npretrain: {rate: 2e-3}"
    parent = "run_dir: out\npretrain: {steps: 5, rate: 1, name: '{run_dir}/x'}"
    command = read(tmp_path, child, "steps=7", "pretrain.limit=3", "run_dir=other", parent=parent)
    s = command.settings
    assert (s.steps, s.rate, s.limit, s.name, str(command.run.root)) == (7, 2e-3, 3, "other/x", "other")


@pytest.mark.parametrize(
    ("section", "words", "expected"),
    [
        ("{stpes: 3}", [], ["r.yaml: pretrain.stpes is not a setting", "did you mean steps"]),
        ("{steps: abc}", [], ["r.yaml: pretrain.steps should be int, got 'abc'"]),
        ("{steps: 1.5}", [], ["pretrain.steps should be int, got 1.5"]),
        ("{steps: 0}", [], ["pretrain.steps should be at least 1, got 0"]),
        ("{rate: 0}", [], ["pretrain.rate should be above 0, got 0"]),
        ("{rate: .nan}", [], ["pretrain.rate should be float, got nan"]),
        ("{language: no}", [], ["pretrain.language should be one of da, no, got False"]),
        ("{name: 5}", [], ["pretrain.name should be str, got 5; quote it"]),
        ("{fast: 1}", [], ["pretrain.fast should be bool, got 1"]),
        ("{seeds: [1, x]}", [], ["pretrain.seeds[1] should be int, got 'x'"]),
        ("{sources: {a: {weight: 1}}}", [], ["pretrain.sources.a.path is missing: a file"]),
        ("{sources: {a: {path: p, weigth: 1}}}", [], ["pretrain.sources.a.weigth is not a setting", "weight"]),
        ("{sources: {a: {path: p, weight: -1}}}", [], ["pretrain.sources.a.weight should be at least 0, got -1"]),
        ("{}", ["stepz=3"], ["command line: pretrain.stepz is not a setting", "steps"]),
        ("{}", ["--steps", "3"], ["'--steps' is not an argument"]),
        ("[1]", [], ["pretrain should hold settings, got [1]"]),
    ],
)
def test_a_wrong_setting_is_one_line_with_file_key_value_and_cure(
    tmp_path: Path, section: str, words: list[str], expected: list[str]
) -> None:
    with pytest.raises(BadInput) as error:
        read(tmp_path, f"run_dir: o\npretrain: {section}", *words)
    assert "\n" not in str(error.value)
    for part in expected:
        assert part in str(error.value)


def test_the_file_named_is_the_one_that_holds_the_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"parent\.yaml: pretrain\.steps should be int"):
        read(tmp_path, "extends: parent.yaml\npretrain: {rate: 1}", parent="run_dir: o\npretrain: {steps: x}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run_dir: o\npretrian: {}", "'pretrian' is not a section; did you mean pretrain"),
        ("run_dir: o\nexport: {}", "no section 'pretrain'"),
        ("pretrain: {}", "run_dir should be str, got None"),
        ("run_dir: [o\n", "not YAML"),
        ("- a", "should hold sections"),
        ("extends: r.yaml", "extends itself"),
        ("extends: gone.yaml", "no such file"),
    ],
)
def test_a_wrong_recipe_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(BadInput) as error:
        read(tmp_path, text)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_help_lists_every_setting_with_unit_default_and_the_recipes_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        read(tmp_path, "run_dir: o\npretrain: {steps: 7}", "--help")
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "steps: int (default 100, recipe 7)\n      optimiser steps" in text and "sources" in text


def test_no_recipe_holds_a_token_or_a_password() -> None:
    for path in Path("configs").glob("*.yaml"):
        text = path.read_text()
        assert not re.search(r"hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9]{20,}", text), path
        assert not re.search(r"^\s*(api_key|auth_token|token|password)\s*:", text, re.MULTILINE), path


def test_text_from_the_command_line_stays_text_where_the_setting_is_text(tmp_path: Path) -> None:
    s = read(tmp_path, "run_dir: o\npretrain: {}", "name=50", "seeds=3,4", "limit=null", "fast=true").settings
    assert (s.name, s.seeds, s.limit, s.fast) == ("50", [3, 4], None, True)
    assert read(tmp_path, "run_dir: o\npretrain: {}", "seeds=[5]", "name={run_dir}/1:2").settings.seeds == [5]
