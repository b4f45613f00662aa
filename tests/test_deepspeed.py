"""The DeepSpeed engine: beside FSDP2, guarded, killed, over other numbers of ranks. pytest tests/test_deepspeed.py"""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from conftest import ROOT, WORDS, kill_when, refused, small_model, succeed, write_recipe

from benchmarks.engines import compare
from pretrain.guard import WINDOW, Guard
from pretrain.loader import Batch
from pretrain.models import assemble_model
from pretrain.recipe import Settings
from pretrain.zero_config import zero_config
from snakmodel.config import BadInput
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
            (rows, weights), (plain, expected) = found
            if rank == 0:
                same = all(torch.equal(weights[name], whole) for name, whole in expected.items())
                facts = {"refused": [row[2] for row in rows], "same": same, "last": [rows[-1], plain[-1]]}
                write_json(folder / f"{stage}-{precision}.json", facts)
    dist.barrier()
    dist.destroy_process_group()


def test_a_refused_step_leaves_weights_and_moments_untouched_in_every_stage_and_precision(tmp_path):
    processes.spawn(train_with_and_without_refused_steps, (tmp_path,), nprocs=2)
    results = [read_json(path) for path in tmp_path.glob("*.json")]
    assert len(results) == 6
    for facts in results:
        assert facts["refused"] == ["0.0", "0.0", "1.0", "1.0", "0.0"]
        assert facts["same"] and facts["last"][0] == facts["last"][1]


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
    return [row["loss"] for row in read_jsonl(run / "checkpoints/log.jsonl") if row["step"]]


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


def test_a_run_goes_on_over_another_number_of_ranks(recipe, whole, tmp_path):
    for stage in (2, 3):
        run = tmp_path / f"run-{stage}"
        launcher, _, _, *changed = words(recipe, run, f"deepspeed={zero(stage)}")
        kill_after(run / "checkpoints/step-00008/optimizer", launcher, recipe, 2, *changed)
        one = [TRAIN, "--config", recipe, *changed]
        said = succeed(*one)
        assert "step-00008: 2 ranks wrote it, 1 read it: converting" in said and "from step 8 of 12" in said
        assert losses(run) == pytest.approx(losses(whole), rel=1e-5)
        found, expected = final(run), final(whole)
        # DeepSpeed's converter gives norms the matrices' weight decay: a difference of 1e-3 here, unless put right
        assert all((found[name] - there).norm() <= 1e-4 * there.norm() for name, there in expected.items())
        assert not list(run.glob("checkpoints/*.tmp"))
    assert "zero3.json', now '" in refused(*one, f"deepspeed={zero(1)}", "--check")


@pytest.fixture
def settings():
    return Settings("", steps=5, global_batch=8, micro_batch=2, engine="deepspeed")


def test_what_the_json_leaves_open_is_the_recipes(settings, tmp_path):
    settings.deepspeed = zero(2)
    config = zero_config(settings, ranks=2)
    assert (config["train_batch_size"], config["gradient_accumulation_steps"]) == (8, 2)
    assert (config["gradient_clipping"], config["bf16"]) == (1.0, {"enabled": False})
    settings.deepspeed = str(tmp_path / "mine.json")
    adam = {"type": "AdamW", "params": {"lr": "auto", "fused": True}}
    write_json(
        tmp_path / "mine.json", {"zero_optimization": {"stage": 3, "reduce_bucket_size": "auto"}, "optimizer": adam}
    )
    config = zero_config(settings, ranks=1)
    assert config["zero_optimization"] == {"stage": 3}
    assert config["optimizer"]["params"] == {
        "lr": 1.5e-5, "fused": True, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"train_micro_batch_size_per_gpu": 4}, "train_micro_batch_size_per_gpu is 4, the recipe has micro_batch 2"),
        ({"gradient_clipping": 0.5}, "gradient_clipping is 0.5, the recipe has gradient_clip 1.0"),
        ({"bf16": {"enabled": True}}, "bf16.enabled is True, the recipe has precision: bfloat16 False"),
        ({"bf16": True}, "bf16 should hold settings, got True"),
        (
            {"optimizer": {"type": "Adam", "params": {"lr": 1}}},
            "optimizer.params.lr is 1, the recipe has learning_rate",
        ),
        ({"scheduler": {"type": "WarmupLR"}}, "scheduler: the learning rate follows the recipe's"),
        ({"zero_optimization": {"stage": 0}}, "zero_optimization.stage should be 1, 2 or 3, got 0"),
    ],
)
def test_a_json_that_contradicts_the_recipe_is_one_line_with_both_values(given, line, settings, tmp_path):
    settings.deepspeed = str(tmp_path / "mine.json")
    write_json(tmp_path / "mine.json", {"zero_optimization": {"stage": 1}, **given})
    with pytest.raises(BadInput) as refusal:
        zero_config(settings, ranks=1)
    assert line in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_json_that_is_missing_or_broken_is_one_line_before_anything_starts(recipe, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    for name, line in (("none.json", "none.json: No such file or directory"), ("broken.json", "broken.json: not JSON")):
        assert line in refused(TRAIN, "--config", recipe, f"deepspeed={tmp_path / name}", "--check")
