"""Train a tokenizer of Llama-2's kind on the deduplicated documents: SentencePiece BPE with byte fallback.

python pretrain/corpus/train_tokenizer.py --config configs/tiny-base.yaml

Writes tokenizer.model, and beside it tokenizer.json with the same ids, which transformers loads as a Llama tokenizer.
Continued runs keep their parent's tokenizer and leave this stage out; or lengthen its vocabulary by tokens of their
language: `extend` names the tokenizer, `new_tokens` says by how many (extend_vocabulary.py).

Memory: a new tokenizer takes about 3 bytes for each byte of text that it is trained on (0.75 GB for 200 MB, measured on
made-up words); lengthening one takes 0.55 GB and hardly more for more text, but more for more different words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from pretrain.corpus.make_shards import find_tokenizer
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import document_files, read_documents, text_fraction
from snakmodel.records import begin, read_json, write_beside

FIRST_PIECE = 259  # in Llama-2 and here: 0 <unk>, 1 <s>, 2 </s>, then 256 bytes, then pieces


@dataclass
class Settings:
    vocabulary: int = knob(32_000, "tokens, special ones and 256 bytes included; of a new tokenizer", low=300)
    megabytes: float = knob(
        1_000, "text to train on, about, drawn evenly from all sources by a hash of the id", above=0
    )
    extend: str | None = knob(None, "tokenizer to lengthen instead: folder or Hub id, with Llama's byte fallback")
    new_tokens: int = knob(0, "extend: tokens that come after its own", low=0)


def main() -> None:
    command = read_command(Settings, "train_tokenizer", __doc__)
    settings, run = command.settings, command.run
    folder, corpus = run.folder("train_tokenizer"), run.folder("deduplicate")
    if (settings.extend is None) != (settings.new_tokens == 0):
        raise BadInput(
            f"train_tokenizer: extend ({settings.extend}) and new_tokens ({settings.new_tokens}) go together; "
            "give both or neither"
        )
    inputs: dict[str, str | Path] = {"corpus": corpus}
    if settings.extend:
        inputs["extend"] = find_tokenizer(settings.extend)
    work = begin(command, folder, inputs)
    if work is None:
        return
    size = sum(count["bytes"] for count in read_json(corpus / "run.json")["counts"].values())
    share = min(1.0, settings.megabytes * 1e6 / max(size, 1))
    texts = partial(read_texts, corpus, share)
    if settings.extend:
        from pretrain.corpus.extend_vocabulary import extend  # late: torch, which a finished stage does not need

        vocabulary = extend(settings.extend, settings.new_tokens, texts, folder)
    else:
        train_model(folder / "tokenizer.model", texts(), settings.vocabulary)
        convert_model(folder)
        vocabulary = settings.vocabulary
    print(f"tokenizer: {vocabulary:,} tokens, from {share:.1%} of {size:,} bytes", flush=True)
    work.finish(vocabulary=vocabulary, share=share)


def read_texts(corpus: Path, share: float) -> Iterator[str]:
    """The texts of a share of the documents, the same ones every time and alike many of every part."""
    for path in document_files(corpus):
        for document in read_documents(path, ["text", "id"]):
            if text_fraction(document["id"]) < share:
                yield document["text"]


def train_model(path: Path, texts: Iterator[str], vocabulary: int) -> None:
    """Writes a SentencePiece model of texts, with Llama-2's options."""
    with write_beside(path) as temporary, temporary.open("wb") as file:
        try:
            SentencePieceTrainer.train(
                # as in Llama-2's vocabulary, no token reaches over the end of a line
                sentence_iterator=(line for text in texts for line in text.splitlines() if line),
                model_writer=file,
                model_type="bpe",
                vocab_size=vocabulary,
                required_chars="æøåÆØÅ",  # get tokens of their own, however rare: an English base will meet Danish
                character_coverage=0.99995,
                byte_fallback=True,
                split_digits=True,
                remove_extra_whitespaces=False,
                allow_whitespace_only_pieces=True,
                normalization_rule_name="identity",
                max_sentence_length=1 << 30,  # bytes: the default passes over long lines without a word
                num_threads=1,  # the same corpus, the same model
                minloglevel=1,
            )
        except RuntimeError as error:
            raise BadInput(f"train_tokenizer: no {vocabulary} tokens from this corpus: {error}") from None


def convert_model(folder: Path) -> None:
    """Writes what transformers loads for the tokenizer.model in this folder."""
    from transformers import LlamaTokenizer  # late: a finished stage says so at once

    processor = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    vocabulary = {processor.id_to_piece(token): token for token in range(processor.get_piece_size())}
    merges = [  # in the order of their results' ids, every way to split a piece into two others among them
        (token, vocabulary[piece[:cut]], piece[:cut], piece[cut:])
        for piece, token in vocabulary.items()
        if token >= FIRST_PIECE
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    pairs = [(left, right) for _, _, left, right in sorted(merges)]
    LlamaTokenizer(vocab=vocabulary, merges=pairs, add_bos_token=True).save_pretrained(folder)


if __name__ == "__main__":
    run_script(main)
