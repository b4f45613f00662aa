"""Conversations as rows, what is learnt of them, and what that does to gradients: pytest tests/test_examples.py"""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import small_model
from torch.nn.functional import log_softmax

from finetune.adapters import add_adapters, check_isolation, project_learnt
from finetune.examples import Examples, collate, open_examples, spell_out, tokenise
from finetune.packing import Rows, fit, pack
from snakmodel.config import BadInput
from snakmodel.documents import DocumentWriter
from snakmodel.prompts import IGNORED


def conversation(*contents):
    turns = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)]
    return json.dumps(turns)


def learn(conversations, tokenizer, loss_on="answer", longest=None):
    """The conversations that are kept, as examples."""
    tokens = tokenise(conversations, tokenizer, loss_on, longest)
    return Examples(tokens.ids_N, tokens.learnt_N, np.cumsum(tokens.sizes))


@pytest.fixture(scope="module")
def examples(tokenizer):
    """Twenty conversations of different lengths."""
    return learn([conversation("w5 " * (n % 4 + 1), f"w{n + 10} " * (n % 3 + 1)) for n in range(20)], tokenizer)


def test_what_cannot_be_learnt_is_dropped_and_counted_by_its_reason(tokenizer):
    made = [conversation("w5", "w6"), conversation("w5 " * 60, "w6"), conversation("w5", "w6 </s> w7")]
    made += [conversation("w5"), json.dumps([{"role": "user", "content": "w5"}] * 2)]
    tokens = tokenise(made, tokenizer, "answer", 20)
    assert len(tokens.sizes) == 1 and tokens.dropped == {
        "longer than sequence_length": 1,
        "spells out special tokens": 1,
        "has no answer": 2,
    }
    assert len(learn(made, tokenizer)) == 2


def test_the_loss_covers_the_answers_or_the_whole_text_without_its_first_token(tokenizer):
    made = [conversation("w5", "w6", "w7", "w8 w9")]
    ids, labels = learn(made, tokenizer).get(0)
    assert labels[labels != IGNORED].tolist() == [6, 2, 8, 9, 2]
    assert spell_out(ids, labels, tokenizer).endswith(">>>w6 </s><<< <s> <unk> w7 <unk> >>>w8 w9 </s><<<")
    ids, labels = learn(made, tokenizer, "all").get(0)
    assert labels.tolist() == [IGNORED, *ids[1:]]


def test_whole_conversations_are_fitted_into_rows_each_once_and_always_alike(examples):
    assert sorted(map(sorted, fit(np.array([6, 5, 4, 3, 2]), 10, seed=0))) == [[0, 2], [1, 3, 4]]  # by hand: 6+4, 5+3+2
    lengths = np.random.default_rng(0).integers(1, 33, 5_000)
    rows = fit(lengths, 32, seed=1)
    assert sorted(number for row in rows for number in row) == list(range(5_000))
    assert all(sum(lengths[row]) <= 32 for row in rows) and lengths.sum() / (32 * len(rows)) > 0.95
    assert fit(lengths, 32, seed=1) == rows != fit(lengths, 32, seed=2)
    assert pack(examples, 32, "none", 0)[1] == [[number] for number in range(20)]


def test_plain_packing_cuts_one_stream_of_all_conversations(examples):
    pieces, rows = pack(examples, 16, "plain", seed=3)
    ids, labels = (np.concatenate(each) for each in zip(*map(pieces.get, range(len(pieces))), strict=True))
    sizes, learnt = pieces.counts()
    assert set(sizes[:-1]) == {16} and 1 <= sizes[-1] <= 16 and len(rows) == len(pieces)
    order = np.random.default_rng([3, 0]).permutation(20)
    stream, wanted = (np.concatenate(each) for each in zip(*map(examples.get, order), strict=True))
    wanted[::16] = IGNORED  # nothing stands before a piece's first token
    assert np.array_equal(ids, stream) and np.array_equal(labels, wanted)
    assert learnt.sum() == (wanted != IGNORED).sum()


def test_a_piece_of_a_stream_without_an_answer_is_left_out(tokenizer):
    pieces, made = pack(learn([conversation("w5 " * 40, "w6")] * 3, tokenizer), 16, "plain", seed=0)
    rows = Rows(pieces, made, global_batch=1, epochs=1, seed=0)
    assert 0 < len(rows.rows) < len(made) == len(
        rows.rows
    ) + rows.left_out and f"{rows.left_out} without" in rows.describe(16)
    assert all((row[0][1] != IGNORED).any() for row in (rows[index] for index in range(len(rows))))


