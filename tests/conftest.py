"""What tests share: a small tokenizer, small shards, and one run of the whole miniature (configs/test.yaml)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", DS_ACCELERATOR="cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")
WORDS = 96  # vocabulary of the small tokenizer


def script(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `python WORDS...` from the repository's root, as a user would."""
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=600)


def torchrun(ranks: int, config: Path) -> list[str]:
    """The command that trains over several ranks."""
    launcher = f"-m torch.distributed.run --nproc-per-node {ranks} pretrain/train.py --config"
    return [sys.executable, *launcher.split(), str(config)]


def write_recipe(path: Path, **sections: object) -> Path:
    """A recipe with run_dir beside it."""
    path.write_text(yaml.safe_dump({"run_dir": str(path.parent / "run"), **sections}))
    return path


@pytest.fixture(scope="session")
def word_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of the words w3 ... w95, with <s> put before every text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder = tmp_path_factory.mktemp("tokenizer")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return folder


def write_shards(folder: Path, documents: int = 300) -> None:
    """Shards whose next word follows from the word before, so that a small model learns something."""
    from snakmodel.shards import ShardWriter

    rng = np.random.default_rng(0)
    follows = rng.integers(3, WORDS, (WORDS, 2))
    for name, count in (("train", documents), ("validation", 20)):
        with ShardWriter(folder / name, WORDS) as shard:
            for _ in range(count):
                words = [int(rng.integers(3, WORDS))]
                while len(words) < 30:
                    words.append(int(follows[words[-1], rng.integers(2)]))
                shard.write([1, *words, 2])
            shard.finish()
    (folder / "run.json").write_text("{}")


TINY_LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def training(tokenizer: Path, **settings: object) -> dict[str, object]:
    """The pretrain section of a run of a second or two."""
    defaults = {
        "tokenizer": str(tokenizer),
        "architecture": TINY_LLAMA,
        "sequence_length": 16,
        "global_batch": 8,
        "micro_batch": 2,
        "steps": 8,
        "learning_rate": 0.01,
        "minimum_learning_rate": 0.001,
        "warmup_steps": 2,
        "save_every": 2,
        "validate_every": 4,
    }
    return {**defaults, **settings}


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds test.yaml and test-base.yaml with the finished runs `run` and `base`."""
    folder = tmp_path_factory.mktemp("tiny")
    base = {"extends": str(ROOT / "configs/test-base.yaml"), "run_dir": str(folder / "base")}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    main = {
        "extends": str(ROOT / "configs/test.yaml"),
        "run_dir": str(folder / "run"),
        "base_run": str(folder / "base"),
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(main))
    run_all(folder)
    return folder


def run_all(folder: Path) -> str:
    """runs/tiny.sh on the recipes of `folder`; its output."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "runs/tiny.sh", str(folder / "test.yaml"), str(folder / "base.yaml")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
