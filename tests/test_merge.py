"""What a merge must be, with planted faults: pytest tests/test_merge.py"""

from math import log

import pytest
import torch
from conftest import small_model
from peft import PeftModel

from finetune.adapters import ALL, add_adapters, save
from finetune.merge_checks import Changes, check_matrices, check_written, compare, unchanged
from snakmodel.config import BadInput

DOWN = "model.layers.{}.mlp.down_proj.weight"


@pytest.fixture
def planted(tmp_path):
    """A base, an adapter with random weights as a file, and the model that peft merges from both."""
    model = add_adapters(small_model(0), ALL, 4, 8, 0.0, "")
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    save(model, None, tmp_path, "lora")
    merged = PeftModel.from_pretrained(small_model(0), tmp_path).merge_and_unload()
    return small_model(0).state_dict(), merged.state_dict(), dict(Changes(tmp_path))


def test_a_merge_is_the_base_plus_the_scaled_product_of_the_adapters_file(planted):
    before, after, changes = planted
    check_matrices(before, after, changes, "x")
    assert len(changes) == 7 * 2 + 1 and "lm_head.weight" in changes


def copy(weights):
    return {name: tensor.clone() for name, tensor in weights.items()}


def no_op(before, after, changes):
    after.update(copy(before))
    return "q_proj.weight is not the base's plus"


def one_matrix_left_out(before, after, changes):
    after[DOWN.format(1)] = before[DOWN.format(1)]
    return "layers.1.mlp.down_proj.weight is not the base's plus"


def wrong_scale(before, after, changes):
    for name, change in changes.items():
        after[name] = before[name] + 1.01 * change
    return "off by"


def swapped_layers(before, after, changes):
    after[DOWN.format(0)], after[DOWN.format(1)] = after[DOWN.format(1)], after[DOWN.format(0)]
    return "layers.0.mlp.down_proj.weight is not"


def a_matrix_without_adapter_has_changed(before, after, changes):
    after["model.embed_tokens.weight"][5, 5] += 1e-3
    return "embed_tokens.weight is not the base's, and has no adapter"


def test_an_adapters_changes_are_those_of_its_matrices_and_of_no_other(planted, tmp_path):
    changes = Changes(tmp_path)
    assert "lm_head.weight" in changes and "model.embed_tokens.weight" not in changes


def a_weight_is_not_a_number(before, after, changes):
    after["lm_head.weight"][0, 0] = float("nan")
    return "lm_head.weight is not .* off by nan"


def an_adapter_for_another_model(before, after, changes):
    changes["model.layers.7.mlp.up_proj.weight"] = torch.zeros(1)
    return "changes model.layers.7.mlp.up_proj.weight, which the base does not have"


FAULTS = [no_op, one_matrix_left_out, wrong_scale, swapped_layers, a_matrix_without_adapter_has_changed]
FAULTS += [a_weight_is_not_a_number, an_adapter_for_another_model]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refused_by_the_name_of_its_matrix(planted, fault):
    before, after, changes = planted
    after = copy(after)
    with pytest.raises(BadInput, match=fault(before, after, changes)):
        check_matrices(before, after, changes, "x")


def test_a_merge_unlike_its_adapter_or_like_its_base_is_refused():
    torch.manual_seed(0)
    base, change = torch.randn(40, 9), torch.randn(40, 9)
    tuned = base + change
    facts = compare(base, tuned, tuned.clone(), 1e-3, "x")
    assert facts["adapter_difference"] == 0 and facts["adapter_divergence"] == pytest.approx(0, abs=1e-6)
    for adapter, merged, message in (
        (tuned, base + 2 * change, "standard deviations from the adapter's"),  # a wrong scale
        (base, base, "equals its base"),  # a merge that did nothing
        (tuned, tuned * float("nan"), "nan"),
    ):
        with pytest.raises(BadInput, match=message):
            compare(base, adapter, merged, 1e-3, "x")


def test_the_divergence_is_the_mean_of_p_log_p_over_q():
    p, q = torch.tensor([[0.5, 0.5], [0.4, 0.6]]), torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    facts = compare(p.log() + 1, p.log(), q.log(), 100, "x")
    assert facts["adapter_divergence"] == pytest.approx((0.4 * log(0.4 / 0.25) + 0.6 * log(0.6 / 0.75)) / 2, rel=1e-5)


def test_the_share_of_weights_that_rounding_left_unchanged_is_counted_by_kind():
    names = "layers.0.q_proj.weight", "layers.1.q_proj.weight", "lm_head.weight"
    before = {name: torch.ones(2, 2) for name in names}
    change = torch.tensor([[1e-4, 1e-4], [1e-4, 0.1]])  # bfloat16 has steps of 0.0078 above 1
    after = {names[0]: before[names[0]] + change, names[1]: before[names[1]] + 0.1, names[2]: before[names[2]] + change}
    shares = unchanged(before, after, dict.fromkeys(names, change), torch.bfloat16)
    assert shares == {"all": 6 / 12, "q_proj": 3 / 8, "lm_head": 3 / 4}
    assert unchanged(before, after, dict.fromkeys(names, change), torch.float32)["all"] == 0


def test_files_that_are_not_what_was_merged_are_refused():
    merged, written = small_model(0), small_model(0)
    check_written(merged, written, "x")
    written.lm_head.weight.data[3, 3] += 1
    with pytest.raises(BadInput, match="lm_head.weight was not written as it was merged"):
        check_written(merged, written, "x")
