"""Draw how many documents each source keeps from step to step of the corpus, and why the others were dropped.

python plot/corpus.py --config configs/tiny.yaml
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plot import style
from snakmodel.config import read_command, run_script
from snakmodel.records import begin, read_json

STEPS = {"read_sources": "read", "filter_language": "in language", "deduplicate": "unique"}  # section -> as shown
HATCHES = {"read_sources": "", "filter_language": "////", "deduplicate": "...."}  # tell the steps apart in grey


@dataclass
class Settings:
    """No settings: the corpus steps' records say it all."""


def dropped_shares(counts: dict[str, Any]) -> dict[tuple[str, str], dict[str, float]]:
    """(section, reason) -> source -> percent of the source's raw units that this step dropped for this reason."""
    shares: dict[tuple[str, str], dict[str, float]] = {}
    for section in STEPS:
        for source, count in counts[section].items():
            units = counts["read_sources"][source]["seen"]
            for reason, number in count["dropped"].items():
                shares.setdefault((section, reason), {})[source] = 100 * number / max(1, units)
    return shares


def text_alternative(counts: dict[str, Any]) -> str:
    """A line a source and step, with the counts."""
    lines = ["Documents that each source keeps, and why the others were dropped"]
    lines.append("left: documents kept after each step; right: dropped documents in percent of the units read")
    for source in counts["read_sources"]:
        for section, name in STEPS.items():
            count = counts[section].get(source, {"seen": 0, "kept": 0, "dropped": {}})
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in count["dropped"].items()) or "none"
            lines.append(f"{source}, {name}: kept {count['kept']:,} of {count['seen']:,}; dropped: {reasons}")
    return "\n".join(lines) + "\n"


def draw(counts: dict[str, Any], folder: Path) -> None:
    """Writes the figure: documents kept on the left, shares dropped by reason on the right."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    sources = list(counts["read_sources"])
    shares = dropped_shares(counts)
    legend_columns = 3
    legend_height = 0.16 * -(-len(shares) // legend_columns)
    figure, axes = style.new_figure(style.PAGE, 0.9 + 0.4 * len(sources) + legend_height, columns=2, sharey=True)
    kept, dropped = axes[0]
    height = 0.8 / len(STEPS)
    for place, (section, name) in enumerate(STEPS.items()):
        values = [counts[section].get(source, {"kept": 0})["kept"] for source in sources]
        offsets = [row + (place - 1) * height for row in range(len(sources))]
        colour = (style.COLOURS[6], style.COLOURS[4], style.COLOURS[0])[place]
        kept.barh(offsets, values, height * 0.92, color=colour, label=name)
    kept.set(yticks=range(len(sources)), yticklabels=sources, xlabel="Documents kept")
    kept.invert_yaxis()
    left = [0.0] * len(sources)
    for place, ((section, reason), share) in enumerate(shares.items()):
        values = [share.get(source, 0.0) for source in sources]
        bars = dropped.barh(range(len(sources)), values, 0.6, left=left, label=f"{STEPS[section]}: {reason}")
        for bar in bars:
            bar.set(facecolor=style.COLOURS[place % len(style.COLOURS)], hatch=HATCHES[section], edgecolor="white")
            bar.set_linewidth(0)
        left = [a + b for a, b in zip(left, values, strict=True)]
    dropped.set_xlabel("Dropped (% of units read)")
    for panel in (kept, dropped):
        panel.grid(axis="y", visible=False)
        panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    kept.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(STEPS), handlelength=1.2)
    handles, names = dropped.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=legend_columns, handlelength=1.2)
    style.save(figure, folder, "documents", text_alternative(counts))


def main() -> None:
    command = read_command(Settings, "plot_corpus", __doc__)
    run, folder = command.run, command.run.folder("plot_corpus")
    work = begin(command, folder, {section: run.folder(section) for section in STEPS}, derived=True)
    if work is None:
        return
    draw({section: read_json(run.folder(section) / "run.json")["counts"] for section in STEPS}, folder)
    work.finish()


if __name__ == "__main__":
    run_script(main)
