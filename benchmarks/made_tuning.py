"""A run for the benchmarks of tuning: a series of small random models, a tokenizer of words, conversations."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import yaml
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from snakmodel.documents import DocumentWriter
from snakmodel.records import write_json, write_text
from snakmodel.series import write_series

SEED = 8446


def make_tuning(folder: Path, sizes: dict[str, Any], steps: list[int], conversations: int, **settings: Any) -> Path:
    """Writes folder/{models,instruct/data,recipe.yaml}: conversations of 20 to 120 words. The recipe's path."""
    words = ["<unk>", "<s>", "</s>", *(f"w{n}" for n in range(3, sizes["vocab_size"]))]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    rows = []
    for step in steps:
        place = folder / f"models/step-{step:05d}"
        torch.manual_seed(step)
        LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(place)
        fast.save_pretrained(place)
        write_json(place / "run.json", {"step": step})
        rows.append({"step": step, "location": place, "tokens": step, "parent": None})
    write_series(folder / "models", "made", rows)
    rng, data = random.Random(SEED), folder / "instruct/data"
    with DocumentWriter(data / "train.parquet", {"turns": pa.string()}) as out:
        for number in range(conversations):
            texts = [" ".join(rng.choices(words[3:], k=rng.randint(10, 60))) for _ in range(2)]
            turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), texts, strict=True)]
            out.write({"text": "", "source": "made", "id": f"made:{number}", "turns": json.dumps(turns)})
    write_json(data / "run.json", {})
    write_text(
        folder / "recipe.yaml", yaml.safe_dump({"run_dir": str(folder), "finetune": {"variant": "v", **settings}})
    )
    return folder / "recipe.yaml"
