"""What only a GPU can show; skipped without one. pytest tests/test_gpu.py"""

import os

import pytest
import torch
from conftest import ROOT, small_model, succeed

from pretrain.objective import Objective

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
STEP = """
import sys
import torch
from conftest import small_model
from pretrain.engine_fsdp import FsdpEngine
from pretrain.guard import Guard
from pretrain.loader import Batch
from pretrain.ranks import Ranks
from pretrain.recipe import Settings

device = Ranks(hang_minutes=1).device
s = Settings(tokenizer="t", init_from="m", steps=9, micro_batch=2, precision="bfloat16", compile="compile" in sys.argv)
engine, guard = FsdpEngine(small_model(0), device, s), Guard(6.0, [], device)
tokens = torch.randint(3, 96, (4, 9))
batch = Batch(tokens[:, :-1].contiguous().pin_memory(), tokens[:, 1:].contiguous().pin_memory(), None)
first = [engine.step(batch, 1e-2, guard) for _ in range(3)][0]
torch.cuda.set_sync_debug_mode("error")  # from now on, waiting for the device is an error
last = engine.step(batch, 1e-2, guard)
torch.cuda.set_sync_debug_mode("default")
assert last[0] < first[0] and last[2] == 0 and engine.model.dtype == torch.float32
"""


@pytest.mark.parametrize("mode", ["eager", "compile"])
def test_a_step_in_bfloat16_learns_and_never_waits_for_the_device(mode):
    succeed("-c", STEP, mode, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests"})


@pytest.mark.parametrize("kind", ["chunked", "whole", "liger"])
def test_every_way_to_the_loss_gives_the_same_gradients(kind):
    if kind == "liger":
        pytest.importorskip("liger_kernel", reason="liger-kernel is not installed")
    tokens_BT, gradients = torch.randint(3, 96, (3, 33), device="cuda"), []
    for each in ("whole", kind):
        model = small_model(0, hidden_size=64).cuda()
        loss = Objective(model, each, 32).train()(tokens_BT[:, :-1], tokens_BT[:, 1:].contiguous())
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-4)
