"""How likely a causal language model finds a text: log-likelihoods of answers, and bits per byte of documents.

Everything comes down to `sum_log_probabilities`: the same numbers whatever the batches, to rounding (about 1e-5 in
float32; bfloat16 rounds more coarsely). Shapes: B sequences of a batch, T tokens, V vocabulary, N scored tokens.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import takewhile

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from snakmodel.config import BadInput


def option_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts_and_options: Sequence[tuple[str, Sequence[str]]],
    batch_tokens: int,
) -> list[list[float]]:
    """Sum of log p(option tokens | BOS + prompt), in nats, for each option of each prompt.

    batch_tokens: most tokens in a batch, padding included. Raises BadInput where an option adds no token.
    """
    sequences: list[list[int]] = []
    firsts: list[int] = []
    for prompt, options in prompts_and_options:
        answered, boundary = encode_options(tokenizer, prompt, options)
        sequences += answered
        firsts += [boundary] * len(answered)
    sums = iter(sum_log_probabilities(model, sequences, firsts, batch_tokens))
    return [[next(sums) for _ in options] for _, options in prompts_and_options]


def encode_options(
    tokenizer: PreTrainedTokenizerBase, prompt: str, options: Sequence[str]
) -> tuple[list[list[int]], int]:
    """The token ids of BOS + prompt + option for each option, and where the options begin in them.

    Prompt and option are tokenised as one text, as a reader meets them; a token may then straddle the border. The
    options begin after the longest prefix that all of them share with BOS + prompt: the same place for every option,
    so that a straddling token counts for none of them or for all, and their sums can be compared.
    """
    alone, *answered = encode(tokenizer, [prompt, *(prompt + option for option in options)])
    boundary = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(alone, *answered, strict=False)))
    for option, ids in zip(options, answered, strict=True):
        if len(ids) <= boundary:
            raise BadInput(f"option {option!r} adds no token to prompt {prompt!r}; give it some text")
    return answered, boundary


def document_bits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], window: int, batch_tokens: int
) -> list[tuple[float, int]]:
    """(bits, UTF-8 bytes) of each text; bits = -sum of log2 p of its tokens, all of them and no others.

    BOS is context and costs nothing, EOS is not counted. A text longer than `window` tokens is read in overlapping
    windows (see `windows`). Bits per byte of a corpus = sum of bits / sum of bytes, which compares models whatever
    their tokenizers (Gao et al. 2020, The Pile, section 3.1). Raises BadInput where the tokenizer has no token for
    some of a text: an unknown token is cheap, and the figure would flatter.
    """
    longest = model.config.max_position_embeddings
    if window > longest:
        raise BadInput(f"a window of {window:,} tokens is longer than the model's {longest:,} positions; lower window")
    pieces: list[list[int]] = []
    firsts: list[int] = []
    owners: list[int] = []
    for owner, ids in enumerate(encode(tokenizer, texts)):
        if tokenizer.unk_token_id in ids[1:]:
            raise BadInput(f"the tokenizer has no token for some of {texts[owner][:60]!r}...; use one with byte tokens")
        for begin, first, end in windows(len(ids), window):
            pieces.append(ids[begin:end])
            firsts.append(first - begin)
            owners.append(owner)
    nats = [0.0] * len(texts)
    for owner, total in zip(owners, sum_log_probabilities(model, pieces, firsts, batch_tokens), strict=True):
        nats[owner] -= total
    return [(total / math.log(2), len(text.encode("utf-8"))) for total, text in zip(nats, texts, strict=True)]


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


@torch.inference_mode()
def sum_log_probabilities(
    model: PreTrainedModel, sequences: Sequence[list[int]], firsts: Sequence[int], batch_tokens: int
) -> list[float]:
    """For each sequence the sum of log p(token | tokens before it), in nats, over its tokens from `first` >= 1 on.

    Logits may be bfloat16; the log-softmax is float32, the sum float64. Raises BadInput where a sequence is longer
    than the model can read, or where the model's output is not finite.
    """
    longest = model.config.max_position_embeddings
    sums = [0.0] * len(sequences)
    for batch in batches_by_length([len(ids) for ids in sequences], batch_tokens):
        width = len(sequences[batch[0]])
        if width > longest:
            raise BadInput(f"a prompt with its option has {width:,} tokens, the model reads {longest:,}; shorten it")
        tokens_BT = torch.zeros(len(batch), width, dtype=torch.long)
        mask_BT = torch.zeros_like(tokens_BT)
        scored_BT = torch.zeros_like(tokens_BT, dtype=torch.bool)
        for row, index in enumerate(batch):
            ids, first = sequences[index], firsts[index]
            tokens_BT[row, : len(ids)] = torch.tensor(ids)
            mask_BT[row, : len(ids)] = 1
            scored_BT[row, first : len(ids)] = True
        tokens_BT, mask_BT, scored_BT = (x.to(model.device) for x in (tokens_BT, mask_BT, scored_BT))
        logits_BTV = model(input_ids=tokens_BT, attention_mask=mask_BT, use_cache=False).logits
        # only the scored positions become float32: the whole batch would be the largest tensor of all
        logits_NV = logits_BTV[:, :-1][scored_BT[:, 1:]].float()
        log_p_N = -cross_entropy(logits_NV, tokens_BT[scored_BT], reduction="none")
        counts = [len(sequences[index]) - firsts[index] for index in batch]
        for index, log_p in zip(batch, log_p_N.double().cpu().split(counts), strict=True):
            sums[index] = float(log_p.sum())
    if not all(map(math.isfinite, sums)):
        raise BadInput("the model's output is not finite (its training diverged, or its weights are damaged)")
    return sums


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of at most batch_tokens, padding included, or one sequence; the longest first.

    Neighbours in length pad each other least; with the longest first, too large a batch fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        rows = max(1, batch_tokens // lengths[order[0]])
        yield order[:rows]
        order = order[rows:]


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of BOS + text: exactly one BOS, whatever the tokenizer adds by itself or the text spells out."""
    if tokenizer.bos_token_id is None:
        raise BadInput(f"{tokenizer.name_or_path}: the tokenizer has no BOS token, which opens every text here")
    rows = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False).input_ids
    return [[tokenizer.bos_token_id, *ids] for ids in rows]
