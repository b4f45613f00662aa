"""Conversations as tokens: what is learnt, what is dropped and why. Made once, and then read from mapped files.

Shapes: N tokens of all conversations, B rows of a micro-batch, T tokens of the longest of them.
"""

import json
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jinja2 import TemplateError
from tqdm import tqdm

from snakmodel.documents import count_documents, read_documents
from snakmodel.prompts import IGNORED, NotLearnable, training_ids
from snakmodel.records import only_one, read_json, temporary_path, write_json

LossOn = Literal["answer", "all"]
AT_A_TIME = 1_000  # conversations that a process tokenises
WORTH_WORKERS = 20_000  # conversations; with fewer, starting processes takes longer than the work


class Tokens(NamedTuple):
    """Some conversations as tokens, one after the other, and the counts of those dropped, by reason."""

    ids_N: np.ndarray  # int32
    learnt_N: np.ndarray  # bool
    sizes: list[int]  # of each conversation
    dropped: Counter[str]


@dataclass(frozen=True)
class Examples:
    """All conversations as tokens, one after the other."""

    ids_N: np.ndarray  # int32
    learnt_N: np.ndarray  # bool
    ends: np.ndarray  # of each conversation, in N

    def __len__(self) -> int:
        return len(self.ends)

    def get(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and labels of one conversation: of what is learnt its id, else IGNORED."""
        return self.join([(int(self.ends[number - 1]) if number else 0, int(self.ends[number]))])

    def join(self, parts: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        """Ids and labels of parts of N as one text. Nothing stands before its first token, which is never learnt."""
        ids, learnt = (np.concatenate([of_N[slice(*part)] for part in parts]) for of_N in (self.ids_N, self.learnt_N))
        labels = np.where(learnt, ids, IGNORED)
        labels[:1] = IGNORED
        return ids, labels

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each conversation, and those learnt."""
        starts = np.concatenate([[0], self.ends[:-1]])
        learnt = np.add.reduceat(self.learnt_N, starts, dtype=np.int64) - self.learnt_N[starts]
        return self.ends - starts, learnt


def open_examples(
    folder: Path, documents: Path, tokenizer: Any, loss_on: LossOn, longest: int | None, workers: int, quiet: bool
) -> tuple[Examples, dict[str, int]]:
    """The conversations in a file's `turns`, from a folder of mapped files, which is made if it is not there.

    Of several processes that ask at once one makes it. longest: tokens of the longest conversation that is kept; None:
    all are. Also returns the counts of those dropped, by reason.
    """
    with only_one(folder, wait=True):
        if not folder.is_dir():
            shutil.rmtree(temporary_path(folder), ignore_errors=True)
            write_examples(temporary_path(folder), documents, tokenizer, loss_on, longest, workers, quiet)
            temporary_path(folder).rename(folder)
    ends = np.load(folder / "ends.npy")
    ids_N, learnt_N = np.empty(0, dtype=np.int32), np.empty(0, dtype=bool)
    if len(ends):  # no empty file can be mapped
        ids_N, learnt_N = (np.memmap(folder / f"{n}.bin", t, "r") for n, t in (("ids", np.int32), ("learnt", bool)))
    return Examples(ids_N, learnt_N, ends), read_json(folder / "dropped.json")


def write_examples(
    folder: Path, documents: Path, tokenizer: Any, loss_on: LossOn, longest: int | None, workers: int, quiet: bool
) -> None:
    """Writes ids.bin, learnt.bin, ends.npy and dropped.json."""
    folder.mkdir(parents=True)
    count, sizes, dropped = count_documents(documents), list[int](), Counter[str]()
    work = partial(tokenise, tokenizer=tokenizer, loss_on=loss_on, longest=longest)
    told = {"total": count, "unit": " conversations", "leave": False, "disable": quiet or None}
    with (folder / "ids.bin").open("wb") as ids, (folder / "learnt.bin").open("wb") as learnt, tqdm(**told) as bar:
        for tokens in each_batch(work, read_batches(documents), workers if count >= WORTH_WORKERS else 1):
            ids.write(tokens.ids_N.tobytes())
            learnt.write(tokens.learnt_N.tobytes())
            sizes += tokens.sizes
            dropped += tokens.dropped
            bar.update(len(tokens.sizes) + tokens.dropped.total())
    np.save(folder / "ends.npy", np.cumsum(sizes, dtype=np.int64))
    write_json(folder / "dropped.json", dict(dropped))


def each_batch(work: Any, batches: Iterator[list[str]], workers: int) -> Iterator[Tokens]:
    """The work's results in the order of the batches, from this process or several others."""
    if workers == 1:
        yield from map(work, batches)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(work, batches)


def read_batches(documents: Path) -> Iterator[list[str]]:
    """The conversations of a file, many at a time, as they are stored: JSON."""
    batch: list[str] = []
    for document in read_documents(documents, ["turns"]):
        batch.append(document["turns"])
        if len(batch) == AT_A_TIME:
            yield batch
            batch = []
    yield batch


def tokenise(conversations: Iterable[str], tokenizer: Any, loss_on: LossOn, longest: int | None) -> Tokens:
    """Tokens of these conversations (JSON)."""
    ids: list[int] = []
    learnt: list[bool] = []
    sizes: list[int] = []
    dropped = Counter[str]()
    for turns in conversations:
        try:
            whole, labels = training_ids(tokenizer, json.loads(turns))
        except (NotLearnable, TemplateError) as reason:
            dropped[str(reason)] += 1
            continue
        if longest is not None and len(whole) > longest:
            dropped["longer than sequence_length"] += 1
            continue
        ids += whole
        learnt += [loss_on == "all" or label != IGNORED for label in labels]
        sizes.append(len(whole))
    return Tokens(np.array(ids, dtype=np.int32), np.array(learnt, dtype=bool), sizes, dropped)


def collate(rows_B: list[list[tuple[np.ndarray, np.ndarray]]]) -> dict[str, Any]:
    """A micro-batch: input_ids, labels and, where rows hold several conversations, position_ids; int64, [B, T].

    Positions begin anew with each conversation; by that transformers tells them apart, when there is no mask. What
    fills a row up stands after its conversations, which cannot see it, and has no labels.
    """
    import torch  # late: --check needs none

    length_T = max([sum(len(ids) for ids, _ in row) for row in rows_B] + [1])
    ids_BT = torch.zeros(len(rows_B), length_T, dtype=torch.long)
    labels_BT = torch.full_like(ids_BT, IGNORED)
    positions_BT = torch.arange(length_T).repeat(len(rows_B), 1)
    for number, row in enumerate(rows_B):
        begin = 0
        for ids, labels in row:
            end = begin + len(ids)
            ids_BT[number, begin:end] = torch.from_numpy(ids)
            labels_BT[number, begin:end] = torch.from_numpy(labels)
            positions_BT[number, begin:] = torch.arange(length_T - begin)
            begin = end
    batch = {"input_ids": ids_BT, "labels": labels_BT}
    return batch | ({"position_ids": positions_BT} if any(len(row) > 1 for row in rows_B) else {})


def spell_out(ids: np.ndarray, labels: np.ndarray, tokenizer: Any) -> str:
    """A conversation as text, with what is learnt between marks, so that a wrong mask is seen at once."""
    learnt = labels != IGNORED
    borders = [0, *(np.flatnonzero(np.diff(learnt)) + 1).tolist(), len(ids)]
    parts = []
    for begin, end in zip(borders, borders[1:], strict=False):
        text = tokenizer.decode(ids[begin:end])
        parts.append(f">>>{text}<<<" if learnt[begin] else text)
    return " ".join(parts)
