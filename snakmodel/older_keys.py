"""What transformers 4 reads of a model's folder where 5 writes other keys."""

from pathlib import Path

from snakmodel.records import read_json, write_json


def add_older_keys(folder: Path) -> None:
    """Adds to a model's and tokenizer's JSON what transformers 4 reads where 5 writes other keys, so far as it is true.

    Without them 4 takes its own rope_theta, says nothing, and computes other logits; the tokenizer it refuses.
    """
    config = read_json(folder / "config.json")
    rope = dict(config.get("rope_parameters") or {})
    if "dtype" in config:
        config["torch_dtype"] = config["dtype"]
    if "rope_theta" in rope:  # else: no rotary embedding, or one for each kind of layer, which 4 does not know
        for key in ("rope_theta", "partial_rotary_factor"):
            if key in rope:
                config[key] = rope.pop(key)
        config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    write_json(folder / "config.json", config)
    if not (folder / "tokenizer_config.json").is_file():
        return
    tokenizer = read_json(folder / "tokenizer_config.json")
    if tokenizer.get("tokenizer_class") == "TokenizersBackend":
        tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(tokenizer.get("extra_special_tokens"), list):
        tokenizer["additional_special_tokens"] = tokenizer.pop("extra_special_tokens")
    template = folder / "chat_template.jinja"
    if template.is_file():
        tokenizer["chat_template"] = template.read_text(encoding="utf-8")
    write_json(folder / "tokenizer_config.json", tokenizer)
