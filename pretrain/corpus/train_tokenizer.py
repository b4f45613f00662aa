"""Train a tokenizer of Llama-2's kind on the deduplicated documents: SentencePiece BPE with byte fallback.

python pretrain/corpus/train_tokenizer.py --config configs/tiny-base.yaml

Writes tokenizer.model, and beside it what transformers loads as a Llama tokenizer. The two are compared on documents
before the stage counts as finished. Continued runs keep their parent's tokenizer and leave this stage out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from snakmodel.config import read_command, run_script
from snakmodel.records import begin, read_json, write_beside, write_json
from snakmodel.settings import BadInput, knob

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

UNKNOWN, BOS, EOS = 0, 1, 2  # Llama-2's ids
COMPARED_DOCUMENTS = 2_000
ODD_TEXTS = (  # none of these characters need be in the vocabulary: they go through byte fallback
    "Rødgrød med fløde på Ærø, Ørsted og Åse",
    "日本語 😀 ∑ ﷽ e\u0301",
    "to  mellemrum,\ttabulator\nny linje\r\n\n1234567890",
    "<s>overstreget</s> <unk> <0x41>",
)


@dataclass
class Settings:
    vocabulary: int = knob(32_000, "tokens, special ones and 256 bytes included", low=300)
    required_characters: str = knob("æøåÆØÅ", "characters that get a token of their own, however rare")
    character_coverage: float = knob(0.99995, "share of all characters with a token of their own", above=0, high=1)
    max_documents: int = knob(1_000_000, "documents to train on, spread evenly over the corpus", low=1)


def main() -> None:
    command = read_command(Settings, "train_tokenizer", __doc__)
    settings, run = command.settings, command.run
    folder = run.folder("train_tokenizer")
    corpus = run.folder("deduplicate")
    work = begin(command, folder, {"corpus": corpus})
    if work is None:
        return
    model = train_model(read_lines(corpus, settings.max_documents), settings)
    with write_beside(folder / "tokenizer.model") as temporary:
        temporary.write_bytes(model)
    write_transformers_files(folder)
    compared = compare(folder, read_texts(corpus, COMPARED_DOCUMENTS))
    print(f"tokenizer: {settings.vocabulary:,} tokens; ids equal SentencePiece's on {compared:,} texts", flush=True)
    work.finish(vocabulary=settings.vocabulary, compared_texts=compared)


def read_texts(corpus: Path, most: int) -> Iterator[str]:
    """Every k-th document's text, k the least that gives no more than `most` of them."""
    import pyarrow.parquet as pq  # late: a finished stage says so without Arrow

    from snakmodel.documents import document_files, read_documents

    files = document_files(corpus)
    stride = -(-sum(pq.read_metadata(path).num_rows for path in files) // most)
    documents = (document for path in files for document in read_documents(path, columns=["text"]))
    for position, document in enumerate(documents):
        if position % stride == 0:
            yield document["text"]


def read_lines(corpus: Path, most: int) -> Iterator[str]:
    """The lines of the documents: as in Llama-2's vocabulary, no token reaches over the end of a line."""
    return (line for text in read_texts(corpus, most) for line in text.splitlines() if line)


def train_model(lines: Iterator[str], settings: Settings) -> bytes:
    """A SentencePiece model with Llama-2's options, as the bytes of its file."""
    from sentencepiece import SentencePieceTrainer

    model = BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type="bpe",
            vocab_size=settings.vocabulary,
            required_chars=settings.required_characters,
            character_coverage=settings.character_coverage,
            byte_fallback=True,
            split_digits=True,
            add_dummy_prefix=True,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            normalization_rule_name="identity",
            unk_id=UNKNOWN,
            bos_id=BOS,
            eos_id=EOS,
            pad_id=-1,
            max_sentence_length=1 << 30,  # bytes: the default passes over long lines without a word
            num_threads=1,  # the same corpus, the same model
            minloglevel=1,
        )
    except RuntimeError as error:
        raise BadInput(f"train_tokenizer: no {settings.vocabulary} tokens from this corpus: {error}") from None
    return model.getvalue()


def write_transformers_files(folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json for the tokenizer.model in this folder."""
    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaTokenizer

    processor = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    vocabulary = {processor.id_to_piece(token): token for token in range(processor.get_piece_size())}
    tokenizer = LlamaTokenizer(
        vocab=vocabulary, merges=list_merges(processor, vocabulary), add_bos_token=True, add_eos_token=False
    )
    tokenizer.save_pretrained(folder)
    # transformers 5 keeps the policy in tokenizer.json and drops these two; other tools look for them here
    config = read_json(folder / "tokenizer_config.json")
    write_json(folder / "tokenizer_config.json", {**config, "add_bos_token": True, "add_eos_token": False})


def list_merges(processor: "SentencePieceProcessor", vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """BPE merges in the order of their results' ids, every way to split a piece into two others among them."""
    merges = []
    for piece, token in vocabulary.items():
        if processor.is_byte(token) or processor.is_control(token) or processor.is_unknown(token):
            continue
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                merges.append((token, vocabulary[left], vocabulary[right], left, right))
    return [(left, right) for *_, left, right in sorted(merges)]


def compare(folder: Path, texts: Iterator[str]) -> int:
    """Loads both forms and refuses any difference: ids, one BOS in front, and the text back from the ids.

    Returns the number of texts. Special tokens that a text spells out count as text in both.
    """
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoTokenizer

    processor = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    compared = [text for text in (*ODD_TEXTS, *texts) if "▁" not in text]  # SentencePiece's own sign for a space
    for text in compared:
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        expected = [BOS, *processor.encode(text)]
        back = tokenizer.decode(ids[1:])
        if ids != expected or BOS in ids[1:] or EOS in ids:
            raise BadInput(f"{folder}: transformers gives {ids[:9]}, SentencePiece {expected[:9]} for {text[:60]!r}")
        if back != text:
            raise BadInput(f"{folder}: {text[:60]!r} comes back from its tokens as {back[:60]!r}")
    return len(compared)


if __name__ == "__main__":
    run_script(main)
