"""Bits per byte of held-out text, language by language, while a model trains.

The same number as the built-in scorer's (`snakmodel.likelihood.document_bits`): every token of a document is scored
once, BOS is context, EOS is not counted, long documents are read in windows that overlap by half.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pretrain.loader import Batch
from pretrain.objective import IGNORED, summed_loss
from pretrain.recipe import Settings
from snakmodel.config import BadInput
from snakmodel.documents import evenly, read_documents
from snakmodel.likelihood import encode, windows
from snakmodel.models import load_tokenizer

if TYPE_CHECKING:
    from pretrain.engines import Engine


@dataclass(frozen=True)
class HeldOut:
    """Some text of one language: this rank's windows of it, and the bytes of all of it."""

    batch: Batch
    bytes: int


def read_held_out(files: dict[str, Path], s: Settings, rank: int, ranks: int) -> dict[str, HeldOut]:
    """Documents spread evenly over each file, cut into windows and dealt out to the ranks."""
    tokenizer = load_tokenizer(s.tokenizer)
    held_out = {}
    for language, path in files.items():
        texts = [document["text"] for document in read_documents(path, ["text"])]
        if not texts:
            raise BadInput(f"pretrain.validation.{language}: {path} holds no document")
        chosen = evenly(texts, s.validation_documents)
        rows = [
            (ids[begin : end - 1], [IGNORED] * (first - begin - 1) + ids[first:end])
            for ids in encode(tokenizer, chosen)
            for begin, first, end in windows(len(ids), s.sequence_length)
        ]
        rows += [([tokenizer.bos_token_id], [IGNORED])] * (-len(rows) % ranks)  # all ranks have as many
        width = max(len(inputs) for inputs, _ in rows)
        inputs_BT = torch.zeros(len(rows), width, dtype=torch.int64)
        targets_BT = torch.full_like(inputs_BT, IGNORED)
        for row, (inputs, targets) in enumerate(rows):  # padded on the right, where no earlier token looks
            inputs_BT[row, : len(inputs)] = torch.tensor(inputs)
            targets_BT[row, : len(targets)] = torch.tensor(targets)
        mine = slice(rank, None, ranks)
        batch = Batch(inputs_BT[mine].contiguous(), targets_BT[mine].contiguous(), None)
        held_out[language] = HeldOut(batch, sum(len(text.encode()) for text in chosen))
    return held_out


def bits_per_byte(engine: "Engine", held_out: dict[str, HeldOut]) -> dict[str, float]:
    """Bits per byte of each language under the live model. Every rank must call it."""
    return {
        language: float(engine.summed_loss([text.batch])) / math.log(2) / text.bytes
        for language, text in held_out.items()
    }


def check_loss(engine: "Engine", probe_BT: torch.Tensor, ranks: int) -> None:
    """Refuses a loss in pieces that is not the model's own: some architectures change the logits after the head."""
    inputs_BT, targets_BT = probe_BT[:, :-1].contiguous(), probe_BT[:, 1:].contiguous()
    ours = float(engine.summed_loss([Batch(inputs_BT, targets_BT, None)])) / ranks
    its_own = float(summed_loss(engine.logits(inputs_BT).flatten(0, 1), targets_BT.flatten()))
    if not abs(ours - its_own) <= 1e-3 * its_own:  # not <=: a NaN is refused too
        raise BadInput(
            f"the loss of held-out text is {ours:.4f} by cross_entropy: {engine.settings.cross_entropy}, "
            f"{its_own:.4f} by the model's own logits; set pretrain.cross_entropy to whole"
        )
