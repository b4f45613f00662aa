"""How likely a causal language model finds a text: log-likelihoods of answers, and bits per byte of documents.

Everything comes down to `sum_log_probabilities`: the same numbers whatever the batches, to rounding (about 1e-5 in
float32; bfloat16 rounds more coarsely). Shapes: B sequences of a batch, T tokens, V vocabulary, N scored tokens.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import takewhile

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from snakmodel.config import BadInput
from snakmodel.prompts import Turns, conversation_ids, prompt_ids
from snakmodel.shared_prefix import Choice, check_finite, check_length, option_sums

Question = tuple[str | Turns, list[str]]  # prompt, options
Scored = tuple[list[int], int]  # token ids, and the index (>= 1) of the first whose log-probability counts


def option_log_likelihoods(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], batch_tokens: int
) -> list[list[float]]:
    """Sum of log p(option tokens | BOS + prompt), in nats, for each option of each question.

    Prompt and option are tokenised as one text, as a reader meets them; a token may then straddle the border. The
    options begin after the longest prefix that all of them share with BOS + prompt: the same place for every option,
    so that a straddling token counts for none of them or for all, and their sums can be compared. Where the tokenizer
    carries a chat template (snakmodel/prompts.py), the prompt is a user's turn in it, or turns of which the last is
    the user's, and the option an answer, which ends. batch_tokens: see shared_prefix.option_sums.
    """
    return option_sums(model, [split_options(tokenizer, *question) for question in questions], batch_tokens)


def split_options(tokenizer: PreTrainedTokenizerBase, prompt: str | Turns, options: list[str]) -> Choice:
    """A question's tokens up to where its options begin, and each option's own."""
    if tokenizer.chat_template:
        asked = [{"role": "user", "content": prompt.strip()}] if isinstance(prompt, str) else prompt
        answers = [[*asked, {"role": "assistant", "content": option.strip()}] for option in options]
        alone, answered = prompt_ids(tokenizer, asked), [conversation_ids(tokenizer, each) for each in answers]
    else:
        assert isinstance(prompt, str), "turns are for a chat template"
        alone, *answered = encode(tokenizer, [prompt, *(prompt + option for option in options)])
    first = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(alone, *answered, strict=False)))
    return answered[0][:first], [ids[first:] for ids in answered]


def document_bits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], window: int, batch_tokens: int
) -> list[tuple[float, int]]:
    """(bits, UTF-8 bytes) of each text; bits = -sum of log2 p of its tokens, all of them and no others.

    BOS is context and costs nothing, EOS is not counted. A text longer than `window` tokens is read in overlapping
    windows (see `windows`). Bits per byte of a corpus = sum of bits / sum of bytes, which compares models whatever
    their tokenizers (Gao et al. 2020, The Pile, section 3.1). Raises BadInput where the tokenizer has no token for
    some of a text: an unknown token is cheap, and the figure would flatter.
    """
    sequences: list[Scored] = []
    owners: list[int] = []  # the text that each sequence comes from
    for owner, ids in enumerate(encode(tokenizer, texts)):
        if tokenizer.unk_token_id in ids[1:]:
            raise BadInput(f"the tokenizer has no token for some of {texts[owner][:60]!r}...; use one with byte tokens")
        for begin, first, end in windows(len(ids), window):
            sequences.append((ids[begin:end], first - begin))
            owners.append(owner)
    bits = [0.0] * len(texts)
    for owner, nats in zip(owners, sum_log_probabilities(model, sequences, batch_tokens), strict=True):
        bits[owner] -= nats / math.log(2)
    return [(total, len(text.encode())) for total, text in zip(bits, texts, strict=True)]


def windows(length: int, window: int) -> Iterator[tuple[int, int, int]]:
    """(begin, first, end) of each window over `length` tokens: [begin, end) is read, [first, end) is scored.

    Every token but the first is scored once. Windows move by half their size, so each scored token has at least half
    a window of context, or all there is.
    """
    assert window >= 2, window
    first = 1
    while first < length:
        end = min(length, window if first == 1 else first + window // 2)
        yield max(0, end - window), first, end
        first = end


def sum_log_probabilities(model: PreTrainedModel, sequences: Sequence[Scored], batch_tokens: int) -> list[float]:
    """For each sequence the sum of log p(token | tokens before it), in nats, over its scored tokens.

    A batch holds at most `batch_tokens` tokens, padding included, or one sequence. Raises BadInput where a sequence
    is longer than the model can read, or where the model's output is not finite.
    """
    sums = torch.zeros(len(sequences), dtype=torch.float64)
    for rows, log_p_BT in log_probabilities(model, sequences, batch_tokens):
        sums[rows] = log_p_BT.sum(1)
    return sums.tolist()


def token_log_probabilities(
    model: PreTrainedModel, sequences: Sequence[Scored], batch_tokens: int
) -> list[list[float]]:
    """What sum_log_probabilities adds up: of each sequence log p of every scored token, in nats."""
    tokens: list[list[float]] = [[] for _ in sequences]
    for rows, log_p_BT in log_probabilities(model, sequences, batch_tokens):
        for row, log_p_T in zip(rows, log_p_BT, strict=True):
            ids, first = sequences[row]
            tokens[row] = log_p_T[first : len(ids)].tolist()
    return tokens


def log_probabilities(
    model: PreTrainedModel, sequences: Sequence[Scored], batch_tokens: int
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Batch by batch: which sequences it holds, and log p [B, T] of their tokens, 0 where none is scored."""
    assert all(0 < first < len(ids) for ids, first in sequences), "a sum over no token would win"
    # neighbours in length pad each other least; with the longest first, too large a batch fails at once
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index][0]))
    while order:
        width = len(sequences[order[0]][0])
        check_length(model, width)
        rows = max(1, batch_tokens // width)
        log_p_BT = batch_log_probabilities(model, [sequences[index] for index in order[:rows]])
        check_finite(log_p_BT)
        yield order[:rows], log_p_BT
        order = order[rows:]


@torch.inference_mode()
def batch_log_probabilities(model: PreTrainedModel, batch: Sequence[Scored]) -> torch.Tensor:
    """log_probabilities of one batch, padded on the right. The log-softmax is float32, what it becomes float64."""
    tokens_BT = pad_sequence([torch.tensor(ids) for ids, _ in batch], batch_first=True)
    lengths_B, firsts_B = torch.tensor([(len(ids), first) for ids, first in batch]).T
    positions_T = torch.arange(tokens_BT.shape[1])
    mask_BT = positions_T < lengths_B[:, None]
    scored_BT = mask_BT & (positions_T >= firsts_B[:, None])
    tokens_BT, mask_BT, scored_BT = (x.to(model.device) for x in (tokens_BT, mask_BT, scored_BT))
    logits_BTV = model(input_ids=tokens_BT, attention_mask=mask_BT.long(), use_cache=False).logits
    # only the scored positions become float32: the whole batch would be the largest tensor of all
    logits_NV = logits_BTV[:, :-1][scored_BT[:, 1:]].float()
    log_p_BT = torch.zeros_like(scored_BT, dtype=torch.float64)
    log_p_BT[scored_BT] = -cross_entropy(logits_NV, tokens_BT[scored_BT], reduction="none").double()
    return log_p_BT.cpu()


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of BOS + text: exactly one BOS, whatever the tokenizer adds by itself or the text spells out."""
    if tokenizer.bos_token_id is None:
        raise BadInput(f"{tokenizer.name_or_path}: the tokenizer has no BOS token, which opens every text here")
    rows = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False).input_ids
    return [[tokenizer.bos_token_id, *ids] for ids in rows]
