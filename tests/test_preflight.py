"""The plan before a GPU is rented: pytest tests/test_preflight.py"""

import json
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT, refused, run_main, succeed, write_recipe

from pretrain import preflight
from pretrain.costs import flops_per_token
from pretrain.machines import device_facts, read_machine
from pretrain.memory import GIB, read_zero
from pretrain.plan_table import dry_run_table, plan_table
from snakmodel.config import BadInput, read_recipe
from snakmodel.records import read_json

LLAMA_2 = {"model_type": "llama", "max_position_embeddings": 4_096}  # its other values are LlamaConfig's defaults
PAPER = {"architecture": LLAMA_2, "carbon_intensity": 0.122, "published_hours": 8_928}
TINY = {
    "model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 88, "num_hidden_layers": 2,
    "num_attention_heads": 4,
}  # fmt: skip


def plan(folder, *words, preflight_section=PAPER, **pretrain):
    """The plan of SnakModel-7B with some settings changed, and what was printed."""
    settings = {"preflight": preflight_section, "pretrain": {"micro_batch": 1, **pretrain}}
    recipe = {"extends": str(ROOT / "configs/snakmodel-7b.yaml"), **settings}
    said = run_main(preflight, write_recipe(folder / "recipe.yaml", **recipe), *words)
    return read_json(folder / "run/preflight/plan.json"), said


def gib(count):
    return count / GIB


def test_snakmodel_fits_the_papers_four_gpus_with_full_checkpointing_and_not_with_selective(tmp_path):
    got, said = plan(tmp_path)
    assert got["model"]["parameters"] == 6_738_415_616
    states = [got["memory"]["parts"][name] for name in ("weights", "gradients", "AdamW's moments")]
    assert sum(states) == 16 * 6_738_415_616 // 4  # 25.1 GiB
    assert got["memory"]["fits"] and gib(got["memory"]["needed"]) == pytest.approx(31.5, abs=0.5)
    fitting = {(each["activation_checkpointing"], each["micro_batch"]): each["fits"] for each in got["other settings"]}
    assert fitting["full", 2] and not fitting["selective", 1] and not fitting["none", 1]
    assert "FITS" in said and "NOT FIT" not in said


def test_hours_follow_from_tokens_and_speed_and_the_papers_own_stand_beside_them(tmp_path):
    got, _ = plan(tmp_path)
    assert got["run"]["tokens"] == 12_500 * 512 * 4_096
    rate, time = got["speed"]["tokens per second and device"], got["time"]
    assert time["device hours"] == pytest.approx(12_500 * 512 * 4_096 / rate / 3_600)
    assert time["hours"] == pytest.approx(time["device hours"] / 4)
    assert time["kWh"] == pytest.approx(time["device hours"] * 0.25)
    assert rate < 312e12 * 0.501 / got["model"]["operations per token"]  # one sequence at a time waits for PCIe
    assert rate == got["speed"]["as fast as the links"]
    assert got["published"]["tokens per second and device"] == pytest.approx(816, abs=1)  # MFU 12.3 %
    assert got["published"]["kg CO2eq"] == pytest.approx(272.3, abs=0.1)  # 8,928 h x 0.25 kW x 0.122


def test_a_larger_micro_batch_asks_less_of_the_links_until_computing_is_what_takes_the_time(tmp_path):
    rates = [plan(tmp_path, micro_batch=size)[0]["speed"] for size in (1, 2)]
    assert rates[1]["as fast as the links"] == pytest.approx(2 * rates[0]["as fast as the links"])
    assert rates[1]["tokens per second and device"] == rates[1]["at that share"]


def test_a_dry_run_that_fails_says_why_in_one_line_and_leaves_the_plan(tmp_path):
    pretrain = {"architecture": TINY, "tokenizer": "nowhere", "sequence_length": 32, "global_batch": 8, "steps": 100}
    pretrain |= {"warmup_steps": 0, "cross_entropy": "liger"}
    recipe = write_recipe(tmp_path / "recipe.yaml", pretrain=pretrain, preflight={"machine": "1xCPU"})
    assert "the dry run failed, cross_entropy: liger needs a GPU" in refused(
        "pretrain/preflight.py", "--config", recipe, "dry_run=true"
    )
    assert read_json(tmp_path / "run/preflight/plan.json")["dry run"] is None


