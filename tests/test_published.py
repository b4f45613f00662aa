"""The published numbers, and the figures of them: pytest tests/test_published.py"""

import csv
import re
import subprocess
import sys
from math import isnan, sqrt

import pytest
from conftest import ROOT

from plot import published, style
from plot.paper import FILES, choose, overall, read_paper

KINDS = {"printed", "digitised", "second hand", "derived", "unknown"}
# runs a script where what make figures does not install cannot be imported
FENCE = """
import runpy, sys
heavy = {"torch", "transformers", "datasets", "peft", "scipy", "sklearn", "huggingface_hub", "tokenizers", "pandas"}
class Fence:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            raise ImportError(f"{name} is not of requirements-plot.txt")
sys.meta_path.insert(0, Fence())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert not heavy & sys.modules.keys()
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """All figures, as `make figures` draws them: name -> matplotlib's figure, and the folder with their files."""
    folder, figures, save = tmp_path_factory.mktemp("published"), {}, style.save

    def keep(figure, folder, name, *words):
        figures[name] = figure
        save(figure, folder, name, *words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "save", keep)
        published.draw(FILES, folder)
    return figures, folder


def rows_of(folder, name):
    return list(csv.DictReader((folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()))


def is_same(text, value):
    return text == "" if value is None else float(text) == value


@pytest.mark.parametrize("name", FILES)
def test_every_number_says_where_it_is_from_and_how_it_is_known(name):
    paper = read_paper(name)
    for cell in paper["cells"]:
        assert cell["kind"] in KINDS and cell["source"] in paper["sources"], cell
        assert (cell["value"] is None and "low" not in cell) == (cell["kind"] == "unknown"), cell
    assert not re.search(r"memory|shared|find_string|\bid \d{6}", FILES[name].read_text(encoding="utf-8"))


def test_averages_of_the_published_table_are_those_of_its_rows():
    paper, whole = read_paper("scandeval"), 0
    for row in paper["rows"]:
        *values, average = [cell["value"] for cell in choose(paper, row=row)]
        if None not in values:
            assert sum(values) / 8 == pytest.approx(average, abs=0.0101), row
            whole += 1
    assert whole == 5


def test_published_means_by_layer_and_by_type_are_of_the_same_angles():
    paper = read_paper("divergence")
    layers = [c["value"] for c in choose(paper, by="layer", measure="subspace_angle") if c["name"][:5] == "layer"]
    types = [c["value"] for c in choose(paper, by="type", measure="subspace_angle", step=12500, kind="printed")]
    assert sum(layers) / 32 == pytest.approx(sum(types[1:-1]) / 7, rel=1e-9)
    last = choose(paper, by="step", name="lm_head", step=12500)[0]
    assert last["value"] == pytest.approx(types[-1], abs=last["tolerance"])


def test_the_table_is_drawn_cell_by_cell(drawn):
    figures, folder = drawn
    paper = read_paper("scandeval")
    panel = figures["scores-table"].axes[0]
    names = [label.get_text() for label in panel.get_yticklabels()]
    heads = [label.get_text().split("\n")[0] for label in panel.get_xticklabels()]
    cells = {(cell["row"], cell["column"]): cell for cell in paper["cells"]}
    assert names == paper["rows"] + paper["further_rows"] and heads == list(paper["columns"])
    assert figures["scores-table"].get_supxlabel() == "Italic: second hand; ?: not known"
    image = panel.images[0].get_array()
    texts = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in panel.texts}
    table = {(row["curve"], row["x"].partition(" ")[0]): row for row in rows_of(folder, "scores-table")}
    for y, name in enumerate(names):
        for x, head in enumerate(heads):
            value = cells[name, head]["value"]
            assert bool(image.mask[y, x]) == (value is None) and (value is None or image[y, x] == value)
            assert texts[y, x] == ("?" if value is None else f"{value:.2f}")
            assert is_same(table[name, head]["value"], value), (name, head)
    points = {line.get_label(): line.get_ydata() for line in figures["scores-tasks"].axes[0].get_lines()}
    for row in paper["rows"]:
        for cell, value in zip(choose(paper, row=row), points[row], strict=True):
            assert isnan(value) if cell["value"] is None else value == cell["value"]
    spoken = {(row["curve"], row["x"]): row["value"] for row in rows_of(folder, "scores-tasks")}
    assert all(is_same(spoken[key], cells[key]["value"]) for key in spoken) and len(spoken) == 63


def test_munins_table_is_drawn_cell_by_cell_and_its_overall_column_recomputed(drawn):
    figures, folder = drawn
    paper, rows = read_paper("munin"), rows_of(folder, "munin")
    for panel, column in zip(figures["munin"].axes, paper["columns"], strict=True):
        cells = choose(paper, column=column)
        lines = {line.get_label(): line.get_xdata().tolist() for line in panel.get_lines()}
        bars = {
            bar.get_label(): [path.vertices[:, 0].tolist() for path in bar.get_paths()] for bar in panel.collections
        }
        assert panel.get_title() == column and lines["as published"] == [cell["value"] for cell in cells]
        ends = [[c["value"] - c["half_width"], c["value"] + c["half_width"]] for c in cells]
        assert bars["_as published"] == ends
        written = [row for row in rows if (row["panel"], row["curve"]) == (column, "as published")]
        assert [[row["x"], float(row["low"]), float(row["high"])] for row in written] == [
            [cell["row"], *pair] for cell, pair in zip(cells, ends, strict=True)
        ]
    overall_panel = figures["munin"].axes[0]
    names = ["as published", "mean of the languages, mean of the half-widths", "the same, errors independent"]
    lines = {line.get_label(): line.get_xdata().tolist() for line in overall_panel.get_lines()}
    bars = {bar.get_label(): [p.vertices[:, 0].tolist() for p in bar.get_paths()] for bar in overall_panel.collections}
    assert list(lines) == names
    for place, row in enumerate(paper["rows"]):
        printed, *three = choose(paper, row=row)
        mean, half, independent = overall(three)
        halves = [cell["half_width"] for cell in three]
        assert mean == pytest.approx(sum(cell["value"] for cell in three) / 3)
        assert (half, independent) == pytest.approx((sum(halves) / 3, sqrt(sum(h * h for h in halves)) / 3))
        assert (mean, half) == pytest.approx((printed["value"], printed["half_width"]), abs=0.0051)  # as it was printed
        assert lines[names[1]][place] == lines[names[2]][place] == mean
        assert bars[f"_{names[1]}"][place] == [mean - half, mean + half]
        assert bars[f"_{names[2]}"][place] == [mean - independent, mean + independent]


