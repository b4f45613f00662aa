"""Benchmarks, at a toy's size: pytest tests/test_benchmarks.py"""

import os
import re

from conftest import succeed


def test_the_ladder_of_throughput_tells_speed_and_predicted_memory():
    said = succeed("benchmarks/throughput.py", "--toy", "plain", "--peak-tflops", 0.1)
    assert re.search(r"\| plain +\| +[\d,]+ \| +[\d.]+% \| +[\d.]+ \| .* toy shape, 1 x CPU", said)


def test_the_scorers_speed_is_measured_beside_one_by_one_with_the_same_predictions(tiny_run):
    paths = {**os.environ, "PYTHONPATH": "evaluate"}
    said = succeed("benchmarks/scoring.py", tiny_run, 1, "testsets=[tiny-reading, tiny-citizenship]", env=paths)
    assert said.count("48 items of 2 sets, 0 predictions differ") == 2  # both have examples in their prompts
    assert re.search(r"by the CPU: one by one [\d.]+, ours [\d.]+; ratio [\d.]+", said)
