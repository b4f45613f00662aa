"""Figures and the report of a planted run: pytest tests/test_plot.py"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import script, write_recipe

from plot import corpus, divergence, report, scores, training
from snakmodel.paths import Run

PLOTS = {"training": training, "corpus": corpus, "scores": scores, "divergence": divergence}
STEPS = (0, 50, 100)
SPOKEN = {  # figure -> what its text alternative must say
    "training/loss": ["training: 4: 5.92; 8: 5.84", "100: 4\n", "validation: 50: 5.5; 100: 3.875\n"],
    "corpus/documents": ["read: dawiki 4,000\n", "unique: dawiki 3,956\n", "unique: near duplicate: dawiki 1\n"],
    "scores/tasks-pretrained": [
        "Sentiment (Senti, macro F1): 0: 51.25 [50.75, 51.75]; 50: 63.75 [63.25, 64.25]; 100: 76.25 [75.75, 76.75]\n",
        "Knowledge (Know, macro F1): 0: 0 [-0.5, 0.5]; 100: 25.25 [24.75, 25.75]\n",  # a missing cell
        "chance 25: Know\nchance 50: Senti\n",
    ],
    "scores/tasks-tuned": ["macro F1): 100: 77.12 [76.62, 77.62]\n"],  # a single step
    "scores/held-out-pretrained": ["English: 0: 2 [1.5, 2.5]; 50: 2.5 [2, 3]; 100: 3 [2.5, 3.5]\n"],
    "divergence/steps-pretrained": ["Q (degenerate): 0: 0; 50: 0; 100: 0\nG: 0: 0; 50: 250 [200, 300]; 100: 500"],
    "divergence/layers-pretrained": ["sum over matrices\nEMB 350; L0 400; L1 600\n", "\nEMB 350; L0 200; L1 300\n"],
    "divergence/types-pretrained": ["Subspace angle (degrees); in brackets: degenerate\nEMB 350; (Q) 0; G 500\n"],
}


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def finished(run: Run, section: str, **facts: Any) -> Path:
    """The folder of a stage, with its two records."""
    record = {"section": section, "settings": {"language": "da"}, "config": "planted.yaml", "commit": "c0ffee" * 6}
    ending = {"seconds": 61.0, "peak_memory_bytes": 1_230_000_000, "finished": "2026-01-02T03:04:05Z"}
    write(run.folder(section) / "started.json", record)
    write(run.folder(section) / "run.json", {**record, **ending, "versions": {"python": "3.11.9"}, **facts})
    return run.folder(section)


def scored(series: str, step: int, dataset: str, value: float, **facts: Any) -> dict[str, Any]:
    row = {"series": series, "step": step, "tokens": 4096 * step, "dataset": dataset, "language": dataset[-2:]}
    bounds = {"value": value, "low": value - 0.5, "high": value + 0.5, "chance": None, "primary": True}
    return {**row, **bounds, "metric": "macro_f1" if facts else "bits_per_byte", **facts}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with one source, three steps, two tasks (one cell missing) and two layers, for any script's main()."""
    sections = ("read_sources", "pretrain", "collect", *(f"plot_{name}" for name in PLOTS), "report")
    recipe = write_recipe(tmp_path / "recipe.yaml", **{section: {} for section in sections})
    monkeypatch.setattr(sys, "argv", ["script", "--config", str(recipe)])
    run = Run(tmp_path / "run")
    steps = {"read_sources": (4400, 4000, "redirect"), "filter_language": (4000, 4000, "sv")}
    for section, (seen, kept, reason) in (steps | {"deduplicate": (4000, 3956, "near duplicate")}).items():
        finished(run, section, counts={"dawiki": {"seen": seen, "kept": kept, "dropped": {reason: seen - kept}}})
    log = [{"step": t, "loss": 6 - t / 50, "learning_rate": 0.002, "tokens": 4096 * t} for t in range(1, 101)]
    log[49]["validation_loss"], log[99]["validation_loss"] = 5.5, 3.875
    (finished(run, "pretrain") / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    rows = [scored("pretrained", step, "held-out-da", 4 - step / 50) for step in STEPS]
    rows += [scored("pretrained", step, "held-out-en", 2 + step / 100) for step in STEPS]
    rows += [scored("pretrained", step, "tiny-sentiment", 51.25 + step / 4, chance=50.0) for step in STEPS]
    rows += [scored("pretrained", step, "tiny-knowledge", 0.2525 * step, chance=25.0) for step in (0, 100)]
    rows += [scored("tuned", 100, "tiny-sentiment", 77.125, chance=50.0)]
    write(finished(run, "collect") / "scores.json", {"rows": rows})
    matrices = [("gate_proj", 1, 6.0), ("gate_proj", 0, 4.0), ("q_proj", 1, 0.0), ("q_proj", 0, 0.0)]
    weights = [
        {"series": "pretrained", "step": step, "against": 0, "layer": layer, "type": kind, "measure": measure}
        | {"value": slope * step, "degenerate": measure == "subspace_angle" and kind == "q_proj"}
        for step in STEPS[1:]
        for kind, layer, slope in [("embed_tokens", None, 3.5), *matrices]
        for measure in divergence.MEASURES
    ]
    write(run.folder("weights").with_suffix(".json"), {"rows": weights})
    texts = [{"series": "pretrained", "step": step, "prompt": "Byen", "text": "<b>er</b> & sne"} for step in STEPS]
    write(finished(run, "samples") / "samples.json", {"rows": texts})
    moved = {"series": "pretrained", "step": 100, "matrix": "lm_head", "mean": 1.5}
    most = [{"token": "▁og<", "change": 9.25}, {"token": "▁at", "change": 8}]
    write(run.folder("embeddings").with_suffix(".json"), {"rows": [{**moved, "most": most}]})
    check = {"name": "fall", "value": 0.4999, "bound": 0.3, "passed": True, "what": "Bits per byte fall."}
    write(run.folder("check") / "checks.json", {"checks": [check]})
    return run


@pytest.mark.parametrize("name", PLOTS)
def test_figures_say_what_they_show_and_are_the_same_bytes_twice(name: str, run: Run) -> None:
    PLOTS[name].main()
    first = {path.name: path.read_bytes() for path in run.root.glob("figures/*/*.p*")}
    expected = {figure: said for figure, said in SPOKEN.items() if figure.startswith(name)}
    assert len(first) == 2 * len(expected)
    for figure, said in expected.items():
        text = (run.root / f"figures/{figure}.txt").read_text(encoding="utf-8")
        assert all(words in text for words in said), text
    shutil.rmtree(run.root / "figures")
    PLOTS[name].main()
    assert first == {path.name: path.read_bytes() for path in run.root.glob("figures/*/*.p*")}


def test_the_report_holds_the_planted_numbers_and_needs_no_network(run: Run) -> None:
    training.main()
    report.main()
    page = (run.folder("report") / "report.html").read_text(encoding="utf-8")
    for words in (
        "text (bits per byte): 2.000 [1.500, 2.500] at step 100, from 4.000 [3.500, 4.500] at step 0; fell by 50.0%.",
        "[2.500, 3.500] at step 100, from 2.000 [1.500, 2.500] at step 0; rose by 50.0% (forgetting).",
        "76.2 [75.8, 76.8] at step 100, from 51.2 [50.8, 51.8] at step 0; above chance (50.0).",
        "not told apart from chance (25.0).",
        "macro F1): 77.1 [76.6, 77.6] at step 100; above chance",
        '<td class="number">63.8 [63.2, 64.2]</td><td class="number">–</td>',
        "<td>redirect 400</td>",
        '<td class="number">1 min 1 s</td>\n<td class="number">1.23 GB</td>',
        "1 of 1 checks passed",
        '<td>passed</td><td class="number">0.4999</td>\n<td class="number">0.3</td>',
        "Not run: pretrain/corpus/make_shards.py",
        "Not run: plot/corpus.py",
        "<td>▁og&lt; 9.25</td>",
        "commit: c0ffeec0ffee",
        '<tbody lang="da">',
        "<td>&lt;b&gt;er&lt;/b&gt; &amp; sne</td>",
        "validation: 50: 5.5; 100: 3.875\n",
    ):
        assert words in page, words
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page) and "<script" not in page
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 1