@pytest.mark.parametrize("by, figure", [("type", "divergence-types"), ("layer", "divergence-layers")])
def test_the_divergence_of_the_last_step_is_drawn_cell_by_cell(by, figure, drawn):
    figures, folder = drawn
    paper = read_paper("divergence")
    for panel, measure in zip(figures[figure].axes, ("subspace_angle", "delta"), strict=True):
        cells = choose(paper, comparison="llama2-base", step=12500, by=by, measure=measure)
        times = [7 if by == "layer" and measure == "subspace_angle" and c["name"][:5] == "layer" else 1 for c in cells]
        values = [cell["value"] * many for cell, many in zip(cells, times, strict=True)]
        assert [bar.get_height() for bar in panel.patches] == values
        written = [row for row in rows_of(folder, figure) if row["panel"] == panel.get_title()]
        assert [float(row["value"]) for row in written] == values
        assert [label.get_text() for label in panel.get_xticklabels()] == [row["x"] for row in written]
        marked = {row["x"].strip("()") for row in written if row["x"].startswith("(")}
        assert marked == ({"Q", "K", "V", "O", "W↓"} if (by, measure) == ("type", "subspace_angle") else set())


def test_bars_of_nothing_say_0_and_what_the_source_lacks_is_not_known(drawn):
    figures, folder = drawn
    panels = figures["divergence-tuning-types"].axes
    for panel, pair in zip(panels, ("base-instruct", "llama2-instruct"), strict=True):
        mine = choose(read_paper("divergence"), comparison=pair, by="type")
        written = [text.get_text() for text in panel.texts]
        assert written.count("0") == sum(cell["value"] == 0 for cell in mine)
        assert written.count("not known") == 9 - len(mine)
    assert [text.get_text() for text in panels[0].texts] == ["0"] * 3 and len(panels[1].texts) == 1
    said = (folder / "divergence-tuning-types.txt").read_text("utf-8")
    assert "(W↓) not known; LMH 6.2" in said


def test_what_was_measured_in_figures_is_drawn_with_how_exactly(drawn):
    figures, folder = drawn
    paper = read_paper("divergence")
    (panel,) = figures["divergence-steps"].axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()}
    for label, kind in (
        ("LMH (±0.1)", "lm_head"),
        ("EMB (by eye)", "embed_tokens"),
        ("G and W↑ (by eye)", "gate_proj"),
    ):
        assert lines[label] == [[c["step"], c["value"]] for c in choose(paper, by="step", name=kind)]
    head = [row for row in rows_of(folder, "divergence-steps") if row["curve"] == "LMH (±0.1)"]
    assert all(float(row["high"]) - float(row["low"]) == pytest.approx(0.2) for row in head) and len(head) == 13
    for panel, pair in zip(figures["divergence-tuning-types"].axes, ("base-instruct", "llama2-instruct"), strict=True):
        assert [b.get_height() for b in panel.patches if not isnan(b.get_height())] == [
            c["value"] for c in choose(paper, comparison=pair, by="type")
        ]
    cells = choose(paper, comparison="base-instruct", by="layer")
    rows = rows_of(folder, "divergence-tuning-layers")
    assert all(is_same(row["value"], cell["value"]) for row, cell in zip(rows, cells, strict=True))
    ranges = [(float(row["low"]), float(row["high"])) for row in rows if row["value"] == ""]
    assert ranges == [(0.53, 0.63)] * 28
    bars = [bar.get_width() for bar in figures["dakultur"].axes[0].patches]
    assert bars == [42.4, 15.0, 13.9] == [float(row["value"]) for row in rows_of(folder, "dakultur")]


def test_figures_of_the_published_numbers_need_no_torch_and_are_the_same_bytes_twice(drawn, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"run_dir: {tmp_path / 'out'}\nplot_published: {{}}\n", encoding="utf-8")
    command = [sys.executable, "-c", FENCE, "plot/published.py", "--config", str(recipe)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = {path.name: path.read_bytes() for path in (tmp_path / "out/figures/published").iterdir()}
    first = {path.name: path.read_bytes() for path in drawn[1].iterdir()}
    assert len(first) == 9 * 5 and first == {name: again[name] for name in first}


def test_what_plots_need_is_pinned_as_for_everything_else():
    lines = {
        name: set((ROOT / name).read_text().splitlines()) for name in ("requirements.txt", "requirements-plot.txt")
    }
    plot = {line for line in lines["requirements-plot.txt"] if not line.startswith("#")}
    assert plot <= lines["requirements.txt"] and not any(line.startswith("torch") for line in plot)
