"""Figures and the report of a planted run: pytest tests/test_plot.py"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, write_recipe

from plot import corpus, divergence, report, report_tables, scores, training
from plot.style import task_places
from snakmodel.paths import Run

SECTIONS = ("read_sources", "filter_language", "deduplicate", "pretrain", "collect", "weights", "embeddings", "samples")
PLOTS = {"training": training, "corpus": corpus, "scores": scores, "divergence": divergence}
STEPS = (0, 50, 100)


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def finished(folder: Path, section: str, **facts: Any) -> None:
    """A stage's two records."""
    record = {"section": section, "settings": {"seed": 8446}, "config": "planted.yaml", "commit": "c0ffee" * 6}
    write(folder / "started.json", {**record, "inputs": {}})
    ending = {"seconds": 61.0, "peak_memory_bytes": 1_230_000_000, "finished": "2026-01-02T03:04:05Z"}
    write(folder / "run.json", {**record, "versions": {"python": "3.11.9"}, **ending, **facts})


def score_row(series: str, step: int, dataset: str, value: float, chance: float | None, **more: Any) -> dict[str, Any]:
    row = {"series": series, "step": step, "tokens": 4096 * step, "dataset": dataset, "language": "da"}
    bounds = {"value": value, "low": value - 0.5, "high": value + 0.5, "chance": chance}
    return {**row, "metric": "macro_f1", **bounds, "primary": True, **more}


def distance_row(step: int, kind: str, layer: int | None, measure: str, value: float) -> dict[str, Any]:
    degenerate = measure == "subspace_angle" and kind == "q_proj"
    where = {"series": "pretrained", "step": step, "against": 0, "tensor": f"{layer}.{kind}", "layer": layer}
    return {**where, "type": kind, "measure": measure, "unit": "degrees", "value": value, "degenerate": degenerate}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with one source, three steps, two tasks (one cell missing) and two layers."""
    run = Run(tmp_path / "run")
    sections = (*SECTIONS, *(f"plot_{name}" for name in PLOTS), "report")
    write_recipe(tmp_path / "recipe.yaml", **{section: {} for section in sections})
    count = {"seen": 4321, "kept": 4000, "dropped": {"redirect": 321}, "words": 5_000_000, "bytes": 30_000_000}
    for section in ("read_sources", "filter_language", "deduplicate"):
        finished(run.folder(section), section, counts={"dawiki": count})
        count = {"seen": 4000, "kept": 4000, "dropped": {}, "words": 5_000_000, "bytes": 30_000_000}
    log = [{"step": t, "loss": 6 - t / 50, "learning_rate": 0.002, "tokens": 4096 * t} for t in range(1, 101)]
    log[-1]["validation_loss"] = 3.875
    finished(run.folder("pretrain"), "pretrain")
    (run.folder("pretrain") / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    bits: dict[str, Any] = {"metric": "bits_per_byte"}
    rows = [score_row("pretrained", step, "tiny-sentiment", 51.25 + step / 4, 50.0) for step in STEPS]
    rows += [score_row("pretrained", step, "tiny-knowledge", 25.0, 25.0) for step in (0, 100)]
    rows += [score_row("pretrained", step, "held-out-da", 4 - step / 50, None, **bits) for step in STEPS]
    rows += [score_row("pretrained", s, "held-out-en", 2 + s / 100, None, **bits, language="en") for s in STEPS]
    rows += [score_row("tuned", 100, "tiny-sentiment", 77.125, 50.0)]
    finished(run.folder("collect"), "collect")
    write(run.folder("collect") / "scores.json", {"rows": rows})
    angles = [("embed_tokens", None, 3.5), ("q_proj", 0, 0.0), ("gate_proj", 0, 4.0), ("gate_proj", 1, 6.0)]
    weights = [distance_row(s, *a[:2], m, a[2] * s) for s in STEPS[1:] for a in angles
               for m in ("delta", "subspace_angle", "left_singular_angle")]  # fmt: skip
    write(run.folder("weights").with_suffix(".json"), {"rows": weights})
    texts = [{"series": "pretrained", "step": s, "prompt": "Byen", "text": "<b>er</b> & 'bliver'"} for s in STEPS]
    finished(run.folder("samples"), "samples")
    write(run.folder("samples") / "samples.json", {"rows": texts})
    tokens = {"most": [{"token": "▁og<", "change": 9.25}, {"token": "▁at", "change": 8}], "mean": 1.5}
    moved = [{"series": "pretrained", "step": s, "matrix": "lm_head", **tokens} for s in STEPS[1:]]
    write(run.folder("embeddings").with_suffix(".json"), {"rows": moved})
    check = {"name": "fall", "value": 0.4999, "bound": 0.3, "passed": True, "what": "Bits per byte fall."}
    noise = [{"noise": "near duplicates", "planted": 1234, "removed": 1200}]
    write(run.folder("check") / "checks.json", {"checks": [check], "planted_noise": noise})
    return run


@pytest.fixture
def draw(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a script's main() on the planted run."""

    def call(module: Any, *words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["script", "--config", str(run.root.parent / "recipe.yaml"), *words])
        module.main()

    return call


def figures(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.root.glob("figures/*/*.p*")}


def spoken(run: Run, name: str) -> str:
    return (run.root / f"figures/{name}.txt").read_text(encoding="utf-8")


