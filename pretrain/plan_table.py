"""A plan as a table to read. Nothing is computed here but units: whatever is printed stands in plan.json."""

from typing import Any

GIB, MIB, GB, MB = 2**30, 2**20, 1e9, 1e6


def line(name: str, value: str, note: str = "") -> str:
    """What it is, the number, a word about it."""
    return f"  {name:<34}{value:>14}   {note}".rstrip()


def number(value: float | None) -> str:
    """Three digits, or all of a larger number."""
    return "not known" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def memory(count: float | None) -> str:
    """Bytes of memory."""
    if count is None:
        return "not known"
    return f"{count / GIB:,.2f} GiB" if count >= GIB / 10 else f"{count / MIB:,.2f} MiB"


def disk(count: float) -> str:
    """Bytes on disk, in the units of disks."""
    return f"{count / GB:,.1f} GB" if count >= GB else f"{count / MB:,.1f} MB"


def plan_table(plan: dict[str, Any]) -> str:
    """The whole plan."""
    model, machine, run, r = plan["model"], plan["machine"], plan["run"], plan["recipe"]
    engine = "FSDP2" if r["engine"] == "fsdp" else f"DeepSpeed, {r['deepspeed']}"
    lines = [
        f"model     {model['type']}: {model['parameters']:,} parameters, vocabulary {model['vocabulary']:,}; "
        f"{model['used by a token']:,} used by a token, {model['trained']:,} trained",
        f"machine   {machine['nodes']} x {machine['name']}: {machine['ranks']} x {machine['device']['name']}, "
        f"links: {machine['links']}",
        f"run       {run['tokens']:,} tokens: {run['steps']:,} steps of {run['tokens per step']:,}",
        f"settings  {engine}, {r['precision']}, micro-batch {r['micro_batch']} x {r['sequence_length']:,} tokens, "
        f"activation checkpointing {r['activation_checkpointing']}, cross-entropy {r['cross_entropy']}",
        *memory_lines(plan["memory"], r["compile"]),
        *grid_lines(plan["other settings"]),
        *speed_lines(plan["speed"], plan["model"]["operations per token"], plan["machine"]["device"]),
        *time_lines("time and energy", plan["time"]),
        *(published_lines(plan["published"]) if plan["published"] else []),
        *host_lines(plan["host"]),
        "\ndisk of the series",
        *(line(name, disk(count)) for name, count in plan["disk"].items()),
    ]
    return "\n".join(lines)


def memory_lines(needs: dict[str, Any], compiled: bool) -> list[str]:
    """Memory of a rank by part, and whether it fits."""
    note = "of layers that are not compiled; torch.compile keeps less" if compiled else ""
    return [
        f"\nmemory of a rank; fullest: {needs['fullest moment']}",
        *(line(name, memory(count), note * ("activations" in name)) for name, count in needs["parts"].items()),
        line("allocated, in all", memory(needs["allocated"])),
        line("context, NCCL, gaps", memory(needs["reserve"]), "assumed"),
        line("needed", memory(needs["needed"]), verdict(needs)),
    ]


def verdict(needs: dict[str, Any]) -> str:
    """Whether the run fits, and what to change."""
    if needs["fits"] is None:
        return "the device has no memory of its own"
    room = f"the device has {memory(needs['device'])}"
    if needs["fits"]:
        return f"FITS: {room}"
    if needs["change"] is None:
        return f"DOES NOT FIT: {room}, and no setting that was tried helps"
    return f"DOES NOT FIT: {room}; {memory(needs['change']['needed'])} with {needs['change']['settings']}"


def grid_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Memory needed by mode of checkpointing and micro-batch; what does not fit in brackets."""
    sizes = sorted({each["micro_batch"] for each in rows})
    lines = [f"\n  {'needed with micro-batch':<34}" + "".join(f"{size:>14}" for size in sizes)]
    for mode in dict.fromkeys(each["activation_checkpointing"] for each in rows):
        needed = [each for each in rows if each["activation_checkpointing"] == mode]
        cells = [f"[{memory(n['needed'])}]" if n["fits"] is False else f"{memory(n['needed'])} " for n in needed]
        lines.append(f"  {f'activation checkpointing {mode}':<34}" + "".join(f"{cell:>14}" for cell in cells).rstrip())
    return [*lines, "  [...]: does not fit"] if any(each["fits"] is False for each in rows) else lines


def speed_lines(speed: dict[str, Any], operations: float, device: dict[str, Any]) -> list[str]:
    """Tokens per second and device."""
    lines = [f"\ntokens per second and device; {operations:.4g} operations a token (6 N + 12 L H T)"]
    planned = line("planned with", number(speed["tokens per second and device"]))
    if speed["at the peak"] is None:
        return [*lines, f"{planned}   dry_run=true measures it"]
    lines.append(line("at the peak", number(speed["at the peak"]), f"{device['tflops']:g} TFLOP/s"))
    if speed["mfu assumed"] is None:
        return [*lines, f"{planned}   nothing is published for the device: give mfu=0.4, or dry_run=true"]
    lines.append(line(f"at {speed['mfu assumed']:.1%} of it", number(speed["at that share"]), speed["from"]))
    if speed["as fast as the links"] is None:
        return [*lines, planned]
    note = "nominal; a larger micro-batch asks less of them"
    return [*lines, line("as fast as the links", number(speed["as fast as the links"]), note), planned]


def time_lines(title: str, time: dict[str, Any]) -> list[str]:
    """Hours and energy."""
    carbon = time["kg CO2eq per kWh"]
    return [
        f"\n{title}",
        line("device hours", number(time["device hours"])),
        line("hours", number(time["hours"])),
        line("kWh", number(time["kWh"]), "of the devices alone, at full power"),
        line("kg CO2eq", number(time["kg CO2eq"]), f"{carbon:g} a kWh" if carbon else "give carbon_intensity"),
    ]


def published_lines(published: dict[str, Any]) -> list[str]:
    """The run that this one repeats."""
    share = published["mfu"]
    return [
        *time_lines("the published run, on the same device", published),
        line("tokens per second and device", number(published["tokens per second and device"])),
        line("MFU", "not known" if share is None else f"{share:.1%}"),
    ]


def host_lines(host: dict[str, Any]) -> list[str]:
    """Main memory of a node."""
    most = max(host["while it starts"], host["while it saves"])
    return [
        "\nmain memory of a node" + (": TOO LITTLE" if host["node"] is not None and most > host["node"] else ""),
        line("while it starts", memory(host["while it starts"]), "the model in float32, and every rank's part of it"),
        line("while it saves", memory(host["while it saves"]), "what waits to be written"),
        line("there is", memory(host["node"])),
    ]


def dry_run_table(plan: dict[str, Any]) -> str:
    """What was predicted beside what was measured."""
    dry = plan["dry run"]
    lines = [
        f"  {'on ' + str(dry['ranks']) + ' x ' + dry['device']:<34}{'predicted':>14}{'measured':>14}",
        *(
            f"  {name:<34}{number(each['predicted']):>14}{number(each['measured']):>14}"
            for name, each in dry["compared"].items()
        ),
    ]
    if dry["planned device"] != dry["device"]:
        lines.append(f"  measured on another device than the one planned for, {dry['planned device']}")
    return "\n".join([*lines, *time_lines("corrected", dry["corrected"])])
