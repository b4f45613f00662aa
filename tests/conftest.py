"""What tests share: a small tokenizer, small models, and one run of the whole miniature."""

import copy
import io
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path

import psutil
import pytest
import yaml
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent
SMALL = str(ROOT / "tests/small.yaml")  # what recipes of small runs extend
WORDS = 96  # vocabulary of the small tokenizer
LLAMA_TOKENS = 400  # of that of Llama-2's kind, and what it is trained on:
SENTENCES = (
    "Byen ligger ved fjorden, og broen går over åen.",
    "Rødgrød med fløde er sødt, sagde hun og lo.",
    "I 1995 købte de et hus på øen for 120 kroner.",
    "Æblerne på træet er grønne, men pærerne er gule.",
    "Hvor bor du, og hvad hedder din søster?",
)
LONG = ("test_workers.py", "test_sweep.py", "test_deepspeed.py", "test_preflight.py")  # of other files
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1")
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # for runs/tiny.sh


class ByFile(LoadScopeScheduling):
    """Over several processes (pytest -n): one takes the files that use the shared run, the others file after file."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return "the shared run" if "tiny_run" in (ROOT / file).read_text() else file


def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    """The shared run comes first, then the files that take longest: what comes last leaves one process idle."""

    def place(item):
        return 0 if "tiny_run" in item.path.read_text() else 1 if item.path.name in LONG else 2

    items.sort(key=place)


def script(*words, program=sys.executable, **options):
    """Runs `python WORDS...` from the repository's root, as a user would."""
    command = [program, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, **options)


def succeed(*words, **options):
    """What a script prints that must succeed."""
    done = script(*words, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(*words):
    """The one line of a script that must refuse."""
    done = script(*words)
    assert done.returncode == 2 and re.fullmatch("error: .*\n", done.stderr), done.stdout + done.stderr
    return done.stderr


def kill_when(reached, *words, program=sys.executable):
    """Starts `python WORDS...`, and kills it and its ranks (-9) as soon as `reached()` is true."""
    command = [program, *map(str, words)]
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not reached() and process.poll() is None:
        time.sleep(0.001)
    with suppress(psutil.NoSuchProcess):  # it has just ended by itself
        for victim in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
    process.wait()


def run_main(module, recipe, *words):
    """What a script's main() prints, run in this process, where it takes no seconds to start and may raise."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        patch.setattr(sys, "argv", ["script", "--config", str(recipe), *words])
        module.main()
    return said.getvalue()


def write_recipe(path, **sections):
    """A recipe with run_dir beside it."""
    path.write_text(yaml.safe_dump({"run_dir": str(path.parent / "run"), **sections}))
    return path


def copy_run(recipe, folder, *parts):
    """Copies parts of the run beside a recipe into `folder`; the words that let a script go on from the copy."""
    for part in parts:
        shutil.copytree(recipe.parent / "run" / part, folder / "run" / part)
    (folder / "base").symlink_to(recipe.parent / "base")  # where step 0 of the miniature lies
    return "--config", recipe, f"run_dir={folder / 'run'}"


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """A tokenizer of the words w3 ... w95, with <s> put before every text, and the chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    from snakmodel.prompts import set_format

    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder = tmp_path_factory.mktemp("tokenizer")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    set_format(loaded, "chat")
    return loaded


@pytest.fixture(scope="session")
def llama_tokenizer(tmp_path_factory):
    """A tokenizer of Llama-2's kind, trained on a few sentences."""
    from transformers import AutoTokenizer

    from pretrain.corpus.train_tokenizer import convert_model, train_model

    folder = tmp_path_factory.mktemp("llama")
    train_model(folder / "tokenizer.model", iter(SENTENCES * 3), LLAMA_TOKENS)
    convert_model(folder)
    return AutoTokenizer.from_pretrained(folder)


def small_model(seed, **changes):
    """A Llama of two layers with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = {"vocab_size": WORDS, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "max_position_embeddings": 64}
    return LlamaForCausalLM(LlamaConfig(**sizes | changes)).eval()


def save_step(folder, step, model, tokenizer, **options):
    """Saves a model as a finished step of a series; its row of series.json."""
    model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    (folder / "run.json").write_text(f'{{"step": {step}}}')
    return {"step": step, "location": folder, "tokens": 32 * step, "parent": None}


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """The recipe of a finished run of configs/test.yaml; beside it lie `run`, and its base model's `base`."""
    folder = tmp_path_factory.mktemp("tiny")
    base = {"extends": str(ROOT / "configs/test-base.yaml"), "run_dir": str(folder / "base")}
    main = {"extends": str(ROOT / "configs/test.yaml"), "base_run": str(folder / "base")}
    recipes = write_recipe(folder / "test.yaml", **main), write_recipe(folder / "base.yaml", **base)
    succeed("runs/tiny.sh", *recipes, program="bash")
    return recipes[0]


def write_set(folder, rows, split="test"):
    """A split of a set in a folder of its own."""
    from snakmodel.records import write_jsonl

    write_jsonl(folder / f"{split}.jsonl", rows)
    return str(folder)


@pytest.fixture
def plain(tokenizer):
    """The tests' tokenizer without its chat template, of a model that was not tuned."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = None
    return tokenizer
