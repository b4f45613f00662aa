"""Turn the deduplicated documents into token shards, and hold some of them out for validation.

python pretrain/corpus/make_shards.py --config configs/tiny.yaml

Every document becomes BOS + its tokens + EOS, whatever the tokenizer adds by itself.
"""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import DocumentWriter, document_files, read_documents
from snakmodel.paths import maker_of
from snakmodel.records import begin, file_hash, missing, read_json
from snakmodel.shards import ShardWriter


@dataclass
class Settings:
    tokenizer: str = knob(help="tokenizer folder, or a Hub id")
    validation_share: float = knob(0.02, "share of the documents that is held out, by a hash of the text", above=0)
    max_validation_documents: int = knob(10_000, "about the most documents held out, whatever the share", low=1)


def main() -> None:
    command = read_command(Settings, "make_shards", __doc__)
    settings, run = command.settings, command.run
    folder, corpus = run.folder("make_shards"), run.folder("deduplicate")
    tokenizer_file = Path(settings.tokenizer) / "tokenizer.json"
    if not (is_local := tokenizer_file.is_file()) and maker_of(tokenizer_file.parent):
        raise BadInput(missing(tokenizer_file))
    work = begin(command, folder, {"corpus": corpus, "tokenizer": tokenizer_file if is_local else settings.tokenizer})
    if work is None:
        return
    from snakmodel.models import load_tokenizer  # late: a finished stage says so at once

    tokenizer = load_tokenizer(settings.tokenizer)
    counts = read_json(corpus / "run.json")["counts"]
    for count in counts.values():
        count.update(seen=count["kept"], dropped={}, tokens=0, validation_documents=0)
    most = settings.max_validation_documents / max(1, sum(count["kept"] for count in counts.values()))
    share = min(settings.validation_share, most)
    with (
        ShardWriter(folder / "train", len(tokenizer)) as train,
        ShardWriter(folder / "validation", len(tokenizer)) as validation,
        DocumentWriter(folder / "validation.parquet") as held_out,
    ):
        for document in (d for path in document_files(corpus) for d in read_documents(path, ["text", "source", "id"])):
            tokens = encode(tokenizer, document["text"])
            counts[document["source"]]["tokens"] += len(tokens)
            if text_fraction(document["text"]) < share:
                counts[document["source"]]["validation_documents"] += 1
                held_out.write(document)
                validation.write(tokens)
            else:
                train.write(tokens)
        facts = {
            "tokenizer": settings.tokenizer,
            "tokenizer_sha256": file_hash(tokenizer_file) if is_local else None,
            "vocabulary": len(tokenizer),
            "bos": tokenizer.bos_token_id,
            "eos": tokenizer.eos_token_id,
            "policy": "every document is BOS + tokens + EOS; special tokens that a text spells out are plain text",
        }
        train.finish(**facts)
        validation.finish(**facts)
    print(f"{len(train.lengths):,} documents to train on, {len(validation.lengths):,} held out", flush=True)
    work.finish(counts=counts, **facts)


def encode(tokenizer: Any, text: str) -> list[int]:
    """BOS + tokens + EOS. "<s>" in a web page is a tag that strikes text through, not the beginning of a document."""
    tokens = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(tokens), text[:60]
    return [tokenizer.bos_token_id, *tokens, tokenizer.eos_token_id]


def text_fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: who is held out does not change as the corpus grows."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") / 2**64


if __name__ == "__main__":
    run_script(main)
