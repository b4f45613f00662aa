"""Plan a training run before a GPU is rented: memory, whether it fits and what to change, hours, disk, energy.

python pretrain/preflight.py --config configs/snakmodel-7b.yaml machine=4xA100-40GB
python pretrain/preflight.py --config configs/tiny.yaml machine=1xCPU dry_run=true   # on the machine itself

It needs no GPU, no network and no weights. `pretrain.micro_batch=2` tries another value. A dry run trains the same
model with random weights on random tokens for a few steps, by the loop itself, and corrects the plan. Both write
RUN_DIR/preflight/plan.json.
"""

import sys
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.machines import CATALOGUE, read_machine
from pretrain.memory import read_zero
from pretrain.plan import BYTES, Study, make_plan
from pretrain.plan_table import dry_run_table, plan_table
from pretrain.recipe import Settings as Recipe
from pretrain.recipe import check, check_batch
from snakmodel.config import BadInput, knob, read_command, read_recipe, run_script
from snakmodel.paths import SECTIONS
from snakmodel.records import begin, read_json, write_json, write_text

if TYPE_CHECKING:
    from pretrain.memory import Activations


@dataclass
class Settings:
    machine: str = knob("4xA100-40GB", "of configs/machines.yaml")
    nodes: int = knob(1, "machines of this kind", low=1)
    architecture: dict[str, Any] = knob(
        {}, "of transformers' config, what is not on this machine yet: the parent (with model_type), or vocab_size"
    )
    mfu: float | None = knob(
        None, "share of the peak to plan with; null: what is published for the device", above=0, high=1
    )
    carbon_intensity: float | None = knob(None, "kg CO2eq per kWh where the machine stands; null: not told", above=0)
    published_hours: float | None = knob(None, "device hours of the run that this one repeats, to compare", above=0)
    dry_run: bool = knob(False, "train a few steps here, on random weights and tokens, and correct the plan")
    dry_steps: int = knob(3, "optimiser steps of the dry run; the first is not timed", low=2)


def main() -> None:
    command = read_command(Settings, "preflight", __doc__)
    recipe = read_command(Recipe, "pretrain", __doc__, words_for_pretrain(sys.argv[1:])).settings
    check(recipe, command.config)
    s, folder = command.settings, command.run.folder("preflight")
    machine = read_machine(s.machine, s.nodes)
    check_ranks(recipe, machine.ranks, s)
    export = read_recipe(command.config)[0].get("export") or {}
    # a plan depends on settings that shape no other result, such as the micro-batch: on all of them
    everything: Any = {**asdict(s), "pretrain": asdict(recipe), "export": export}
    work = begin(replace(command, settings=everything), folder, {"machines": CATALOGUE}, derived=True)
    if work is None:
        if sys.stdout.isatty() and (folder / "plan.txt").is_file():  # somebody wants to read it
            print((folder / "plan.txt").read_text(encoding="utf-8"))
        return
    study = study_model(recipe, s.architecture, str(command.config))
    plan = make_plan(study, machine, export, s.mfu, s.carbon_intensity, s.published_hours)
    write_json(folder / "plan.json", plan)
    tables = [plan_table(plan)]
    print(tables[0], flush=True)
    if s.dry_run:
        from pretrain.dry_run import check_devices, correct, train_briefly  # late: most plans need none

        check_devices(machine)
        plan["dry run"] = correct(plan, machine, train_briefly(study, machine.ranks, s.dry_steps, folder))
        write_json(folder / "plan.json", plan)
        tables.append(dry_run_table(plan))
        print(tables[1], flush=True)
    write_text(folder / "plan.txt", "\n".join(tables) + "\n")
    work.finish(fits=plan["memory"]["fits"])


def words_for_pretrain(words: list[str]) -> list[str]:
    """The command line as the section `pretrain` reads it: a bare key=value is preflight's own."""
    others = ("run_dir", "base_run", *SECTIONS)
    return [
        f"preflight.{word}"
        if "=" in word and word[0] != "-" and word.split("=")[0].split(".")[0] not in others
        else word
        for word in words
    ]


def check_ranks(recipe: Recipe, ranks: int, s: Settings) -> None:
    """Refuses what could not be started on this machine."""
    check_batch(recipe.global_batch, recipe.micro_batch, ranks)
    if recipe.shard_ranks and ranks % recipe.shard_ranks:
        raise BadInput(f"pretrain.shard_ranks {recipe.shard_ranks} does not divide the {ranks} ranks of {s.machine}")
    if s.dry_run and s.nodes > 1:
        raise BadInput(f"preflight.nodes {s.nodes}: a dry run is of one node; give nodes=1")


def study_model(recipe: Recipe, architecture: dict[str, Any], where: str) -> Study:
    """Builds the model without content and counts it."""
    import torch  # late: what is wrong with the recipe is said at once

    from pretrain.model_shape import build_fake, find_config, measure_activations, measure_shape

    config = find_config(recipe, architecture, where)
    fake = build_fake(config, getattr(torch, recipe.precision), recipe.frozen)

    @cache
    def activations(micro_batch: int, checkpointing: str) -> "Activations":
        return measure_activations(fake, micro_batch, recipe.sequence_length, checkpointing)

    zero = read_zero(read_json(Path(recipe.deepspeed)), BYTES[recipe.precision]) if recipe.deepspeed else None
    return Study(recipe, zero, measure_shape(fake), config, activations)


if __name__ == "__main__":
    run_script(main)
