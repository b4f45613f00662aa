"""The house: pytest tests/test_layout.py"""

import ast
import importlib.metadata
import re
import sys

import pytest
from conftest import ROOT

from snakmodel.paths import STAGES

STAGE_FOLDERS = ("pretrain", "finetune", "analyze", "evaluate", "plot")


def python_files(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_file_and_no_stage_folder_shadows_a_module_of_that_name():
    taken = sys.stdlib_module_names | set(importlib.metadata.packages_distributions()) - {"snakmodel"}
    for path in python_files(*STAGE_FOLDERS, "runs", "benchmarks"):
        assert path.stem not in taken, path
    for folder in (*STAGE_FOLDERS, "runs", "tests", "benchmarks"):
        assert not (ROOT / folder / "__init__.py").exists(), folder  # it would hide what is installed under that name


@pytest.mark.parametrize(
    "folder, others",
    [
        *((folder, {*STAGE_FOLDERS} - {folder}) for folder in STAGE_FOLDERS),
        ("snakmodel", {*STAGE_FOLDERS, "runs", "scorer"}),
        ("plot", {"torch", "transformers"}),
    ],
)
def test_stages_import_no_other_stage_the_ground_floor_none_and_plots_no_torch(folder, others):
    for path in python_files(folder):
        imported = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        assert not others & set(imported), path


def test_every_stage_script_is_there_and_its_docstring_is_its_command():
    for stage in STAGES:
        docstring = ast.get_docstring(ast.parse((ROOT / stage.script).read_text()))
        assert f"python {stage.script} --config " in docstring, stage.script


def test_both_recipes_of_commands_run_the_same_stages_in_the_same_order():
    def scripts(name):
        return re.findall(
            r"(?:python|bash|torchrun \S+ \S+) (\S+)", (ROOT / "runs" / name).read_text().split("# The corpus")[1]
        )

    tiny = [s for s in scripts("tiny.sh") if s != "runs/tiny_data/check.py"]
    # the miniature writes its own raw data, and ScandEval has an environment of its own
    whole = [s for s in scripts("snakmodel-7b.sh") if s != "evaluate/scandeval_all.py"]
    assert ["pretrain/corpus/download.py", *tiny] == whole
    corpus = re.findall(r"^python (pretrain/corpus/\S+)", (ROOT / "runs/corpus.sbatch").read_text(), re.MULTILINE)
    assert corpus == [s for s in scripts("snakmodel-7b.sh") if s.startswith("pretrain/corpus/")][1:]  # downloads before


def test_files_are_short_enough_to_read():
    for path in python_files("snakmodel", *STAGE_FOLDERS, "runs", "benchmarks", "tests"):
        assert len(path.read_text().splitlines()) <= 300, path


def test_requirements_are_pinned_and_hold_no_evaluation_suite():
    *pinned, last = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert last == "-e ." and all("==" in line for line in pinned)
    assert not any(line.startswith(("scandeval", "euroeval")) for line in pinned)


def test_no_recipe_holds_a_token_or_a_password():
    for path in (ROOT / "configs").glob("*.yaml"):
        text = path.read_text()
        assert not re.search(r"hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9]{20,}", text), path
        assert not re.search(r"^\s*(api_key|auth_token|token|password)\s*:", text, re.MULTILINE), path