def test_conversations_are_tokenised_once_by_one_process_or_several(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("finetune.examples.WORTH_WORKERS", 10)
    monkeypatch.setattr("finetune.examples.AT_A_TIME", 7)
    with DocumentWriter(tmp_path / "made.parquet", {"turns": pa.string()}) as out:
        for number in range(40):
            turns = conversation("w5 " * (number % 9 + 1), *(["w6"] if number % 8 else []))
            out.write({"text": "", "source": "made", "id": f"made:{number}", "turns": turns})
    made = [
        open_examples(tmp_path / f"by-{workers}", tmp_path / "made.parquet", tokenizer, "all", 12, workers, True)
        for workers in (1, 2)
    ]
    for examples, dropped in made:
        # of 8 and more words, and an answer: the numbers 7, 17, 25, 26, 34, 35
        assert dropped == {"has no answer": 5, "longer than sequence_length": 6} and len(examples) == 29
    assert all(np.array_equal(getattr(made[0][0], n), getattr(made[1][0], n)) for n in ("ids_N", "learnt_N", "ends"))
    (tmp_path / "made.parquet").unlink()
    again, _ = open_examples(tmp_path / "by-1", tmp_path / "made.parquet", tokenizer, "all", 12, 1, True)
    assert np.array_equal(again.ids_N, made[0][0].ids_N)


def test_every_epoch_has_every_row_once_in_an_order_of_its_own_and_ends_with_a_step(examples):
    rows = Rows(examples, [[number] for number in range(20)], global_batch=8, epochs=2, seed=0)
    assert (rows.steps_per_epoch, rows.steps, len(rows)) == (3, 6, 48)
    epochs = [[rows[index] for index in range(24 * epoch, 24 * (epoch + 1))] for epoch in range(2)]
    seen = [[row[0][0].tolist() for row in epoch[:20]] for epoch in epochs]
    assert sorted(seen[0]) == sorted(seen[1]) and seen[0] != seen[1]
    assert all(epoch[20:] == [[]] * 4 for epoch in epochs)
    for step in (0, 1, 3, 5, 6):
        learnt = [pair for index in range(8 * step) for pair in rows[index]]
        assert rows.counted(step) == (sum(len(i) for i, _ in learnt), sum((y != IGNORED).sum() for _, y in learnt))
    assert collate([rows[23], rows[22]])["input_ids"].shape == (2, 1)  # nothing, for a rank that has nothing


def gradients(model, losses):
    """The gradients of a sum of losses, one tensor under the other."""
    model.zero_grad()
    sum(losses).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def masked_loss(model, ids, labels):
    """By hand: minus the log-probability of every label, from the position before it, summed."""
    log_p_TV = log_softmax(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0], -1)
    return -sum(log_p_TV[t - 1, label] for t, label in enumerate(labels) if label != IGNORED)


@pytest.fixture(scope="module")
def model():
    return small_model(0).double()


def test_the_loss_on_answers_is_the_masked_cross_entropy_computed_by_hand(model, examples):
    batch = collate([[examples.get(number)] for number in range(6)])
    count = int((batch["labels"] != IGNORED).sum())
    expected = sum(masked_loss(model, *(each.tolist() for each in examples.get(number))) for number in range(6)) / count
    loss = model(**batch, use_cache=False).loss  # transformers computes it in float32
    assert torch.allclose(loss.double(), expected, rtol=1e-6)


def test_isolated_packing_gives_the_gradients_of_single_conversations_and_plain_packing_its_own(model, examples):
    _, rows = pack(examples, 40, "isolated", seed=0)
    assert len(rows) < 10
    batch = collate([[examples.get(number) for number in row] for row in rows])
    count = int((batch["labels"] != IGNORED).sum())
    alone = gradients(
        model, [masked_loss(model, *(e.tolist() for e in examples.get(n))) / count for n in range(len(examples))]
    )
    isolated = gradients(model, [model(**batch, use_cache=False).loss])
    assert torch.allclose(isolated, alone, atol=1e-5 * float(alone.abs().max()), rtol=0)

    pieces, rows = pack(examples, 40, "plain", seed=0)
    batch = collate([[pieces.get(row[0])] for row in rows])
    count = int((batch["labels"] != IGNORED).sum())
    stream = gradients(
        model, [masked_loss(model, *(e.tolist() for e in pieces.get(n))) / count for n in range(len(pieces))]
    )
    plain = gradients(model, [model(**batch, use_cache=False).loss])
    assert torch.allclose(plain, stream, atol=1e-5 * float(stream.abs().max()), rtol=0)
    assert (plain - alone).abs().max() > 0.01 * alone.abs().max()  # conversations have seen those before them


@pytest.mark.parametrize("tuned", [False, True])
def test_logits_are_computed_only_where_something_is_learnt_which_changes_no_gradient(examples, tuned):
    model = small_model(0)
    if tuned:
        model = add_adapters(model, ["lm_head", "q_proj"], 2, 4, 0.0, "")
        torch.nn.init.ones_(model.get_output_embeddings().lora_B["default"].weight)
    batch = collate([[examples.get(number)] for number in range(6)] + [[]])
    learnt = int((batch["labels"] != IGNORED).sum())
    expected = torch.cat([p.grad.flatten() for p in trained(model, batch)])
    project_learnt(model)
    assert model(**batch, use_cache=False).logits.shape == (learnt, model.config.vocab_size)
    found = torch.cat([p.grad.flatten() for p in trained(model, batch)])
    assert torch.allclose(found, expected, atol=1e-6 * float(expected.abs().max()), rtol=0)
    del batch["labels"]
    assert model(**batch).logits.shape[:2] == batch["input_ids"].shape


def trained(model, batch):
    """The parameters that are trained, after a backward pass."""
    model.zero_grad()
    model(**batch, use_cache=False).loss.backward()
    return [p for p in model.parameters() if p.requires_grad]


def test_a_model_that_does_not_isolate_is_refused_and_one_that_does_is_not(model, examples):
    rows = Rows(examples, pack(examples, 40, "isolated", 0)[1], 8, 1, 0)
    check_isolation(model, rows, "")
    blind = small_model(0)
    inner = blind.forward
    blind.forward = lambda input_ids, position_ids=None, **more: inner(
        input_ids=input_ids, **more
    )  # knows no positions
    with pytest.raises(BadInput, match="does not isolate conversations in this architecture; take none"):
        check_isolation(blind, rows, "recipe.yaml: finetune")


def test_examples_know_where_each_conversation_ends():
    made = Examples(np.arange(10, dtype="i4"), np.arange(10) != 7, np.array([4, 10]))
    assert [each.tolist() for each in made.get(1)] == [[4, 5, 6, 7, 8, 9], [IGNORED, 5, 6, IGNORED, 8, 9]]
    assert len(made) == 2 and [each.tolist() for each in made.counts()] == [[4, 6], [3, 4]]
