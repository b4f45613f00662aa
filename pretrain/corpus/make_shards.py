"""Turn the deduplicated documents into token shards, one a source, and hold some of them out for validation.

python pretrain/corpus/make_shards.py --config configs/tiny.yaml

Every document becomes BOS + its tokens + EOS, whatever the tokenizer adds by itself.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.corpus.sieve import source_of
from pretrain.corpus.workers import Workers, run_tasks
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import DocumentWriter, batches, document_files, read_documents, text_fraction
from snakmodel.hashes import file_hash
from snakmodel.paths import maker_of
from snakmodel.records import begin, missing, read_json, remove_folder, write_json
from snakmodel.shards import ShardReader, ShardWriter

NAMES = ("train", "validation")
DOCUMENTS_AT_A_TIME = 1_000
POLICY = "every document is BOS + tokens + EOS; special tokens that a text spells out are plain text"


@dataclass(kw_only=True)
class Settings(Workers):
    tokenizer: str = knob(help="tokenizer folder, or a Hub id")
    validation_share: float = knob(
        0.02, "share of the documents that is held out, by a hash of the text", above=0, high=0.5
    )
    max_validation_documents: int = knob(10_000, "about the most documents held out, whatever the share", low=1)


def main() -> None:
    command = read_command(Settings, "make_shards", __doc__)
    settings, run = command.settings, command.run
    folder, corpus = run.folder("make_shards"), run.folder("deduplicate")
    tokenizer = find_tokenizer(settings.tokenizer)
    work = begin(command, folder, {"corpus": corpus, "tokenizer": tokenizer})
    if work is None:
        return
    counts = read_json(corpus / "run.json")["counts"]
    for count in counts.values():
        count.update(seen=count["kept"], dropped={}, tokens=0, validation_documents=0)
    most = settings.max_validation_documents / max(1, sum(count["kept"] for count in counts.values()))
    share = min(settings.validation_share, most)
    files = document_files(corpus)
    parts = [folder / "parts" / path.stem for path in files]
    todo = [number for number, part in enumerate(parts) if not (part / "done.json").is_file()]
    run_tasks(partial(encode_part, settings.tokenizer, share, files, parts), todo, folder, settings, "encode")
    facts = read_json(parts[0] / "done.json")["facts"]
    facts["tokenizer_sha256"] = file_hash(tokenizer) if isinstance(tokenizer, Path) else None
    for source in dict.fromkeys(source_of(path) for path in files):
        mine = [part for part, path in zip(parts, files, strict=True) if source_of(path) == source]
        for name in NAMES:
            join(folder / source / name, [part / name for part in mine], facts)
        for done in (read_json(part / "done.json") for part in mine):
            counts[source]["tokens"] += done["tokens"]
            counts[source]["validation_documents"] += done["validation_documents"]
    with DocumentWriter(folder / "validation.parquet") as held_out:
        for document in (d for part in parts for d in read_documents(part / "validation.parquet")):
            held_out.write(document)
    remove_folder(folder / "parts")
    documents, validation = (sum(c[key] for c in counts.values()) for key in ("kept", "validation_documents"))
    print(f"{documents - validation:,} documents to train on, {validation:,} held out", flush=True)
    work.finish(counts=counts, **facts)


def find_tokenizer(location: str) -> Path | str:
    """The tokenizer.json of a folder; or else the location as it stands, the Hub's id of a tokenizer."""
    path = Path(location) / "tokenizer.json"
    if path.is_file():
        return path
    if maker_of(path.parent):
        raise BadInput(missing(path))
    return location


def encode_part(location: str, share: float, files: list[Path], parts: list[Path], number: int) -> None:
    """Writes the tokens of one part: train and validation shards, the held-out documents, and last done.json."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # each worker has one core
    from snakmodel.models import load_tokenizer  # late: a finished stage says so at once

    tokenizer, part = load_tokenizer(location), parts[number]
    vocabulary, tokens = len(tokenizer), 0
    with (
        ShardWriter(part / "train", vocabulary) as train,
        ShardWriter(part / "validation", vocabulary) as validation,
        DocumentWriter(part / "validation.parquet") as held_out,
    ):
        for documents in batches(read_documents(files[number], ["text", "source", "id"]), DOCUMENTS_AT_A_TIME):
            chosen = [text_fraction(document["text"]) < share for document in documents]
            for shard, is_validation in ((train, False), (validation, True)):
                mine = [document for document, held in zip(documents, chosen, strict=True) if held is is_validation]
                row, lengths = encode(tokenizer, [document["text"] for document in mine])
                shard.write_all(row, lengths)
                tokens += len(row)
            for document, held in zip(documents, chosen, strict=True):
                if held:
                    held_out.write(document)
        train.finish()
        validation.finish()
    facts = {"tokenizer": location, "vocabulary": vocabulary, "policy": POLICY}
    facts |= {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
    write_json(part / "done.json", {"tokens": tokens, "validation_documents": held_out.count, "facts": facts})


def encode(tokenizer: Any, texts: list[str]) -> tuple[np.ndarray, list[int]]:
    """BOS + tokens + EOS of every text, one after the other, and their lengths.

    "<s>" in a web page is a tag that strikes text through, not the beginning of a document.
    """
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    library = tokenizer.backend_tokenizer
    library.encode_special_tokens = True  # as the plain text that they are
    row: list[int] = []
    lengths = []
    for encoding in library.encode_batch_fast(texts, add_special_tokens=False):
        ids = encoding.ids
        row.append(bos)
        row += ids
        row.append(eos)
        lengths.append(len(ids) + 2)
    tokens = np.array(row, dtype=np.int64)
    assert np.isin(tokens, (bos, eos)).sum() == 2 * len(texts), "a text holds the end of a text"
    return tokens, lengths


def join(prefix: Path, parts: list[Path], facts: dict[str, Any]) -> None:
    """One shard of the shards of a source's parts."""
    with ShardWriter(prefix, facts["vocabulary"]) as shard:
        for reader in (ShardReader(part) for part in parts):
            for start in range(0, len(reader), 100_000):  # documents at a time
                lengths = reader.lengths[start : start + 100_000]
                first = int(reader.offsets[start]) // reader.dtype.itemsize
                shard.write_all(reader.tokens[first : first + int(lengths.sum(dtype=np.int64))], lengths.tolist())
        shard.finish(**facts)


if __name__ == "__main__":
    from pretrain.corpus.make_shards import main  # other processes import its functions by this name

    run_script(main)
