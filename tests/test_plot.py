"""Figures and the report of a planted run: pytest tests/test_plot.py"""

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from conftest import script, write_recipe

from analyze.pairs import write_table
from analyze.weights import COLUMNS
from plot import corpus, divergence, report, scores, training
from snakmodel.paths import Run
from snakmodel.records import write_json, write_jsonl

PLOTS = {"training": training, "corpus": corpus, "scores": scores, "divergence": divergence}
STEPS = (0, 50, 100)
COMPARISONS = [("pretrained", 50, "base", 0), ("pretrained", 100, "base", 0)]  # and the paper's of a tuned series:
COMPARISONS += [
    ("tuned", step, *other) for step in STEPS[1:] for other in [("pretrained:first", 0), ("pretrained", step)]
]
PLANTED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def finished(run, section, **facts):
    """The folder of a stage, with its two records."""
    record = {"section": section, **PLANTED["record"]}
    write_json(run.folder(section) / "started.json", record)
    write_json(run.folder(section) / "run.json", {**record, **PLANTED["ending"], **facts})
    return run.folder(section)


def scored(series, step, dataset, value, **facts):
    row = {"series": series, "step": step, "tokens": 4096 * step, "dataset": dataset, "language": dataset[-2:]}
    bounds = {"value": value, "low": value - 0.5, "high": value + 0.5, "chance": None, "primary": True}
    return {**row, **bounds, "metric": "macro_f1" if facts else "bits_per_byte", **facts}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with one source, three steps, two tasks (one cell missing) and two layers, for any script's main()."""
    sections = ("read_sources", "pretrain", "collect", *(f"plot_{name}" for name in PLOTS), "report")
    recipe = write_recipe(tmp_path / "recipe.yaml", **{section: {} for section in sections})
    monkeypatch.setattr(sys, "argv", ["script", "--config", str(recipe)])
    run = Run(tmp_path / "run")
    for section, counts in PLANTED["counts"].items():
        finished(run, section, counts={"dawiki": counts})
    log = [{"step": t, "loss": 6 - t / 50, "learning_rate": 0.002, "tokens": 4096 * t} for t in range(1, 101)]
    log[49]["bits_per_byte"], log[99]["bits_per_byte"] = {"da": 5.5, "en": 2.25}, {"da": 3.875, "en": 2.5}
    write_jsonl(finished(run, "pretrain") / "log.jsonl", log)
    rows = [scored("pretrained", step, "held-out-da", 4 - step / 50) for step in STEPS]
    rows += [scored("pretrained", step, "held-out-en", 2 + step / 100) for step in STEPS]
    rows += [scored("pretrained", step, "tiny-sentiment", 51.25 + step / 4, chance=50.0) for step in STEPS]
    rows += [scored("pretrained", step, "tiny-knowledge", 0.2525 * step, chance=25.0) for step in (0, 100)]
    rows += [scored("tuned", 100, "tiny-sentiment", 77.125, chance=50.0)]
    write_json(finished(run, "collect") / "scores.json", {"rows": rows})
    matrices = [("gate_proj", 1, 6.0), ("gate_proj", 0, 4.0), ("q_proj", 1, 0.0), ("q_proj", 0, 0.0)]
    weights = [
        {"series": series, "step": step, "against": against, "against_step": there}
        | {"layer": layer, "type": kind, "measure": measure}
        | {"value": slope * step, "degenerate": measure == "subspace_angle" and kind == "q_proj"}
        | {"undetermined": "singular" in measure and step == 100 and layer == 1 and kind == "q_proj"}
        for series, step, against, there in COMPARISONS
        for kind, layer, slope in [("embed_tokens", None, 3.5), *matrices]
        for measure in divergence.MEASURES
    ]
    write_table(run.folder("weights").with_suffix(".parquet"), weights, COLUMNS)
    write_json(finished(run, "samples") / "samples.json", {"rows": PLANTED["samples"]})
    write_json(run.folder("embeddings").with_suffix(".json"), {"rows": PLANTED["embeddings"]})
    write_json(run.folder("check") / "checks.json", {"checks": PLANTED["checks"]})
    return run


def drawn(run):
    return {path.name: path.read_bytes() for path in run.root.glob("figures/*/*.p*")}


def read_report(run):
    report.main()
    return (run.folder("report") / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PLOTS)
def test_figures_say_what_they_show_and_are_the_same_bytes_twice(name, run):
    PLOTS[name].main()
    first = drawn(run)
    expected = {figure: said for figure, said in PLANTED["spoken"].items() if figure.startswith(name)}
    assert len(first) == 2 * len(expected)
    for figure, said in expected.items():
        text = (run.root / f"figures/{figure}.txt").read_text(encoding="utf-8")
        assert all(words in text for words in said), text
    shutil.rmtree(run.root / "figures")
    PLOTS[name].main()
    assert first == drawn(run)


def test_the_report_holds_the_planted_numbers_and_needs_no_network(run):
    corpus.main()
    page = read_report(run)
    for words in PLANTED["report"]:
        assert words in page, words
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 1


def test_a_run_that_has_only_begun_is_reported_and_reported_anew_when_a_stage_has_finished(run):
    shutil.rmtree(run.root)
    with pytest.raises(ValueError, match="holds no stage's output; run pretrain/corpus/read_sources.py first"):
        report.main()
    with pytest.raises(ValueError, match="analysis/weights.parquet not found: run analyze/weights.py first"):
        divergence.main()
    write_json(run.folder("read_sources") / "started.json", {"section": "read_sources"})
    page = read_report(run)
    assert "Begun but not finished: corpus/raw." in page
    for stage in ("evaluate/collect.py", "analyze/embeddings.py", "analyze/samples.py"):
        assert f"Not run: {stage}." in page
    finished(run, "read_sources", counts={})
    assert "Begun" not in read_report(run)


def test_nothing_heavy_is_imported_before_there_is_something_to_draw():
    code = "import sys; from plot import corpus, divergence, report, scores, training; "
    code += "print([m for m in ('torch', 'transformers', 'matplotlib', 'jinja2') if m in sys.modules])"
    assert script("-c", code).stdout.strip() == "[]"
