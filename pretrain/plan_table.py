"""A plan as a table to read. Nothing is computed here but units: whatever is printed stands in plan.json."""

from typing import Any

GIB, GB = 2**30, 1e9


def row(name: str, value: float | None, form: str = ".2f", note: str = "") -> str:
    """One line: what it is, the number, a word about it."""
    number = "not known" if value is None else format(value, form)
    return f"  {name:<34}{number:>14}   {note}".rstrip()


def plan_table(plan: dict[str, Any]) -> str:
    """The whole plan."""
    model, machine, run, r = plan["model"], plan["machine"], plan["run"], plan["recipe"]
    engine = "FSDP2" if r["engine"] == "fsdp" else f"DeepSpeed, {r['deepspeed']}"
    lines = [
        f"model    {model['type']}: {model['parameters']:,} parameters, {model['used by a token']:,} used by a token, "
        f"{model['trained']:,} trained",
        f"machine  {machine['nodes']} x {machine['name']}: {machine['ranks']} x {machine['device']['name']}, "
        f"links: {machine['links']}",
        f"run      {run['tokens']:,} tokens: {run['steps']:,} steps of {run['tokens per step']:,}",
        f"settings {engine}, {r['precision']}, micro-batch {r['micro_batch']} x {r['sequence_length']:,} tokens, "
        f"activation checkpointing {r['activation_checkpointing']}, cross-entropy {r['cross_entropy']}",
        *memory_lines(plan["memory"], r["compile"]),
        *grid_lines(plan["other settings"]),
        *speed_lines(plan["speed"], plan["model"]["operations per token"], plan["machine"]["device"]),
        *time_lines("time and energy of the run", plan["time"]),
        *(published_lines(plan["published"]) if plan["published"] else []),
        *host_lines(plan["host"]),
        *disk_lines(plan["disk"]),
    ]
    return "\n".join(lines)


def memory_lines(memory: dict[str, Any], compiled: bool) -> list[str]:
    """Memory of a rank, and whether it fits."""
    note = "of layers as they are without torch.compile, which keeps less" if compiled else ""
    return [
        "",
        f"memory of a rank, GiB; fullest: {memory['fullest moment']}",
        *(
            row(name, count / GIB, note=note if "activations" in name else "")
            for name, count in memory["bytes"].items()
        ),
        row("allocated, in all", memory["allocated GiB"]),
        row("context, NCCL, gaps", memory["reserve GiB"], note="assumed"),
        row("needed", memory["needed GiB"], note=verdict(memory)),
    ]


def verdict(memory: dict[str, Any]) -> str:
    """Whether the run fits, and what to change."""
    if memory["fits"] is None:
        return "the device has no memory of its own"
    room = f"the device has {memory['device GiB']:.2f}"
    if memory["fits"]:
        return f"FITS: {room}"
    if memory["change"] is None:
        return f"DOES NOT FIT: {room}, and no setting that was tried helps"
    change = memory["change"]
    return f"DOES NOT FIT: {room}; change {change['settings']}: {change['needed GiB']:.2f}"


def grid_lines(rows: list[dict[str, Any]]) -> list[str]:
    """GiB needed by mode of checkpointing and micro-batch; what does not fit in brackets."""
    sizes = sorted({each["micro_batch"] for each in rows})
    lines = ["", f"  {'needed with micro-batch':<34}" + "".join(f"{size:>11}" for size in sizes)]
    for mode in dict.fromkeys(each["activation_checkpointing"] for each in rows):
        needed = [each for each in rows if each["activation_checkpointing"] == mode]
        cells = [f"[{n['needed GiB']:.2f}]" if n["fits"] is False else f"{n['needed GiB']:.2f} " for n in needed]
        note = "   [does not fit]" if any(each["fits"] is False for each in needed) else ""
        lines.append(f"  {f'activation checkpointing {mode}':<34}" + "".join(f"{cell:>11}" for cell in cells) + note)
    return lines


def speed_lines(speed: dict[str, Any], operations: float, device: dict[str, Any]) -> list[str]:
    """Tokens per second and device."""
    lines = ["", f"tokens per second and device; {operations / 1e9:.1f} GFLOP per token (6 N + 12 L H T)"]
    if speed["at the peak"] is None:
        return [*lines, row("planned with", None, note="dry_run=true measures it")]
    lines.append(row("at the peak", speed["at the peak"], ",.0f", f"{device['tflops']:g} TFLOP/s"))
    if speed["mfu assumed"] is None:
        return [
            *lines,
            row("planned with", None, note="nothing published for the device: give mfu=0.4, or dry_run=true"),
        ]
    lines.append(row(f"at {speed['mfu assumed']:.1%} of it", speed["at that share"], ",.0f", speed["from"]))
    if speed["as fast as the links"]:
        note = "at their nominal speed; a larger micro-batch asks less of them"
        lines.append(row("as fast as the links", speed["as fast as the links"], ",.0f", note))
    return [*lines, row("planned with", speed["tokens per second and device"], ",.0f", "the slower of the two")]


def time_lines(title: str, time: dict[str, Any]) -> list[str]:
    """Hours and energy."""
    watts = "of the devices alone, at full power"
    carbon = time["kg CO2eq per kWh"]
    return [
        "",
        title,
        row("device hours", time["device hours"], ",.0f"),
        row("hours", time["hours"], ",.1f"),
        row("kWh", time["kWh"], ",.0f", watts),
        row("kg CO2eq", time["kg CO2eq"], ",.1f", f"at {carbon:g} kg per kWh" if carbon else "give carbon_intensity"),
    ]


def published_lines(published: dict[str, Any]) -> list[str]:
    """The run that this one repeats."""
    return [
        *time_lines("the published run, on the same device", published),
        row("tokens per second and device", published["tokens per second and device"], ",.0f"),
        row("MFU, %", None if published["mfu"] is None else 100 * published["mfu"], ".1f"),
    ]


def host_lines(host: dict[str, Any]) -> list[str]:
    """Main memory of a node."""
    room = host["node GiB"]
    short = room is not None and max(host["while it starts"], host["while it saves"]) > room
    return [
        "",
        "main memory of a node, GiB" + (": TOO LITTLE" if short else ""),
        row("while it starts", host["while it starts"], note="every rank builds the model in float32"),
        row("while it saves", host["while it saves"], note="what waits to be written"),
        row("there is", room),
    ]


def disk_lines(disk: dict[str, int]) -> list[str]:
    """Disk of the series."""
    return [
        "",
        "disk of the series, GB",
        *(row(name, count / GB, ",.1f") for name, count in disk.items()),
        row("in all", sum(disk.values()) / GB, ",.1f"),
    ]


def dry_run_table(plan: dict[str, Any]) -> str:
    """What was predicted beside what was measured."""
    dry = plan["dry run"]
    lines = [
        "",
        f"dry run: {dry['steps']} steps on {dry['ranks']} x {dry['device']}",
        f"  {'':<34}{'predicted':>14}{'measured':>14}",
    ]
    for name, each in dry["compared"].items():
        cells = ["not known" if each[side] is None else f"{each[side]:,.2f}" for side in ("predicted", "measured")]
        lines.append(f"  {name:<34}{cells[0]:>14}{cells[1]:>14}")
    if dry["planned device"] != dry["device"]:
        lines.append(f"  measured on another device than planned for: {dry['planned device']}")
    return "\n".join([*lines, *time_lines("corrected", dry["corrected"])])
