"""Devices and machines of configs/machines.yaml. Imports no torch: the loop, and a laptop, ask it for facts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, load_yaml
from snakmodel.settings import convert, nearest

CATALOGUE = Path(__file__).resolve().parent.parent / "configs/machines.yaml"


@dataclass(frozen=True)
class Device:
    """One accelerator, as its driver counts them."""

    name: str
    memory_gib: float | None  # None: it has none of its own (a CPU)
    tflops: float | None  # peak, dense, bfloat16
    watts: float | None
    mfu: float | None  # share of the peak that somebody has published
    mfu_source: str | None


@dataclass(frozen=True)
class Machine:
    """What is rented: `nodes` times `devices`."""

    name: str
    device: Device
    devices: int  # of one node
    nodes: int
    links: str
    link_gb_s: float | None  # between the devices of a node, one direction
    network_gb_s: float | None  # of a node to the others, one direction
    host_gib: float | None  # main memory of a node

    @property
    def ranks(self) -> int:
        return self.devices * self.nodes


def device_facts(driver_name: str, catalogue: Path = CATALOGUE) -> dict[str, Any] | None:
    """What the catalogue says of a device by the name that its driver gives it, and `name`; None: it is not there.

    driver_name: torch.cuda.get_device_name(). The longest of the catalogue's names that is part of it decides.
    """
    devices = load_yaml(catalogue)["devices"]
    fitting = [
        (len(part), name)
        for name, facts in devices.items()
        for part in facts["driver_names"]
        if part.lower() in driver_name.lower()
    ]
    return {"name": max(fitting)[1], **devices[max(fitting)[1]]} if fitting else None


def read_machine(name: str, nodes: int, catalogue: Path = CATALOGUE) -> Machine:
    """The machine of this name; raises BadInput with the nearest names."""
    content = load_yaml(catalogue)
    machines, devices = content["machines"], content["devices"]
    if name not in machines:
        raise BadInput(f"{catalogue.name}: no machine {name!r}; {nearest(name, tuple(machines))}")
    facts = machines[name]
    if facts["device"] not in devices:
        raise BadInput(f"{catalogue.name}: {name}: no device {facts['device']!r}; {nearest(name, tuple(devices))}")
    if nodes > 1 and facts["network_gb_s"] is None:
        raise BadInput(f"{catalogue.name}: {name} has no network_gb_s, so {nodes} nodes of it cannot be planned")
    device = devices[facts["device"]]
    published = device["mfu"] or {"share": None, "row": None}

    def number(key: str, value: Any) -> float | None:
        return convert(value, float | None, f"{catalogue.name}: {name}: {key}")

    return Machine(
        name=name,
        device=Device(
            name=facts["device"],
            **{key: number(key, device[key]) for key in ("memory_gib", "tflops", "watts")},
            mfu=number("mfu.share", published["share"]),
            mfu_source=published["row"],
        ),
        devices=convert(facts["devices"], int, f"{catalogue.name}: {name}: devices"),
        nodes=nodes,
        links=facts["links"],
        **{key: number(key, facts[key]) for key in ("link_gb_s", "network_gb_s", "host_gib")},
    )
