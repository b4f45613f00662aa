"""The benchmarks of training, at a toy's size: pytest tests/test_benchmarks.py"""

import re

from conftest import succeed


def test_the_ladder_of_throughput_tells_speed_and_predicted_memory():
    said = succeed("benchmarks/throughput.py", "--toy", "plain", "--peak-tflops", 0.1)
    assert re.search(r"\| plain +\| +[\d,]+ \| +[\d.]+% \| +[\d.]+ \| .* toy shape, 1 x CPU", said)
