"""A run for the other benchmarks: shards of random tokens, a tokenizer and the recipe of a small model from scratch."""

from pathlib import Path
from typing import Any

import yaml

from pretrain.dry_run import changed, write_tokens
from pretrain.preflight import study_model
from pretrain.recipe import Settings, total_steps
from snakmodel.records import write_text

TINY = {  # the miniature's model
    "model_type": "llama",
    "vocab_size": 2_048,
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


def make_run(folder: Path, architecture: dict[str, Any], **settings: Any) -> Settings:
    """Writes folder/{shards,tokenizer,recipe.yaml}; the recipe's section `pretrain`, with its defaults."""
    given: dict[str, Any] = {"warmup_steps": 0, "validate_every": 0, **settings}
    recipe = Settings(str(folder / "tokenizer"), architecture=architecture, **given)
    write_tokens(folder, study_model(recipe, {}, "made"), total_steps(recipe))
    content = {"run_dir": str(folder), "pretrain": changed(recipe)}
    write_text(folder / "recipe.yaml", yaml.safe_dump(content, sort_keys=False))
    return recipe
