"""The benchmarks of training, at a toy's size: pytest tests/test_benchmarks.py"""

import re

from conftest import succeed


def test_a_killed_training_ends_in_the_weights_of_an_undisturbed_one():
    said = succeed("benchmarks/killed_training.py", 1, 12)
    assert re.search(r"1 runs killed \d+ times, .*: all \d+ hashes and losses are those of the undisturbed run", said)


def test_the_ladder_of_throughput_tells_speed_and_predicted_memory():
    said = succeed("benchmarks/throughput.py", "--toy", "plain", "--peak-tflops", 0.1)
    assert re.search(r"\| plain +\| +[\d,]+ \| +[\d.]+% \| +[\d.]+ \| .* toy shape, 1 x CPU", said)
