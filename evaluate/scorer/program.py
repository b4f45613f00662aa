"""ScandEval or EuroEval as a command in an environment of its own: its version, its dialect, one process of it."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from snakmodel.config import BadInput

LAST_WITH_OLD_FLAG = 13  # of the versions that know --only-validation-split
LAST_WITH_LANGUAGE = 17  # 18.3 refuses --language beside --dataset; none of 18 needs it
SILENT = -1_001  # instead of an exit status: it was ended because it said nothing any more
STOPPED = -1_002  # because we were asked to stop
LOOK_EVERY = 0.2  # seconds
GRACE = 10  # seconds between asking a process to end and ending it
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
CONTROL = re.compile(r"\x1b\[[\d;]*[A-Za-z]")  # of a terminal's cursor and colours
BAR = re.compile(r"\d+%\|")
ASK = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


@dataclass(frozen=True)
class Program:
    """The command, and what its environment says of it."""

    path: Path
    name: str  # scandeval or euroeval
    version: str  # "13.3.0"

    @property
    def results(self) -> str:
        """The file that it appends its records to, in the folder that it is started in."""
        return f"{self.name}_benchmark_results.jsonl"

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


def find_program(command: str, where: str) -> Program:
    """The program that a setting names, with its version; raises BadInput where it is not there, or cannot run."""
    name = Path(command).name
    if name not in ("scandeval", "euroeval"):
        raise BadInput(
            f"{where} should be a program called scandeval or euroeval, got {command!r}; "
            "make scandeval makes .venv-scandeval/bin/scandeval"
        )
    # not resolved: the environment is where the name lies
    path = Path(os.path.abspath(shutil.which(command) or command))
    fault = fault_of(path)
    version = "" if fault else ask_version(path)
    if fault is None and not version:
        fault = f"lies beside no Python that has {name} installed"
    elif fault is None and not re.match(r"\d+\.", version):
        fault = f"lies beside a Python that says {version[:40]!r} when asked for the version of {name}"
    if fault is not None:
        with_vllm = "; make euroeval-gpu one with vLLM" if name == "euroeval" else ""
        raise BadInput(f"{where}: {command} {fault}; make {name} makes .venv-{name}/bin/{name}{with_vllm}")
    return Program(path, name, version)


def fault_of(path: Path) -> str | None:
    """Why the system would not start a program that pip has installed; None: it would."""
    if path.is_dir():
        return "is a folder, not the program in it"
    if not path.is_file():
        return "is not there"
    if not os.access(path, os.X_OK):
        return "may not be executed"
    with path.open("rb") as file:
        first = file.readline(1_000).decode(errors="replace")
    words = first.removeprefix("#!").split()
    if not first.startswith("#!") or not words:
        return "is no script of Python's: its first line names none after #!"
    if not Path(words[0]).is_file():  # of an environment that has been moved, say
        return f"asks for {words[0]}, which is not there"
    return None


def ask_version(path: Path) -> str:
    """What the Python beside a program says of its version; empty where it says nothing, or is not there."""
    asked = [str(path.parent / "python"), "-c", ASK, path.name]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, env=environment(path, None, False), cwd="/")
    except OSError:
        return ""
    return done.stdout.strip()


def command_line(
    program: Program,
    model: str,
    datasets: list[str],
    languages: list[str],
    split: str,
    few_shot: bool,
    iterations: int,
    options: list[str],
) -> list[str]:
    """The command line that scores a model on data sets, in the dialect of the program's version."""
    line = [str(program.path), "--model", model, "--num-iterations", str(iterations)]
    for language in languages if program.major <= LAST_WITH_LANGUAGE else []:
        line += ["--language", language]
    for dataset in datasets:
        line += ["--dataset", dataset]
    line.append("--few-shot" if few_shot else "--zero-shot")
    if program.major > LAST_WITH_OLD_FLAG:
        line.append("--evaluate-val-split" if split == "val" else "--evaluate-test-split")
    elif split == "val":
        line.append("--only-validation-split")
    return [*line, *options]


def environment(path: Path, gpu: str | None, offline: bool) -> dict[str, str]:
    """The environment of the process: that of the program rather than ours, one GPU, and the Hub or none."""
    ours = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ours["PATH"] = f"{path.parent}:{ours.get('PATH', '')}"
    return ours | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}) | (OFFLINE if offline else {})


def run_program(
    line: list[str],
    folder: Path,
    variables: dict[str, str],
    log: Path,
    lock: int,
    silence: float | None,
    look: Callable[[], bool],
) -> int:
    """Runs a command in a folder, its output at the end of `log`; its exit status, SILENT or STOPPED.

    lock: a descriptor that the process keeps open, so that what it locks stays locked should we be killed.
    silence: seconds without output after which it is ended. look: called all the time; true: it is to stop.
    """
    with log.open("ab") as out:
        out.write(f"$ {' '.join(line)}\n".encode())
        out.flush()
        process = subprocess.Popen(
            line,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],
        )
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(LOOK_EVERY)
            if look():
                return STOPPED
            if silence is not None and time.time() - log.stat().st_mtime > silence:
                return SILENT
    finally:
        end_all(process)


def end_all(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process and those that it has started; some outlive it, and hold the GPU."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Holds a folder against other processes, which are refused; the lock's descriptor, for a process to inherit."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadInput(f"{folder}: another process is at work there; wait for it, or end it") from None
    else:
        yield descriptor
    finally:
        os.close(descriptor)


def tail(log: Path, lines: int) -> str:
    """What the last process has complained of, and its last lines, without progress bars."""
    text = log.read_bytes()[-20_000:].decode(errors="replace").rpartition("\n$ ")[2]
    lines_seen = [line.rsplit("\r", 1)[-1].rstrip() for line in CONTROL.sub("", text).split("\n")]
    kept = [line for line in lines_seen if not BAR.search(line)]
    complaints = [line for line in kept if "could not be benchmarked" in line]
    return "\n".join(dict.fromkeys([*complaints, *[line for line in kept if line][-lines:]]))
