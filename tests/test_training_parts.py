"""What a training step is made of: schedule, mixture, windows, loss, guard. pytest tests/test_training_parts.py"""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import small_model
from transformers import GPT2Config, GPT2LMHeadModel

from pretrain.guard import WINDOW, Guard
from pretrain.mixture import BLOCK, describe, make_pools, step_windows
from pretrain.objective import IGNORED, Objective, prepare_layers, summed_loss
from pretrain.recipe import Replay, Settings, check, total_steps
from pretrain.schedule import learning_rate
from snakmodel.settings import BadInput
from snakmodel.shards import ShardReader, ShardWriter, TokenStream

PLAIN = Settings(tokenizer="t", init_from="m", steps=12_500)


def refusal(**changes):
    """What is said of settings that contradict each other."""
    with pytest.raises(BadInput) as caught:
        check(replace(PLAIN, **changes), "r.yaml")
    return str(caught.value)


def test_the_learning_rate_warms_up_linearly_and_falls_by_a_half_cosine():
    assert learning_rate(1, PLAIN) == pytest.approx(1.5e-5 / 1_250)
    assert learning_rate(625, PLAIN) == pytest.approx(0.75e-5) and learning_rate(1_250, PLAIN) == pytest.approx(1.5e-5)
    assert learning_rate((1_250 + 12_500) // 2, PLAIN) == pytest.approx((1.5e-5 + 5e-8) / 2)
    assert learning_rate(12_500, PLAIN) == pytest.approx(5e-8)


def test_wsd_stays_at_its_peak_and_anneals_at_the_end():
    s = replace(PLAIN, schedule="wsd", anneal_steps=400, steps=2_000, warmup_steps=100, minimum_learning_rate=0.0)
    assert learning_rate(50, s) == pytest.approx(0.75e-5)
    assert learning_rate(100, s) == learning_rate(1_600, s) == 1.5e-5
    assert learning_rate(1_700, s) == pytest.approx(1.5e-5 * (1 - math.sqrt(0.25))) and learning_rate(2_000, s) == 0
    assert learning_rate(2_000, replace(s, schedule="constant", anneal_steps=0)) == 1.5e-5


def test_steps_follow_from_a_token_budget():
    assert total_steps(replace(PLAIN, steps=None, tokens=26_214_400_000)) == 12_500
    assert total_steps(replace(PLAIN, steps=None, tokens=26_214_399_999)) == 12_499


def test_settings_that_contradict_each_other_are_refused_by_name():
    assert "exactly one of init_from, branch_from and architecture, got init_from and branch_from" in refusal(
        branch_from="out/x@5"
    )
    assert "exactly one of steps and tokens" in refusal(tokens=10**9)
    assert "tokens 1,000 are less than one step's" in refusal(steps=None, tokens=1_000)
    assert "anneal_steps 0 with schedule wsd" in refusal(schedule="wsd")
    assert "warmup_steps 1250 and anneal_steps 0 are more than all 1000 steps" in refusal(steps=1_000)
    assert "sum to 1 at most, got 1.2" in refusal(shares={"dawiki": 0.9}, replay=Replay("s", 0.3))
    assert "minimum_learning_rate 0.1 is above learning_rate 1.5e-05" in refusal(minimum_learning_rate=0.1)
    assert "engine deepspeed, deepspeed None" in refusal(engine="deepspeed")


def write_shards(folder, **documents):
    """Shards of a source a name, each of documents of these lengths; the tokens count on from 3."""
    for source, lengths in documents.items():
        with ShardWriter(folder / source / "train", 96) as shard:
            for length in lengths:
                shard.write([1, *(3 + i % 90 for i in range(length - 2)), 2])
            shard.finish()
    return [ShardReader(folder / source / "train") for source in documents]


def pools_of(tmp_path, **changes):
    shards = write_shards(tmp_path, small=[41], large=[121], other=[81])
    s = replace(PLAIN, sequence_length=4, global_batch=10, warmup_steps=0, **{"steps": 3, **changes})
    return make_pools(s, shards, write_shards(tmp_path / "parent", english=[201]), "r.yaml"), s


def test_without_shares_every_epoch_visits_every_window_once_in_an_order_of_its_own(tmp_path):
    pools, s = pools_of(tmp_path)
    assert len(pools) == 1 and len(pools[0].stream) == 60  # 10 + 30 + 20
    seen = [step_windows(step, 12, pools, seed=1) for step in range(1, 11)]
    first, second = sum(seen[:5], []), sum(seen[5:], [])
    assert sorted(first) == sorted(second) == [(0, window) for window in range(60)] and first != second
    assert step_windows(7, 12, pools, seed=1) == second[12:24]  # by its number alone: nothing to fast-forward
    assert describe(pools, s) == "all sources 100.0% of the tokens, 0.50 epochs"


def test_a_source_and_replay_get_their_shares_and_the_others_the_rest_each_window_before_any_again(tmp_path):
    pools, s = pools_of(tmp_path, shares={"small": 0.25}, replay=Replay("unused", 0.1))
    assert [(pool.name, pool.share) for pool in pools] == [("small", 0.25), ("the others", 0.65), ("replay", 0.1)]
    drawn = sum((step_windows(step, 100, pools, seed=1) for step in range(1, 2 * BLOCK // 100 + 1)), [])
    assert [sum(pool == number for pool, _ in drawn) for number in range(3)] == [5_000, 13_000, 2_000]
    assert drawn[:BLOCK] != drawn[BLOCK:]
    for number, pool in enumerate(pools):
        windows = [window for chosen, window in drawn if chosen == number]
        assert sorted(windows[: len(pool.stream)]) == list(range(len(pool.stream)))


def test_shares_that_the_text_cannot_give_are_refused_with_one_that_would_do(tmp_path):
    with pytest.raises(BadInput, match=r"small would be seen 2.40 times, max_epochs is 2: a share of 0.667"):
        pools_of(tmp_path, shares={"small": 0.8}, max_epochs=2.0)
    with pytest.raises(BadInput, match=r"pretrain.shares.smal is no source; did you mean small\?"):
        pools_of(tmp_path, shares={"smal": 0.8})
    with pytest.raises(BadInput, match="leave nothing for other; give less, or leave the source out"):
        pools_of(tmp_path, shares={"small": 0.5, "large": 0.5})
    with pytest.raises(BadInput, match="the largest source of all sources has 121 tokens, no sequence of 200 and one"):
        make_pools(replace(PLAIN, sequence_length=200), pools_of(tmp_path)[0][0].stream.shards, [], "r.yaml")


def test_windows_hold_every_token_with_the_next_one_and_none_reaches_over_two_sources():
    sources = [SimpleNamespace(tokens=np.arange(*ends, dtype=np.uint16)) for ends in ((0, 10), (0, 3), (50, 58))]
    stream = TokenStream(sources, 3)
    assert len(stream) == 5  # the second source holds no window
    assert stream.cut([0, 2, 3, 4]).tolist() == [[0, 1, 2, 3], [6, 7, 8, 9], [50, 51, 52, 53], [53, 54, 55, 56]]


def test_positions_restart_with_every_document(tmp_path):
    stream = TokenStream(write_shards(tmp_path, a=[20], b=[5, 3, 9]), 6)
    assert stream.positions(3).tolist() == [0, 1, 2, 3, 4, 0]  # the first window of source b
    assert stream.positions(4).tolist() == [0, 1, 0, 1, 2, 3]  # it begins within the second document


def loss_and_gradients(model, tokens_BT, kind="chunked", chunk=10_000, positions_BT=None):
    model.zero_grad()
    objective = Objective(model, kind, chunk).train()
    loss = objective(tokens_BT[:, :-1], tokens_BT[:, 1:].contiguous(), positions_BT)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("dtype, close", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_the_summed_loss_and_its_gradient_are_those_of_torchs_cross_entropy(dtype, close):
    generator = torch.Generator().manual_seed(0)
    logits_NV = (30 * torch.randn(40, 50, generator=generator)).to(dtype).requires_grad_()
    targets_N = torch.randint(50, (40,), generator=generator)
    targets_N[::7] = IGNORED
    expected = torch.nn.functional.cross_entropy(logits_NV.float(), targets_N, ignore_index=IGNORED, reduction="sum")
    (expected_NV,) = torch.autograd.grad(0.5 * expected, logits_NV)
    loss = summed_loss(logits_NV.clone(), targets_N)
    (gradient_NV,) = torch.autograd.grad(0.5 * loss, logits_NV)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(gradient_NV, expected_NV, rtol=close, atol=1e-6)
    assert not gradient_NV[::7].any() and gradient_NV.grad_fn is None


def test_the_loss_in_chunks_is_the_models_own_and_so_are_its_gradients():
    tokens_BT, model = torch.randint(3, 96, (3, 21)), small_model(0)
    loss, gradients = loss_and_gradients(model, tokens_BT, "whole")
    for chunk in (7, 64, 10_000):
        found, its = loss_and_gradients(model, tokens_BT, chunk=chunk)
        assert found == pytest.approx(loss, rel=1e-6) and torch.allclose(its, gradients, rtol=1e-4, atol=1e-6)
    targets_BT = tokens_BT[:, 1:].clone()
    targets_BT[1:] = IGNORED
    alone = Objective(model, "chunked", 7)(tokens_BT[:, :-1], targets_BT).item()
    assert alone == pytest.approx(Objective(model, "whole", 7).eval()(tokens_BT[:1, :-1], targets_BT[:1]).item())


def gpt_with_dropout():
    torch.manual_seed(0)
    sizes = {"vocab_size": 96, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3))


@pytest.mark.parametrize("mode", ["selective", "full"])
@pytest.mark.parametrize("make", [lambda: small_model(0), gpt_with_dropout])
def test_checkpointed_layers_give_the_same_loss_and_gradients_dropout_too(mode, make):
    tokens_BT, found = torch.randint(3, 96, (2, 21)), []
    for checkpointing in ("none", mode):
        model = make()
        layers = prepare_layers(model, replace(PLAIN, activation_checkpointing=checkpointing))
        assert len(layers) == 2 and all(("Checkpoint" in type(x).__name__) == (checkpointing != "none") for x in layers)
        torch.manual_seed(1)
        found.append(loss_and_gradients(model, tokens_BT))
    assert found[0][0] == found[1][0] and torch.allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-7)


def test_isolated_documents_are_read_as_if_each_stood_alone():
    model, one, other = small_model(0), torch.randint(3, 96, (1, 9)), torch.randint(3, 96, (1, 6))
    packed_BT = torch.cat([one, other], dim=1)
    positions_BT = torch.tensor([[*range(9), *range(6)]])
    objective = Objective(model, "chunked", 64).eval()
    logits_BTV = objective(packed_BT, None, positions_BT)
    alone_BTV = torch.cat([objective(one, None), objective(other, None)], dim=1)
    assert torch.allclose(logits_BTV, alone_BTV, atol=1e-6)
    assert not torch.allclose(logits_BTV, objective(packed_BT, None), atol=1e-2)


def test_the_guard_refuses_what_is_not_finite_and_what_is_far_above_the_usual():
    usual = [(2.0 + 0.01 * (i % 3), 1.0) for i in range(WINDOW)]
    guard = Guard(6.0, usual, torch.device("cpu"))

    def refused(loss, norm):
        return bool(guard.refuses(torch.tensor(loss), torch.tensor(norm)))

    assert refused(math.nan, 1.0) and refused(2.0, math.inf) and refused(2.2, 1.0) and refused(2.0, 1.5)
    assert not refused(2.01, 1.0) and not refused(0.5, 1.0)  # what falls is welcome
    young = Guard(6.0, usual[:5], torch.device("cpu"))
    assert not young.refuses(torch.tensor(50.0), torch.tensor(9.0)) and young.refuses(
        torch.tensor(math.nan), torch.tensor(1.0)
    )


def test_a_resumed_guard_knows_what_the_uninterrupted_one_knows():
    rows = [(2.0 + 0.1 * math.sin(i), 1.0 + 0.01 * (i % 7)) for i in range(300)]
    whole = Guard(3.0, [], torch.device("cpu"))
    accepted = [row for row in rows if not whole.refuses(*map(torch.tensor, row))]
    assert 250 < len(accepted) <= 300
    resumed = Guard(3.0, accepted, torch.device("cpu"))
    assert torch.equal(resumed.recent_2W, whole.recent_2W)
