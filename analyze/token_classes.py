"""What kind of token a token is, and how often it stands in the corpus: what embeddings.py groups its numbers by."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from snakmodel.documents import read_documents
from snakmodel.records import identity, read_json, write_json
from snakmodel.shards import open_shards

STARTS = ("▁", "Ġ")  # of a word, as SentencePiece and byte-level BPE mark it
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
WORD = re.compile(r"[^\W\d_]+")
LATIN = re.compile(r"[A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff]+")
LEAST_SEEN = 3  # times that a word must stand in a language's text to be one of its words
TIMES_LIKELIER = 4.0  # in one language than in any other
COUNTED_AT_ONCE = 2**24  # tokens


def classify(tokenizer: Any, letters: str, words: dict[str, dict[str, float]]) -> dict[int, str]:
    """Token's number -> its class, the first that holds of:

    special; byte (of a character); digit; own letters (one of `letters` is in it); word LANGUAGE (starts a word, is one
    in that language's text, and TIMES_LIKELIER there than in others'; of one language alone: word seen in LANGUAGE);
    word of several; other script (letters that are not Latin); piece (letters); punctuation. words: language -> word in
    lower case -> its share of that text.
    """
    classes = {}
    for token, number in tokenizer.get_vocab().items():
        text = token.lstrip("▁") if BYTE.fullmatch(token) else tokenizer.convert_tokens_to_string([token]).strip()
        if number in tokenizer.all_special_ids or number in tokenizer.added_tokens_decoder:
            classes[number] = "special"
        elif BYTE.fullmatch(token) or "\ufffd" in text:
            classes[number] = "byte"
        elif text.isdigit():
            classes[number] = "digit"
        elif set(text) & set(letters):
            classes[number] = "own letters"
        elif not WORD.search(text):
            classes[number] = "punctuation"
        elif not LATIN.search(text):
            classes[number] = "other script"
        elif token.startswith(STARTS):
            classes[number] = word_class(text.lower(), words)
        else:
            classes[number] = "piece"
    return classes


def word_class(word: str, words: dict[str, dict[str, float]]) -> str:
    """The language of a word that begins one, or "piece"; of one language alone, only that its text has the word."""
    shares = sorted(((mine[word], language) for language, mine in words.items() if word in mine), reverse=True)
    if not shares:
        return "piece"
    if len(shares) > 1 and shares[0][0] < TIMES_LIKELIER * shares[1][0]:
        return "word of several"
    return f"word {shares[0][1]}" if len(words) > 1 else f"word seen in {shares[0][1]}"  # nothing to compare with


def read_words(path: Path) -> dict[str, float]:
    """Words in lower case that stand in a file of documents, with their share of all its words."""
    counts: Counter[str] = Counter()
    for document in read_documents(path, ["text"]):
        counts.update(WORD.findall(document["text"].lower()))
    total = counts.total()
    return {word: count / total for word, count in counts.items() if count >= LEAST_SEEN}


def count_tokens(shards: Path, kept: Path) -> np.ndarray:
    """How often each token stands in the training shards, up to the last that does. Counted once: `kept` has it."""
    known = identity(shards)
    if kept.is_file() and (told := read_json(kept))["shards"] == known:
        counts = np.array(told["counts"])
    else:
        counts = np.zeros(0, np.int64)
        for shard in open_shards(shards, "train"):
            for start in range(0, len(shard.tokens), COUNTED_AT_ONCE):
                piece = np.bincount(shard.tokens[start : start + COUNTED_AT_ONCE], minlength=len(counts))
                counts = piece + np.pad(counts, (0, len(piece) - len(counts)))
        write_json(kept, {"shards": known, "counts": counts.tolist()})
    return counts


def frequency_class(count: int) -> str:
    """ "0", "1 to 9", "10 to 99", ..."""
    if count == 0:
        return "0"
    digits = len(str(count))
    return f"{10 ** (digits - 1):,} to {10**digits - 1:,}"
