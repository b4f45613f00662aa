"""The command of ScandEval or EuroEval, and how its environment is made: pytest tests/test_program.py"""

import os

import pytest
from conftest import script
from scorer.program import Program, command_line, find_program, tail
from stand_in import make_environment

from snakmodel.config import BadInput

NO_SCRIPT = "is no script of Python's: its first line names none after #!"


@pytest.mark.parametrize(
    "plant, fault",
    [
        (lambda program: program.unlink(), "is not there"),
        (lambda program: (program.unlink(), program.mkdir()), "is a folder, not the program in it"),
        (lambda program: program.chmod(0o644), "may not be executed"),
        (lambda program: program.write_bytes(b"\x7fELF"), NO_SCRIPT),
        (lambda program: program.write_text(""), NO_SCRIPT),
        (lambda program: program.write_text("#!/moved/bin/python\n"), "asks for /moved/bin/python, which is not there"),
        (lambda program: program.with_name("python").unlink(), "lies beside no Python that has scandeval installed"),
        (
            lambda program: program.with_name("python").write_text("#!/bin/sh\necho none\n"),
            "lies beside a Python that says 'none' when asked for the version of scandeval",
        ),
    ],
)
def test_a_command_that_cannot_run_is_one_line_with_its_cure(tmp_path, plant, fault):
    program = make_environment(tmp_path / "env", "scandeval", "13.3.0")
    assert find_program(str(program), "scandeval.command") == Program(program, "scandeval", "13.3.0")
    plant(program)
    with pytest.raises(BadInput) as error:
        find_program(str(program), "scandeval.command")
    cure = "make scandeval makes .venv-scandeval/bin/scandeval"
    assert str(error.value) == f"scandeval.command: {program} {fault}; {cure}"


def test_a_program_of_another_name_is_refused():
    with pytest.raises(
        BadInput, match="should be a program called scandeval or euroeval, got '/bin/true'; make scande"
    ):
        find_program("/bin/true", "command")


@pytest.mark.parametrize("version, languages", [("17.7.0", ["da", "nb"]), ("18.3.0", [])])
def test_euroeval_of_version_18_is_given_no_language_beside_its_data_sets(tmp_path, version, languages):
    program = Program(tmp_path, "euroeval", version)
    line = command_line(program, "model", ["dansk", "scala-nb"], ["da", "nb"], "test", True, 10, [])
    assert [after for word, after in zip(line, line[1:], strict=False) if word == "--language"] == languages


@pytest.mark.parametrize("python", ["/nowhere/python3.12", "/bin/false"])
def test_an_environment_of_another_python_than_its_pins_are_of_is_not_begun(python):
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = script("euroeval-gpu", f"PYTHON={python}", program="make", env=outer)  # as a shell would, not make test
    line, stop = done.stderr.splitlines()
    assert line.startswith(f"Python 3.12 is needed, which {python} is not; ") and stop.startswith("make: ***")
    assert done.returncode == 2


def test_what_a_process_has_said_is_told_without_its_progress_bars(tmp_path):
    bars = "\r  0%|   | 0/1\x1b[A\rGenerating: 100%|███| 1/1 [00:00<00:00]\x1b[A\n"
    log = tmp_path / "log.txt"
    log.write_text(f"$ before\nold\n$ now\ndansk could not be benchmarked\n{bars}\x1b[31mred\x1b[0m\n{bars}last\n")
    assert tail(log, 2) == "dansk could not be benchmarked\nred\nlast"
