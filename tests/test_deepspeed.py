"""The DeepSpeed engine: beside FSDP2, with a guard, killed, on other numbers of ranks. pytest tests/test_deepspeed.py"""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from conftest import ROOT, WORDS, kill_when, small_model, succeed, write_recipe

from benchmarks.engines import compare
from pretrain.guard import WINDOW, Guard
from pretrain.loader import Batch
from pretrain.models import assemble_model
from pretrain.recipe import Settings
from snakmodel.records import read_json, read_jsonl, write_json
from snakmodel.shards import ShardWriter

TRAIN = "pretrain/train.py"


def zero(stage):
    return str(ROOT / f"configs/deepspeed/zero{stage}.json")


@pytest.mark.parametrize("ranks", [1, 2])
def test_every_zero_stage_learns_what_fsdp_learns(ranks):
    # epsilon above float32's rounding of gradients, which AdamW would otherwise make as large as the rate
    found = compare(ranks, steps=20, width=32, epsilon=1e-6)
    assert list(found) == ["ZeRO-1", "ZeRO-2", "ZeRO-3"]
    for losses, weights in found.values():
        assert losses <= 1e-5 and weights <= 1e-5


def train_with_and_without_refused_steps(rank, folder):
    """One of two ranks: five steps, of which the guard must refuse two, and the three others by themselves."""
    from pretrain.engine_deepspeed import DeepSpeedEngine

    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", 2), rank=rank, world_size=2)
    usual = [(4.5 + 0.1 * (-1) ** step, 1.0 + 0.1 * (-1) ** step) for step in range(WINDOW)]
    for stage in (1, 2, 3):
        for precision in ("float32", "bfloat16"):
            s = Settings("", steps=5, sequence_length=16, global_batch=8, micro_batch=2, precision=precision)
            s.engine, s.deepspeed = "deepspeed", zero(stage)
            found = []
            for factors in ([1, 1, torch.nan, 100, 1], [1, 1, 1]):
                engine = DeepSpeedEngine(small_model(0), torch.device("cpu"), s)
                guard, seen = Guard(6.0, usual, torch.device("cpu")), []
                generator = torch.Generator().manual_seed(rank)
                for factor in factors:
                    planted = factor if rank == 0 else 1  # one rank's fault is everybody's
                    hook = engine.engine.module.register_forward_hook(lambda _m, _i, loss, by=planted: loss * by)
                    if factor == 1:
                        tokens_BT = torch.randint(WORDS, (4, 17), generator=generator)
                    batch = Batch(tokens_BT[:, :-1].contiguous(), tokens_BT[:, 1:].contiguous(), None)
                    seen.append([str(float(number)) for number in engine.step(batch, 1e-2, guard)])
                    hook.remove()
                found.append((seen, engine.whole_weights()))
            (refused, weights), (plain, expected) = found
            if rank == 0:
                same = all(torch.equal(weights[name], whole) for name, whole in expected.items())
                facts = {"refused": [row[2] for row in refused], "same": same, "losses": [refused[-1], plain[-1]]}
                write_json(folder / f"{stage}-{precision}.json", facts)
    dist.barrier()
    dist.destroy_process_group()


def test_a_refused_step_leaves_weights_and_moments_untouched_in_every_stage_and_precision(tmp_path):
    processes.spawn(train_with_and_without_refused_steps, (tmp_path,), nprocs=2)
    results = [read_json(path) for path in tmp_path.glob("*.json")]
    assert len(results) == 6
    for facts in results:
        assert facts["refused"] == ["0.0", "0.0", "1.0", "1.0", "0.0"]
        assert facts["same"] and facts["losses"][0] == facts["losses"][1]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tokenizer):
    """A recipe whose shards are there."""
    folder, numbers = tmp_path_factory.mktemp("deepspeed"), np.random.default_rng(0)
    for name, documents in (("train", 200), ("validation", 10)):
        with ShardWriter(folder / f"shards/made/{name}", WORDS) as shard:
            for _ in range(documents):
                shard.write([1, *numbers.integers(3, WORDS, 20).tolist(), 2])
            shard.finish()
    write_json(folder / "shards/run.json", {})
    shape = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 2}
    pretrain = {"tokenizer": tokenizer.name_or_path, "architecture": shape, "sequence_length": 16, "global_batch": 8}
    pretrain |= {"micro_batch": 2, "steps": 12, "warmup_steps": 2, "learning_rate": 3e-3, "schedule": "constant"}
    pretrain |= {"save_every": 4, "validate_every": 0, "engine": "deepspeed", "deepspeed": zero(3)}
    return write_recipe(folder / "deepspeed.yaml", pretrain=pretrain)


def words(recipe, run, *more):
    """What starts a run of the recipe in a folder of its own, over two ranks."""
    if not run.exists():
        run.mkdir()
        (run / "shards").symlink_to(recipe.parent / "shards")
    return "runs/pretrain.sh", recipe, 2, f"run_dir={run}", *more


@pytest.fixture(scope="module")
def whole(recipe):
    """An uninterrupted run of ZeRO-3 over two ranks."""
    said = succeed(*words(recipe, recipe.parent / "whole"), program="bash")
    assert "ZeRO-3 over 2 rank(s) on cpu" in said and "master weights torch.float32" in said
    assert len(said.splitlines()) < 10  # DeepSpeed's own talk is not for the user
    return recipe.parent / "whole"


def losses(run):
    return [row["loss"] for row in read_jsonl(run / "checkpoints/log.jsonl")]


def final(run):
    return assemble_model(run / "checkpoints/step-00012", run / "checkpoints/config").state_dict()


def kill_after(step, *command):
    """Kills a run (-9), launcher and ranks, as soon as a step is saved."""
    kill_when(step.exists, *command, program="bash")


def test_a_killed_run_resumes_bit_for_bit(recipe, whole, tmp_path):
    command = words(recipe, tmp_path / "run")
    kill_after(tmp_path / "run/checkpoints/step-00008.tmp/optimizer", *command)
    assert "from step 4 of 12" in succeed(*command, program="bash")
    assert losses(tmp_path / "run") == losses(whole)
    found, expected = final(tmp_path / "run"), final(whole)
    assert all(torch.equal(found[name], weights) for name, weights in expected.items())


def test_a_run_goes_on_over_another_number_of_ranks_but_not_by_another_zero_stage(recipe, whole, tmp_path):
    launcher, *command = words(recipe, tmp_path / "run", f"deepspeed={zero(2)}")
    kill_after(tmp_path / "run/checkpoints/step-00008/optimizer", launcher, *command)
    one = [TRAIN, "--config", recipe, *command[2:]]
    said = succeed(*one)
    assert "step-00008: 2 ranks wrote it, 1 read it: converting" in said and "from step 8 of 12" in said
    assert losses(tmp_path / "run") == pytest.approx(losses(whole), rel=1e-5)
    assert not list((tmp_path / "run/checkpoints").glob("*.tmp"))
    difference = max(float((final(tmp_path / "run")[k] - w).norm() / w.norm()) for k, w in final(whole).items())
    assert difference < 1e-4