def test_figures_say_the_planted_values_in_their_text_alternatives(run: Run, draw: Callable[..., None]) -> None:
    for module in PLOTS.values():
        draw(module)
    assert len(figures(run)) == 2 * 8
    assert "validation loss: 100: 3.875" in spoken(run, "training/loss")
    assert "dawiki, read: kept 4,000 of 4,321; dropped: redirect 321" in spoken(run, "corpus/documents")
    tasks = spoken(run, "scores/tasks-pretrained")
    assert "sentiment (macro F1): 0: 51.25 [50.75, 51.75]; 50: 63.75 [63.25, 64.25]; 100: 76.25" in tasks
    assert "knowledge (accuracy)" not in tasks and "Know: knowledge (macro F1): 0: 25 [24.5, 25.5]; 100: 25" in tasks
    assert "English: 0: 2 [1.5, 2.5]; 50: 2.5 [2, 3]; 100: 3 [2.5, 3.5]" in spoken(run, "scores/held-out-pretrained")
    assert "100: 77.12 [76.62, 77.62]" in spoken(run, "scores/tasks-tuned")  # a single step
    steps = spoken(run, "divergence/steps-pretrained")
    assert "Subspace angle (degrees), G: 0: 0; 50: 250 [200, 300]; 100: 500 [400, 600]" in steps
    assert "Subspace angle (degrees), Q (degenerate): 0: 0; 50: 0; 100: 0" in steps
    assert "Left singular angle (degrees), Q: 0: 0" in steps
    assert "EMB 350; L0 400; L1 600" in spoken(run, "divergence/layers-pretrained")
    assert "EMB 350; (Q) 0; G 500" in spoken(run, "divergence/types-pretrained")


def test_the_same_input_gives_the_same_bytes_twice(run: Run, draw: Callable[..., None]) -> None:
    for module in (corpus, divergence):
        draw(module)
    first = figures(run)
    for module in (corpus, divergence):
        draw(module, "--overwrite")
    assert len(first) == 8 and figures(run) == first


def test_figures_are_drawn_again_when_their_input_has_changed_and_kept_when_not(
    run: Run, draw: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    draw(corpus)
    draw(corpus)
    assert "plot_corpus: done" in capsys.readouterr().out
    count = {"seen": 4000, "kept": 3999, "dropped": {"near duplicate": 1}, "words": 1, "bytes": 1}
    finished(run.folder("deduplicate"), "deduplicate", counts={"dawiki": count})
    draw(corpus)
    assert "dawiki, unique: kept 3,999 of 4,000; dropped: near duplicate 1" in spoken(run, "corpus/documents")


def test_a_series_without_scores_is_named_and_missing_weights_name_their_script(
    run: Run, draw: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    write(run.series("untold") / "series.json", {"name": "untold", "steps": []})
    draw(scores)
    assert "untold: no task scores" in capsys.readouterr().out
    run.folder("weights").with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="analysis/weights.json not found: run analyze/weights.py first"):
        draw(divergence)


def test_the_report_holds_the_planted_numbers_and_needs_no_network(run: Run, draw: Callable[..., None]) -> None:
    draw(training)
    draw(report)
    page = (run.folder("report") / "report.html").read_text(encoding="utf-8")
    for words in (
        "Danish text fell by 50.0%, from 4.000 [3.500, 4.500] at step 0 to 2.000 [1.500, 2.500] at step 100",
        "English text rose by 50.0% (forgetting)",
        "76.2 [75.8, 76.8] at step 100, from 51.2 [50.8, 51.8] at step 0; above chance (50.0)",
        "not told apart from chance (25.0)",
        "<td>redirect 321</td>",
        "1 min 1 s",
        "1.23 GB",
        "Planted noise",
        "1,234",
        "Not run: plot/corpus.py, plot/scores.py, plot/divergence.py.",
        "lm_head (mean change 1.5)",
        "<td>▁og&lt; 9.25</td>",
        "c0ffeec0ffee",
        'lang="da"',
        "validation loss: 100: 3.875",
    ):
        assert words in page, words
    assert "&lt;b&gt;er&lt;/b&gt; &amp; " in page and "<b>er" not in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page) and "<script" not in page
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 1


def test_the_report_is_made_again_by_itself_when_a_stage_has_run_since(run: Run, draw: Callable[..., None]) -> None:
    draw(report)
    write(run.folder("embeddings") / "pretrained/step-00100/started.json", {"section": "embeddings"})
    draw(report)
    page = (run.folder("report") / "report.html").read_text(encoding="utf-8")
    assert "Begun but not finished: analysis/embeddings/pretrained/step-00100" in page


def test_an_empty_run_is_reported_as_not_run_part_by_part() -> None:
    parts = [
        report_tables.key_results([], "da"),
        report_tables.checks(None),
        report_tables.corpus({}),
        report_tables.score_tables([]),
        report_tables.changed_tokens(None),
        report_tables.samples(None, "da"),
    ]
    assert all(part.not_run and not part.tables for part in parts)


def test_a_task_keeps_its_look_whatever_else_is_drawn() -> None:
    assert (
        task_places({"tiny-knowledge", "unknown-set"})["tiny-knowledge"]
        == task_places({"tiny-knowledge"})["tiny-knowledge"]
    )
    assert task_places({"scala-da"})["scala-da"] == task_places({"tiny-acceptability"})["tiny-acceptability"]


def test_plots_never_import_torch() -> None:
    code = "import sys; from plot import corpus, divergence, report, scores, training; "
    code += "print([m for m in ('torch', 'transformers', 'matplotlib', 'jinja2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