def test_what_does_not_fit_names_the_cheapest_change_that_does(tmp_path):
    got, said = plan(tmp_path, activation_checkpointing="none", micro_batch=2, cross_entropy="whole")
    change = got["memory"]["change"]
    assert change["settings"] == "cross_entropy=chunked, activation_checkpointing=full"
    assert "DOES NOT FIT" in said and change["settings"] in said
    words = [f"pretrain.{word}" for word in change["settings"].split(", ")]
    again, _ = plan(tmp_path, *words, activation_checkpointing="none", micro_batch=2, cross_entropy="whole")
    assert again["memory"]["fits"] and again["memory"]["needed"] == change["needed"]


@pytest.mark.parametrize(
    "stage, change", [(1, "zero_optimization.stage=3"), (2, "zero_optimization.stage=3"), (3, None)]
)
def test_zero_1_and_2_do_not_fit_where_zero_3_does(tmp_path, stage, change):
    (tmp_path / "zero.json").write_text(json.dumps({"bf16": {"enabled": True}, "zero_optimization": {"stage": stage}}))
    memory = plan(tmp_path, engine="deepspeed", deepspeed=str(tmp_path / "zero.json"))[0]["memory"]
    assert memory["fits"] == (change is None)
    assert change is None or change in memory["change"]["settings"]


