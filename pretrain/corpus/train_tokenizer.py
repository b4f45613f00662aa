"""Train a tokenizer of Llama-2's kind on the deduplicated documents: SentencePiece BPE with byte fallback.

python pretrain/corpus/train_tokenizer.py --config configs/tiny-base.yaml

Writes tokenizer.model, and beside it tokenizer.json with the same ids, which transformers loads as a Llama tokenizer.
Continued runs keep their parent's tokenizer and leave this stage out.
"""

from dataclasses import dataclass
from pathlib import Path

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import document_files, read_documents
from snakmodel.records import begin, write_beside

FIRST_PIECE = 259  # in Llama-2 and here: 0 <unk>, 1 <s>, 2 </s>, then 256 bytes, then pieces


@dataclass
class Settings:
    vocabulary: int = knob(32_000, "tokens, special ones and 256 bytes included", low=300)


def main() -> None:
    command = read_command(Settings, "train_tokenizer", __doc__)
    folder, corpus = command.run.folder("train_tokenizer"), command.run.folder("deduplicate")
    work = begin(command, folder, {"corpus": corpus})
    if work is None:
        return
    train_model(folder / "tokenizer.model", corpus, command.settings.vocabulary)
    convert_model(folder)
    print(f"tokenizer: {command.settings.vocabulary:,} tokens", flush=True)
    work.finish(vocabulary=command.settings.vocabulary)


def train_model(path: Path, corpus: Path, vocabulary: int) -> None:
    """Writes a SentencePiece model of a corpus' texts, with Llama-2's options."""
    texts = (document["text"] for file in document_files(corpus) for document in read_documents(file, ["text"]))
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
