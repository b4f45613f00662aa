"""Turn the deduplicated documents into token shards, and hold some of them out for validation.

python pretrain/corpus/make_shards.py --config configs/tiny.yaml

Every document becomes BOS + its tokens + EOS, whatever the tokenizer adds by itself.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakmodel.config import read_command, run_script
from snakmodel.paths import maker_of
from snakmodel.records import begin, file_hash, missing
from snakmodel.settings import BadInput, knob

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

POLICY = "every document is BOS + tokens + EOS; special tokens that a text spells out are plain text"
# of each source, train and validation together where the name does not say which
COUNTED = ("seen", "kept", "words", "bytes", "tokens", "validation_documents", "validation_tokens")
BATCH_DOCUMENTS, BATCH_CHARACTERS = 1_000, 1_000_000  # tokenised at a time, whichever comes first


@dataclass
class Settings:
    tokenizer: str = knob(help="tokenizer folder, or a Hub id")
    validation_share: float = knob(0.02, "share of the documents that is held out, by a hash of the text", above=0)
    max_validation_documents: int = knob(10_000, "about the most documents held out, whatever the share", low=1)


def main() -> None:
    command = read_command(Settings, "make_shards", __doc__)
    settings, run = command.settings, command.run
    folder, corpus = run.folder("make_shards"), run.folder("deduplicate")
    work = begin(command, folder, {"corpus": corpus, "tokenizer": locate_tokenizer(settings.tokenizer)})
    if work is None:
        return
    from snakmodel.documents import DocumentWriter, document_files, read_documents  # late: transformers takes seconds
    from snakmodel.shards import ShardWriter

    tokenizer = load_tokenizer(settings.tokenizer)
    files = document_files(corpus)
    share = validation_share(files, settings)
    counts = {path.stem: Counter(dict.fromkeys(COUNTED, 0)) for path in files}
    with (
        ShardWriter(folder / "train", len(tokenizer)) as train,
        ShardWriter(folder / "validation", len(tokenizer)) as validation,
        DocumentWriter(folder / "validation.parquet") as held_out,
    ):
        documents = (document for path in files for document in read_documents(path, ["text", "source", "id"]))
        for document, ids in encode_documents(documents, tokenizer):
            is_held_out = text_fraction(document["text"]) < share
            (validation if is_held_out else train).write(ids)
            if is_held_out:
                held_out.write(document)
            count_document(counts[document["source"]], document["text"], len(ids), is_held_out)
        if not train.lengths or not validation.lengths:
            raise BadInput(
                f"make_shards: {len(train.lengths)} documents to train on and {len(validation.lengths)} held out; "
                f"give more documents or another validation_share than {settings.validation_share}"
            )
        facts = describe_tokenizer(settings.tokenizer, tokenizer)
        train.finish(**facts, tokens_of={name: c["tokens"] - c["validation_tokens"] for name, c in counts.items()})
        validation.finish(**facts, tokens_of={name: c["validation_tokens"] for name, c in counts.items()})
    for name, count in counts.items():
        print(f"{name}: {count['kept']:,} documents, {count['tokens']:,} tokens", flush=True)
    work.finish(counts={name: {**count, "dropped": {}} for name, count in counts.items()}, **facts)


def locate_tokenizer(location: str) -> Path | str:
    """The tokenizer as an input of the record: its folder, its file, or its Hub id."""
    folder = Path(location)
    if (folder / "run.json").is_file():
        return folder
    if (folder / "tokenizer.json").is_file():
        return folder / "tokenizer.json"
    if folder.is_absolute() or location.startswith(".") or maker_of(folder):
        raise BadInput(missing(folder / "tokenizer.json"))
    return location


def load_tokenizer(location: str) -> "PreTrainedTokenizerBase":
    """The tokenizer, which must know BOS and EOS and be a fast one."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(location)
    except (OSError, ValueError) as error:
        raise BadInput(f"make_shards.tokenizer {location}: cannot be loaded: {str(error).splitlines()[0]}") from None
    for name in ("bos_token_id", "eos_token_id"):
        if getattr(tokenizer, name) is None:
            raise BadInput(f"make_shards.tokenizer {location}: has no {name}; documents could not be told apart")
    if not tokenizer.is_fast:
        raise BadInput(f"make_shards.tokenizer {location}: has no tokenizer.json")
    return tokenizer


def encode_documents(
    documents: Iterable[dict[str, Any]], tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Each document with BOS + its tokens + EOS."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    for batch in batches(documents):
        texts = [document["text"] for document in batch]
        # "<s>" in a web page is a tag that strikes text through, not the beginning of a document
        encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
        for document, ids in zip(batch, encoded["input_ids"], strict=True):
            assert bos not in ids and eos not in ids, f"{document['id']}: BOS or EOS within the text: {ids[:20]}"
            yield document, [bos, *ids, eos]


def batches(documents: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Documents in lists that are worth a call of the tokenizer and fit in memory."""
    batch, characters = [], 0
    for document in documents:
        batch.append(document)
        characters += len(document["text"])
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def validation_share(files: list[Path], settings: Settings) -> float:
    """The share to hold out: the setting, or less where that would be more documents than wanted."""
    import pyarrow.parquet as pq

    count = sum(pq.read_metadata(path).num_rows for path in files)
    return min(settings.validation_share, settings.max_validation_documents / max(count, 1))


def text_fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: who is held out does not change as the corpus grows."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") / 2**64


def count_document(count: Counter[str], text: str, tokens: int, is_held_out: bool) -> None:
    """Adds one document to its source's counts."""
    count.update(
        seen=1,
        kept=1,
        words=len(text.split()),
        bytes=len(text.encode()),
        tokens=tokens,
        validation_documents=int(is_held_out),
        validation_tokens=tokens if is_held_out else 0,
    )


def describe_tokenizer(location: str, tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """What a reader of the shards must know of the tokenizer."""
    files = [path for name in ("tokenizer.json", "tokenizer.model") if (path := Path(location) / name).is_file()]
    return {
        "tokenizer": location,
        "tokenizer_sha256": file_hash(files[0]) if files else None,
        "vocabulary": len(tokenizer),
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "policy": POLICY,
        # whether tokenizer(prompt) opens with BOS as the documents do, or whoever prompts must add it
        "tokenizer_adds_bos": tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id],
    }


if __name__ == "__main__":
    run_script(main)