def test_offloaded_states_of_deepspeed_are_in_the_hosts_memory(tmp_path):
    zero = {"stage": 3, "offload_optimizer": {"device": "cpu"}, "sub_group_size": "auto"}
    (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": zero}))
    got, _ = plan(tmp_path, engine="deepspeed", deepspeed=str(tmp_path / "zero.json"), asynchronous_saving=False)
    assert got["memory"]["parts"]["AdamW's moments"] == 0
    assert got["host"]["while it saves"] == 12 * 6_738_415_616
    assert read_zero({"zero_optimization": zero}, 2).group == 1_000_000_000  # "auto" is DeepSpeed's default


def test_of_a_mixture_of_experts_a_token_uses_two_of_eight(tmp_path):
    got, _ = plan(tmp_path, preflight_section={"architecture": {"model_type": "mixtral"}, "machine": "8xH200"})
    assert got["model"]["parameters"] == 46_702_792_704
    assert got["model"]["used by a token"] == 46_702_792_704 - 32 * 6 * 3 * 4_096 * 14_336  # 12.9 B
    attention = 12 * 32 * 4_096 * 4_096
    assert got["model"]["operations per token"] == 6 * got["model"]["used by a token"] + attention


def test_shared_keys_and_values_take_fewer_parameters_and_no_fewer_operations_of_attention(tmp_path):
    llama_3 = {**LLAMA_2, "vocab_size": 128_256, "intermediate_size": 14_336, "num_key_value_heads": 8}
    got, _ = plan(tmp_path, preflight_section={"architecture": llama_3})
    assert got["model"]["parameters"] == 8_030_261_248
    assert got["model"]["operations per token"] == 6 * 8_030_261_248 + 12 * 32 * 4_096 * 4_096


def test_operations_per_token_are_6_n_and_attention_over_the_whole_window():
    gpt_2 = SimpleNamespace(num_hidden_layers=12, hidden_size=768, num_attention_heads=12)
    assert flops_per_token(gpt_2, 124_439_808, 1_024) == 6 * 124_439_808 + 12 * 12 * 768 * 1_024
    wide = SimpleNamespace(num_hidden_layers=1, hidden_size=10, num_attention_heads=2, head_dim=8)
    assert flops_per_token(wide, 0, 100) == 12 * 16 * 100


def test_frozen_parameters_have_neither_gradients_nor_moments(tmp_path):
    got, _ = plan(tmp_path, frozen=["model.layers.*"])
    assert got["model"]["trained"] == 2 * 32_000 * 4_096 + 4_096  # embedding, head, last norm
    assert got["memory"]["parts"]["gradients"] == 4 * got["model"]["trained"] // 4
    assert got["memory"]["parts"]["weights"] == 6_738_415_616


def test_a_part_of_the_ranks_that_holds_a_whole_copy_needs_the_memory_of_that_part(tmp_path):
    section = {**PAPER, "machine": "8xA100-80GB", "nodes": 2}
    parts = plan(tmp_path, preflight_section=section, shard_ranks=8)[0]["memory"]["parts"]
    assert parts["weights"] == 4 * 6_738_415_616 // 8
    assert plan(tmp_path, preflight_section=section)[0]["memory"]["parts"]["weights"] == 4 * 6_738_415_616 // 16


def test_a_model_that_no_setting_makes_fit_is_told_how_many_machines_it_takes(tmp_path):
    seventy = {**LLAMA_2, "hidden_size": 8_192, "intermediate_size": 28_672, "num_hidden_layers": 80}
    seventy |= {"num_attention_heads": 64, "num_key_value_heads": 8}
    section = {"architecture": seventy, "machine": "8xA100-80GB"}
    memory = plan(tmp_path, preflight_section=section)[0]["memory"]
    assert memory["change"]["settings"] == "nodes=4" and memory["change"]["ranks"] == 32


def test_whatever_is_printed_stands_in_the_json(tmp_path):
    got, said = plan(tmp_path)
    assert plan_table(got) + "\n" == said  # the table is made from the JSON alone, by changing units


def test_disk_of_a_series_counts_checkpoints_and_exports(tmp_path):
    disk, n = plan(tmp_path)[0]["disk"], 6_738_415_616
    assert disk["weights of all checkpoints"] == 25 * 4 * n and disk["optimiser of the resumable ones"] == 2 * 8 * n
    assert disk["exports"] == 25 * 2 * n and disk["freed by exporting"] == 23 * 4 * n
    assert disk["at most"] == (100 + 16 + 12) * n and disk["when all is exported"] == (8 + 16 + 50) * n


def test_machines_and_parents_that_are_not_known_are_one_line_with_the_cure(tmp_path):
    pretrain = read_recipe(ROOT / "configs/snakmodel-7b.yaml")[0]["pretrain"]
    path = write_recipe(tmp_path / "recipe.yaml", pretrain=pretrain, preflight={})  # it names a parent that is not here
    command = ["pretrain/preflight.py", "--config", path]
    assert "did you mean 4xA100-40GB" in refused(*command, "machine=4xA100-40")
    assert "4xA100-40GB has no network_gb_s" in refused(*command, "nodes=2")
    assert "no multiple of micro_batch 3 x 4 ranks" in refused(*command, "pretrain.micro_batch=3")
    assert "preflight: {architecture: {model_type: llama" in refused(*command, "machine=1xH200")


def test_a_driver_name_finds_the_device_whose_name_fits_longest():
    facts = [device_facts(name) for name in ("NVIDIA A100-SXM4-40GB", "NVIDIA H200", "NVIDIA A100 80GB PCIe")]
    assert [(f["name"], f["tflops"]) for f in facts] == [
        ("A100-SXM-40GB", 312), ("H200-SXM", 989), ("A100-PCIe-80GB", 312),
    ]  # fmt: skip
    assert device_facts("GeForce 256") is None


def test_every_machine_of_the_catalogue_can_be_read():
    for name in yaml.safe_load((ROOT / "configs/machines.yaml").read_text())["machines"]:
        machine = read_machine(name, 1)
        assert machine.ranks == machine.devices and (machine.device.mfu is None) == (machine.device.mfu_source is None)
    with pytest.raises(BadInput, match="no network"):
        read_machine("1xH200", 2)


def test_the_engines_tensors_are_as_many_bytes_as_preflight_says():
    said = succeed(
        "-m", "torch.distributed.run", "--nproc-per-node", "2", "benchmarks/preflight_memory.py", "states"
    )  # fmt: skip
    rows = [line for line in said.splitlines() if line.startswith("toy on 2 rank(s)")]
    assert len(rows) == 3 and all(line.split()[-1] == "1.0000" for line in rows), said


def test_a_dry_run_trains_the_recipe_on_this_machine_and_corrects_the_plan(tmp_path):
    pretrain = {"architecture": TINY, "tokenizer": "nowhere", "sequence_length": 32, "global_batch": 8}
    pretrain |= {"micro_batch": 2, "steps": 1_000, "warmup_steps": 10, "activation_checkpointing": "full"}
    recipe = write_recipe(tmp_path / "recipe.yaml", pretrain=pretrain, preflight={"machine": "2xCPU"})
    said = succeed("pretrain/preflight.py", "--config", recipe, "dry_run=true")
    got = read_json(tmp_path / "run/preflight/plan.json")
    dry = got["dry run"]
    assert said.startswith(plan_table(got)) and said.endswith(f"{dry_run_table(got)}\n")
    rate = dry["compared"]["tokens per second and device"]["measured"]
    assert dry["corrected"]["device hours"] == pytest.approx(1_000 * 8 * 32 / rate / 3_600)
    disk = dry["compared"]["a checkpoint, GB"]
    assert disk["predicted"] == 12 * got["model"]["parameters"] / 1e9
    assert disk["predicted"] < disk["measured"] < disk["predicted"] + 1e-3  # names, shapes and the probe come on top
    assert sorted(path.name for path in (tmp_path / "run").rglob("*") if path.is_dir()) == ["preflight"]  # no remains