def test_a_run_that_has_only_begun_is_reported_and_reported_anew_when_a_stage_has_finished(run: Run) -> None:
    shutil.rmtree(run.root)
    with pytest.raises(ValueError, match="holds no stage's output; run pretrain/corpus/read_sources.py first"):
        report.main()
    with pytest.raises(ValueError, match="analysis/weights.json not found: run analyze/weights.py first"):
        divergence.main()
    write(run.folder("read_sources") / "started.json", {"section": "read_sources"})
    report.main()
    page = (run.folder("report") / "report.html").read_text(encoding="utf-8")
    assert "Begun but not finished: corpus/raw." in page
    for stage in ("evaluate/collect.py", "runs/tiny_data/check.py", "analyze/embeddings.py", "analyze/samples.py"):
        assert f"Not run: {stage}." in page
    finished(run, "read_sources", counts={})
    report.main()
    assert "Begun" not in (run.folder("report") / "report.html").read_text(encoding="utf-8")


def test_nothing_heavy_is_imported_before_there_is_something_to_draw() -> None:
    code = "import sys; from plot import corpus, divergence, report, scores, training; "
    code += "print([m for m in ('torch', 'transformers', 'matplotlib', 'jinja2') if m in sys.modules])"
    assert script("-c", code).stdout.strip() == "[]"
