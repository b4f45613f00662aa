"""The plan of a training run, as plain JSON: pure arithmetic over what was counted of the model."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Literal

from pretrain.costs import communication_seconds, disk_bytes, flops_per_token, inactive_parameters
from pretrain.machines import Machine
from pretrain.memory import GIB, MASTER, MOMENT, Activations, Shape, Zero, fsdp_memory, fullest, loss_bytes, zero_memory
from pretrain.recipe import Settings as Recipe
from pretrain.recipe import total_steps

Mode = Literal["none", "selective", "full"]
MODES: tuple[Mode, ...] = ("none", "selective", "full")  # of activation checkpointing, by what they cost in time
# bytes of a GPU: its context, NCCL's buffers, what the allocator cannot use. Assumed; a dry run measures the rest
RESERVE = 2 * GIB
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Study:
    """A recipe, and what was counted of its model."""

    recipe: Recipe
    zero: Zero | None  # None: FSDP2
    shape: Shape
    config: Any  # transformers' own
    activations: Callable[[int, str], Activations]  # of a micro-batch under a mode of checkpointing


def make_plan(
    study: Study, machine: Machine, export: dict[str, Any], mfu: float | None, carbon_intensity: float | None,
    published_hours: float | None,
) -> dict[str, Any]:  # fmt: skip
    """Everything that preflight says. export: the recipe's section of that name."""
    r, shape = study.recipe, study.shape
    operations = flops_per_token(study.config, shape.parameters, r.sequence_length)
    tokens = total_steps(r) * r.global_batch * r.sequence_length
    speed = plan_speed(study, machine, operations, mfu)
    plan = {
        "machine": asdict(machine) | {"ranks": machine.ranks},
        "model": {
            "type": shape.model_type,
            "parameters": shape.parameters,
            "vocabulary": shape.vocabulary,
            "used by a token": shape.parameters - inactive_parameters(study.config),
            "trained": shape.trained,
            "operations per token": operations,
        },
        "recipe": asdict(r),
        "run": {"steps": total_steps(r), "tokens": tokens, "tokens per step": r.global_batch * r.sequence_length},
        "memory": plan_memory(study, machine),
        "other settings": grid(study, machine),
        "speed": speed,
        "time": time_and_energy(tokens, speed["tokens per second and device"], machine, carbon_intensity),
        "published": None,
        "host": plan_host(study, machine),
        "disk": disk_bytes(
            shape.parameters, shape.trained, -(-total_steps(r) // r.save_every), r.keep_resumable,
            bool(export.get("free_space")), BYTES[export.get("dtype", "float32")],
        ),
        "dry run": None,
    }  # fmt: skip
    if published_hours:
        rate = tokens / published_hours / 3600
        plan["published"] = {
            **time_and_energy(tokens, rate, machine, carbon_intensity),
            "tokens per second and device": rate,
            "mfu": rate * operations / (machine.device.tflops * 1e12) if machine.device.tflops else None,
        }
    return plan


def memory_of(study: Study, machine: Machine) -> tuple[str, dict[str, int]]:
    """The fullest moment of a rank, and its bytes by part."""
    r, shape, element = study.recipe, study.shape, BYTES[study.recipe.precision]
    layer = study.activations(r.micro_batch, r.activation_checkpointing)
    loss = loss_bytes(shape, r.micro_batch * r.sequence_length, element, r.cross_entropy, r.loss_chunk)
    if study.zero is None:
        if shape.largest_layer < r.shard_from:  # all in one group
            shape = replace(shape, largest_layer=0, outside=shape.parameters, trained_outside=shape.trained)
        return fullest(fsdp_memory(shape, layer, loss, r.shard_ranks or machine.ranks, element))
    return fullest(zero_memory(shape, layer, loss, machine.ranks, element, study.zero))


def needed_bytes(study: Study, machine: Machine) -> int:
    """Bytes of a device, the reserve included."""
    return sum(memory_of(study, machine)[1].values()) + reserve(machine)


def reserve(machine: Machine) -> int:
    """Bytes of a GPU that no tensor of ours can have."""
    return RESERVE if machine.device.memory_gib else 0


def fits(study: Study, machine: Machine) -> bool | None:
    """Whether the run fits; None: the device has no memory of its own."""
    room = machine.device.memory_gib
    return None if room is None else needed_bytes(study, machine) <= room * GIB


def plan_memory(study: Study, machine: Machine) -> dict[str, Any]:
    """Memory of a rank by part, whether it fits, and if not what to change."""
    moment, parts = memory_of(study, machine)
    return {
        "fullest moment": moment,
        "parts": parts,
        "allocated": sum(parts.values()),  # what torch.cuda.max_memory_allocated should say
        "reserve": reserve(machine),
        "needed": needed_bytes(study, machine),
        "device": None if machine.device.memory_gib is None else round(machine.device.memory_gib * GIB),
        "fits": fits(study, machine),
        "change": None if fits(study, machine) is not False else first_that_fits(study, machine),
    }


def grid(study: Study, machine: Machine) -> list[dict[str, Any]]:
    """Bytes needed for every mode of checkpointing and micro-batches up to eight, everything else as it is."""
    rows = []
    for mode in MODES:
        for micro_batch in (1, 2, 4, 8):
            if study.recipe.global_batch % (micro_batch * machine.ranks) == 0:
                r = replace(study.recipe, activation_checkpointing=mode, micro_batch=micro_batch)
                other = replace(study, recipe=r)
                rows.append({
                    "activation_checkpointing": mode, "micro_batch": micro_batch,
                    "needed": needed_bytes(other, machine), "fits": fits(other, machine),
                })  # fmt: skip
    return rows


def first_that_fits(study: Study, machine: Machine) -> dict[str, Any] | None:
    """The cheapest change after which the run fits; None: nothing that is tried does."""
    for words, other, larger in changes(study, machine):
        if fits(other, larger):
            return {"settings": words, "needed": needed_bytes(other, larger), "ranks": larger.ranks}
    return None


def changes(study: Study, machine: Machine) -> Iterator[tuple[str, Study, Machine]]:
    """Other settings with the words that make them, by what they cost: smaller micro-batches, more recomputation,
    more sharding, more machines. Chunked cross-entropy costs nothing, so all have it."""
    r = study.recipe
    balanced = getattr(study.config, "output_router_logits", False)  # a term that only the model's own loss has
    loss = "chunked" if r.cross_entropy == "whole" and not balanced else r.cross_entropy
    micro_batches = [m for m in range(r.micro_batch, 0, -1) if r.micro_batch % m == 0]
    modes = MODES[MODES.index(r.activation_checkpointing) :]
    sharding: list[tuple[str, Recipe, Zero | None]] = [("", r, study.zero)]
    if study.zero is not None:
        sharding += [
            (f"zero_optimization.stage={stage} in {r.deepspeed}", r, replace(study.zero, stage=stage))
            for stage in range(study.zero.stage + 1, 4)
        ]
    elif r.shard_ranks:
        sharding.append(("shard_ranks=null", replace(r, shard_ranks=None), None))
    factors = (1, 2, 4, 8) if machine.network_gb_s else (1,)
    for factor, (shard_words, sharded, zero), mode, micro_batch in product(factors, sharding, modes, micro_batches):
        larger = replace(machine, nodes=factor * machine.nodes)
        if r.global_batch % (micro_batch * larger.ranks):
            continue
        new = replace(sharded, micro_batch=micro_batch, activation_checkpointing=mode, cross_entropy=loss)
        words = [
            f"{name}={getattr(new, name)}"
            for name in ("cross_entropy", "micro_batch", "activation_checkpointing")
            if getattr(new, name) != getattr(r, name)
        ]
        words += [shard_words] if shard_words else []
        words += [f"nodes={larger.nodes}"] if factor > 1 else []
        yield ", ".join(words), replace(study, recipe=new, zero=zero), larger


def plan_speed(study: Study, machine: Machine, operations: float, mfu: float | None) -> dict[str, Any]:
    """Tokens per second and device: at the peak, at a published share of it, and as fast as the links allow."""
    r, device = study.recipe, machine.device
    share = mfu or device.mfu
    peak = device.tflops * 1e12 / operations if device.tflops else None
    seconds = communication_seconds(
        machine, r.shard_ranks or machine.ranks, study.shape.parameters, study.shape.trained,
        BYTES[r.precision], study.zero,
    )  # fmt: skip
    computing = peak * share if peak and share else None
    linked = r.micro_batch * r.sequence_length / seconds if seconds else None
    return {
        "at the peak": peak,
        "mfu assumed": share if peak else None,
        "from": ("preflight.mfu" if mfu else device.mfu_source) if peak and share else None,
        "at that share": computing,
        "as fast as the links": linked,
        "tokens per second and device": min(computing, linked or computing) if computing else None,
    }


def time_and_energy(tokens: int, rate: float | None, machine: Machine, carbon: float | None) -> dict[str, Any]:
    """Hours, device hours, kWh of the devices at full power, and kg CO2eq. rate: tokens per second and device."""
    hours = tokens / rate / 3600 if rate else None
    energy = hours * machine.device.watts / 1000 if hours and machine.device.watts else None
    return {
        "device hours": hours,
        "hours": hours / machine.ranks if hours else None,
        "kWh": energy,
        "kg CO2eq": energy * carbon if energy and carbon else None,
        "kg CO2eq per kWh": carbon,
    }


def plan_host(study: Study, machine: Machine) -> dict[str, Any]:
    """Bytes of a node's main memory, for what is large: the model as it is read, and states that wait to be written."""
    r, shape = study.recipe, study.shape
    states = MASTER * shape.parameters + MOMENT * shape.trained
    share = min(1.0, machine.devices / (r.shard_ranks or machine.ranks))  # of one copy of the model, on this node
    offloaded = states * machine.devices / machine.ranks if study.zero and study.zero.offload else 0
    return {
        # the first rank has all of it, and every rank its part, before it goes to the device
        "while it starts": round(MASTER * shape.parameters * (1 + share)),
        "while it saves": round(offloaded + (states * share if r.asynchronous_saving else 0)),
        "node": None if machine.host_gib is None else round(machine.host_gib * GIB),
    }
